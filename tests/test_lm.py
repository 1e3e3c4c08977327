"""Laws of packed scoring: order, padding, separate prompts, kept prefix, an untrained LoRA."""

from __future__ import annotations

import pytest
import torch

from mmllm import decoding, folding
from mmllm.lm import SEGMENT_TOKENS_PER_PASS, WORDS, LanguageModel
from tests.conftest import byte_tokenizer, tiny_llama


@pytest.fixture
def lm():
    return LanguageModel(tiny_llama(), byte_tokenizer())


def embeds(lm, *texts):
    return [lm.embed(lm.tokens(t)) for t in texts]


def teach(lm, value):
    """A LoRA as if it had been trained: a fresh one has zeros in B and changes nothing."""
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(value)
    lm.weights_changed()


def test_packed_equals_separate(lm):
    prefix, *segments = embeds(
        lm, "Which of these fits?", "red apple\n", "a dog\n", "x\n", "a much longer candidate than the others\n"
    )
    assert torch.allclose(lm.score(prefix, segments), lm.score_separately(prefix, segments), atol=1e-4)


def test_packed_equals_the_whole_model_by_transformers(lm):
    text = "Which fits? an apple\n"
    with torch.inference_mode():
        logits = lm.model(torch.tensor([lm.tokens(text)])).logits[0, -1]
    prefix, segment = embeds(lm, "Which fits?", " an apple\n")
    assert float(lm.score(prefix, [segment])[0]) == pytest.approx(float(logits[lm.yes] - logits[lm.no]), abs=1e-4)


def test_permuting_candidates_permutes_scores(lm):
    prefix, *segments = embeds(lm, "prefix", "one\n", "two two\n", "three\n", "four\n")
    order = [2, 0, 3, 1]
    assert torch.allclose(lm.score(prefix, segments)[order], lm.score(prefix, [segments[i] for i in order]), atol=1e-5)


def test_a_candidate_does_not_see_the_others(lm):
    prefix, one, two, other = embeds(lm, "prefix", "one\n", "two\n", "something else entirely\n")
    assert float(lm.score(prefix, [one, two])[0]) == pytest.approx(float(lm.score(prefix, [one, other])[0]), abs=1e-5)


def test_kept_prefix_gives_the_same_scores(lm):
    long, longer, *segments = embeds(lm, "a prefix that stays", "a prefix that stays and grows", "one\n", "two\n")
    fresh = LanguageModel(tiny_llama(), byte_tokenizer()).score(longer, segments)
    lm.score(long, segments)
    assert torch.allclose(lm.score(longer, segments), fresh, atol=1e-5)
    assert lm.prefix_reused == len(long)
    again = lm.score(longer, segments)
    assert lm.prefix_reused == len(longer) and torch.allclose(again, fresh, atol=1e-5)
    other = embeds(lm, "b wholly different")[0]
    lm.score(other, segments)
    assert lm.prefix_reused == 0


def test_what_all_candidates_begin_with_is_computed_once(lm):
    prefix, *segments = embeds(lm, "prefix", "Item: one\n", "Item: two\n", "Item: three\n")
    separate = lm.score_separately(prefix, segments)
    assert torch.allclose(lm.score(prefix, segments), separate, atol=1e-4)
    lm.score(prefix, segments)
    assert lm.prefix_reused == len(prefix) + len(embeds(lm, "Item: ")[0])
    # One alone, equal ones, and one that is the beginning of another: the readout is always left.
    for chosen in (segments[:1], [segments[0]] * 3, [segments[0], segments[0][:2]], [s[-1:] for s in segments]):
        assert torch.allclose(lm.score(prefix, chosen), lm.score_separately(prefix, chosen), atol=1e-4)


def test_many_candidates_run_in_passes(lm):
    prefix = embeds(lm, "prefix")[0]
    segments = embeds(lm, *(f"candidate number {n} of many\n" for n in range(SEGMENT_TOKENS_PER_PASS // 20)))
    assert sum(map(len, segments)) > SEGMENT_TOKENS_PER_PASS
    assert torch.allclose(lm.score(prefix, segments), lm.score_separately(prefix, segments), atol=1e-4)


def test_no_candidates(lm):
    assert len(lm.score(embeds(lm, "prefix")[0], [])) == 0


def test_fresh_lora_changes_nothing_and_a_trained_one_has_no_say_in_words(lm):
    prefix, *segments = embeds(lm, "prefix", "one\n", "two\n")
    base, said = lm.score(prefix, segments), lm.generate("Once upon a time", max_new_tokens=8)
    lm.new_lora(rank=4)
    assert torch.allclose(lm.score(prefix, segments), base, atol=1e-6)
    teach(lm, 0.5)
    trained = lm.score(prefix, segments)
    assert not torch.allclose(trained, base, atol=1e-3)
    # Words are the base model's, and the LoRA that ranks scores as before afterwards.
    assert lm.generate("Once upon a time", max_new_tokens=8) == said
    assert torch.allclose(lm.score(prefix, segments), trained, atol=1e-6)
    assert torch.allclose(lm.score(prefix, segments, lora=WORDS), base, atol=1e-6)


def test_lora_round_trip_through_plain_peft(lm, tmp_path):
    prefix, *segments = embeds(lm, "prefix", "one\n", "two\n")
    lm.new_lora(rank=4)
    teach(lm, 0.1)
    trained = lm.score(prefix, segments)
    lm.model.save_pretrained(tmp_path / "adapter")
    other = LanguageModel(tiny_llama(), byte_tokenizer())
    other.attach_lora(tmp_path / "adapter")
    assert torch.allclose(other.score(prefix, segments), trained, atol=1e-6)


def test_stream_equals_transformers_generate(lm):
    prompt = "Once upon a time"
    ids = torch.tensor([lm.tokens(prompt)])
    want = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    want_text = lm.tokenizer.decode(want, skip_special_tokens=True)
    got = lm.generate(prompt, max_new_tokens=12)
    assert got == want_text and got


def test_stream_stops_at_a_stop_string(lm):
    whole = lm.generate("abc", max_new_tokens=20)
    assert len(whole) > 3, "another seed is needed: the random model says nothing"
    sign = next(c for c in whole if c != whole[0])
    assert lm.generate("abc", max_new_tokens=20, stop=(sign,)) == whole[: whole.find(sign)]


def test_a_folded_lora_scores_as_the_trained_model_and_leaves_the_base_as_it_was(lm):
    lists = [tuple([prefix, segments]) for prefix, *segments in [embeds(lm, "prefix", "one\n", "two two\n")]]
    base = lm.score(*lists[0])
    weights = {name: value.clone() for name, value in lm.model.state_dict().items()}
    lm.new_lora(rank=4)
    teach(lm, 0.3)
    assert torch.allclose(lm.score(*lists[0]), lm.score_lists(lists)[0], atol=1e-4)
    assert lm.score_lists(lists)[0].requires_grad, "what scores is a copy: the model can still be trained"
    assert torch.equal(lm.score(*lists[0], lora=WORDS), base)
    now = {
        name.replace(".base_layer", ""): v for name, v in lm.model.get_base_model().state_dict().items() if "lora_" not in name
    }
    assert now.keys() == weights.keys() and all(torch.equal(value, weights[name]) for name, value in now.items())


@pytest.mark.parametrize("why", ["large", "no layout"])
def test_without_the_layout_scores_and_words_are_the_same(lm, monkeypatch, why):
    lm.new_lora(rank=4)
    teach(lm, 0.3)
    prefix, *segments = embeds(lm, "prefix", "one\n", "two two\n")
    scores, words = lm.score(prefix, segments), lm.generate("Once upon a time", max_new_tokens=12)
    if why == "large":
        monkeypatch.setattr(folding, "SMALL", 10)
    else:
        monkeypatch.setattr(folding, "_has_layout", lambda: False)
    lm.weights_changed()
    assert torch.allclose(lm.score(prefix, segments), scores, atol=1e-4)
    assert lm.generate("Once upon a time", max_new_tokens=12) == words
    layers = [m for m in lm._folding.decoder.modules() if isinstance(m, folding._Linear)]
    own = {p.data_ptr() for p in lm.model.parameters()}
    assert layers and all(m.base.data_ptr() in own for m in layers), "no copy of the base model"


def test_a_reply_goes_on_where_another_turn_scored_between_its_words(lm):
    lm.new_lora(rank=4)
    teach(lm, 0.5)
    prefix, *segments = embeds(lm, "prefix", "one\n", "two\n")
    want, scores = lm.generate("Once upon a time", max_new_tokens=12), lm.score(prefix, segments)
    got = []
    for piece in lm.stream("Once upon a time", max_new_tokens=12):
        got.append(piece)
        assert torch.equal(lm.score(prefix, segments), scores)
    assert "".join(got) == want


@pytest.mark.parametrize("guessed", ["right", "wrong", "nothing", "half"])
def test_what_is_guessed_changes_no_word(lm, monkeypatch, guessed):
    ids = lm.tokens("Once upon a time")
    whole = lm.model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=24, do_sample=False)
    told, right = whole[0].tolist(), lm.tokenizer.decode(whole[0, len(ids) : len(ids) + 12], skip_special_tokens=True)
    guesses = {
        "right": lambda known: told[len(known) : len(known) + 5],
        "wrong": lambda known: [(t + 1) % 260 for t in told[len(known) : len(known) + 5]],
        "nothing": lambda known: [],
        "half": lambda known: [*told[len(known) : len(known) + 2], 7, 7],
    }
    passes = []
    monkeypatch.setattr(decoding, "guess", lambda known: passes.append(1) or guesses[guessed](known))
    assert lm.generate("Once upon a time", max_new_tokens=12) == right
    assert len(passes) == {"right": 2, "half": 4}.get(guessed, 12)


def test_the_latest_longest_match_is_what_is_guessed():
    assert decoding.guess([1, 2, 3, 9, 2, 3, 8, 7, 2, 3]) == [8, 7, 2, 3]
    assert decoding.guess([4, 1, 2, 5, 2, 6, 1, 2]) == [5, 2, 6, 1, 2]
    assert decoding.guess([1, 2, 3]) == decoding.guess([1]) == decoding.guess([]) == []
