"""The adapter for words: no say in ranking, a resumed training equals the uninterrupted one, made sentences pass, a reader only drops."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmllm import Conversation, Query, Recommender, catalog, chatter, reword, wording
from mmllm.claims import check
from mmllm.dialogue import State
from mmllm.errors import AdapterError, MmllmError
from mmllm.explain import explain, facts, telling
from mmllm.lexical import words as stems
from mmllm.lm import RANKING, WORDS, LanguageModel
from mmllm.recipe import Recipe
from mmllm.schema import Schema
from mmllm.train import run
from mmllm.types import Evidence
from mmllm.understand import understand
from mmllm.words_stage import threshold
from tests.conftest import ROOT, byte_tokenizer, tiny_llama

HAND_WRITTEN = ROOT / "adapters" / "words"
RECIPE = """
name = "tiny-words"
indexes = ["index"]
steps = 0
validate_every = 2
[explain]
steps = 4
batch = 2
turns = 2
rank = 2
layers = 1
grammar = "{folder}/grammar.toml"
chat = "{folder}/chat.toml"
labelled = "read.jsonl"
examples = 1
{more}
"""


def recipe(folder, more=""):
    rows = [
        {
            "text": "I love robots, my kids too",
            "words": ["robots", "kids"],
            "wanted": [True, False],
            "left": [True, True],
            "part": part,
        }
        for part in ("train", "dev")
    ]
    (folder / "read.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    file = folder / "words.toml"
    file.write_text(RECIPE.format(folder=HAND_WRITTEN, more=more))
    return file


@pytest.fixture
def trained(shop_index, tmp_path):
    """An adapter for words over the tiny preset."""
    run(recipe(tmp_path), tmp_path / "words")
    return tmp_path / "words"


# ---- two LoRAs in one model ------------------------------------------------------------------------------------------


def loud(lm, name, value):
    """Every weight of one LoRA set, so that it would be heard."""
    with torch.no_grad():
        for key, parameter in lm.model.named_parameters():
            if "lora_B" in key and f".{name}." in key:
                parameter.fill_(value)
    lm.weights_changed()


@pytest.fixture
def saved(tmp_path):
    """Folders of two LoRAs: one that ranks, one for words."""
    folders = {}
    for name, value in ((RANKING, 0.3), (WORDS, -0.4)):
        lm = LanguageModel(tiny_llama(), byte_tokenizer())
        lm.new_lora(rank=2, seed=len(name))
        loud(lm, RANKING, value)
        lm.model.save_pretrained(tmp_path / name)
        folders[name] = tmp_path / name
    return folders


@pytest.mark.parametrize("ranks", [True, False])
@pytest.mark.parametrize("first", [RANKING, WORDS])
def test_the_lora_for_words_has_no_say_in_ranking_and_the_other_none_in_words(saved, ranks, first):
    alone = LanguageModel(tiny_llama(), byte_tokenizer())
    if ranks:
        alone.attach_lora(saved[RANKING])
    prefix, *segments = (alone.embed(alone.tokens(t)) for t in ("prefix", "one\n", "two\n", "three\n"))
    scores, separate = alone.score(prefix, segments), alone.score_separately(prefix, segments)
    speaker = LanguageModel(tiny_llama(), byte_tokenizer())
    speaker.attach_lora(saved[WORDS], name=WORDS)
    said, read = speaker.generate("Once upon", max_new_tokens=8), speaker.score(prefix, segments, lora=WORDS)
    both = LanguageModel(tiny_llama(), byte_tokenizer())
    for name in (first, *({RANKING, WORDS} - {first})):
        if ranks or name == WORDS:
            both.attach_lora(saved[name], name=name)
    for _ in range(2):  # whatever was asked before, and whatever prefix was kept
        assert torch.allclose(both.score(prefix, segments), scores, atol=1e-6)
        assert torch.allclose(both.score_separately(prefix, segments), separate, atol=1e-6)
        assert both.generate("Once upon", max_new_tokens=8) == said
        assert torch.allclose(both.score(prefix, segments, lora=WORDS), read, atol=1e-6)
    assert not torch.allclose(read, scores, atol=1e-3), "the two would be told apart"


def test_each_lora_keeps_its_own_prefix(saved):
    lm = LanguageModel(tiny_llama(), byte_tokenizer())
    lm.attach_lora(saved[WORDS], name=WORDS)
    prefix, *segments = (lm.embed(lm.tokens(t)) for t in ("a prefix", "one\n", "two\n"))
    for lora in (RANKING, WORDS):
        lm.score(prefix, segments, lora=lora)
        assert lm.prefix_reused == 0
    for lora in (RANKING, WORDS):
        lm.score(prefix, segments, lora=lora)
        assert lm.prefix_reused >= len(prefix)


def test_the_same_name_twice_is_refused(saved):
    lm = LanguageModel(tiny_llama(), byte_tokenizer())
    lm.attach_lora(saved[WORDS], name=WORDS)
    with pytest.raises(AdapterError, match="attached already"):
        lm.attach_lora(saved[WORDS], name=WORDS)


# ---- training ----------------------------------------------------------------------------------------------------------


def test_a_stopped_training_goes_on_as_if_it_had_not_been(shop_index, tmp_path, trained):
    file = recipe(tmp_path)
    assert run(file, tmp_path / "again", stop_after=1) == {"explain_step": 1}
    assert run(file, tmp_path / "again", stop_after=2) == {"explain_step": 3}
    found = run(file, tmp_path / "again")
    assert found["step"] == 4 and {"reword", "read", "passed", "threshold", "f2", "auc"} <= set(found)
    one, two = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (trained, tmp_path / "again"))
    assert one.keys() == two.keys() and all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)
    assert any(float(v.abs().max()) > 0 for k, v in one.items() if "lora_B" in k), "something was learned"
    assert {p.name for p in trained.iterdir()} == {
        "mmllm.json",
        "adapter",
        "recipe.toml",
        "grammar.toml",
        "chat.toml",
        "metrics.json",
        "metrics.jsonl",
    }
    assert json.loads((trained / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-lm"


def test_explain_stands_alone_in_a_recipe(shop_index, tmp_path):
    file = recipe(tmp_path)
    file.write_text(file.read_text().replace("steps = 0", "steps = 3", 1))
    with pytest.raises(MmllmError, match="beside another stage"):
        Recipe.read(file)


def test_without_turns_it_learns_to_reword_alone(shop_index, tmp_path):
    file = recipe(tmp_path)
    file.write_text(file.read_text().replace("turns = 2", "turns = 0"))
    assert "read" not in run(file, tmp_path / "out")
    assert wording.read(tmp_path / "out").threshold is None


def test_every_made_sentence_passes_the_check_and_says_what_meets_the_request_first(shop):
    grammar, items = reword.Grammar.read(HAND_WRITTEN / "grammar.toml"), catalog.read(shop).items
    told = set()
    for n in range(300):
        made = reword.make(items, grammar, seed=1, n=n)
        assert check(made.target, made.title, made.rows) == (made.target, "")
        first = telling(made.title, made.rows)[0]
        assert first.kind in ("picture", "meaning", "sound") or first.value.split(", ")[0] in made.target
        told.add(made.target)
    assert len(told) > 250
    assert reword.make(items, grammar, seed=1, n=7) == reword.make(items, grammar, seed=1, n=7)


def test_an_attribute_is_told_once_and_what_the_title_says_is_not():
    rows = (
        Evidence("attribute", "colour", "red"),
        Evidence("meaning", "your words", "0.6"),
        Evidence("fact", "colour", "red, green"),
        Evidence("fact", "kind", "apple"),
        Evidence("fact", "page_count", "12"),
    )
    assert facts(telling("An apple", rows)) == "its colour is red; its page count is 12"


def test_a_title_with_a_no_in_it_may_be_named():
    rows = (Evidence("people", "x", "No Country for Old Men"),)
    told = "Fargo is liked by people who liked No Country for Old Men."
    assert check(told, "Fargo", rows)[0] == told
    assert check("Fargo is not liked by people.", "Fargo", rows)[0] == ""


class Speaker:
    loras = (WORDS,)

    def __init__(self, reply):
        self.reply = reply

    def generate(self, prompt, **_):
        assert prompt.startswith("<|im_start|>user\nItem: ")
        return self.reply


def test_what_is_left_without_the_first_sentence_is_not_said():
    rows = (Evidence("attribute", "colour", "red"), Evidence("fact", "kind", "fruit"))
    whole = explain("An apple", rows, Speaker("An apple is red. It also has fruit as its kind."))
    assert (whole.source, whole.note) == ("lm", "")
    rest = explain("An apple", rows, Speaker("An apple costs money. It also has fruit as its kind."))
    assert rest.source == "template" and "money" in rest.note
    first = explain("An apple", rows, Speaker("An apple is red. It costs money."))
    assert first.text == "An apple is red." and first.source == "lm"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Toy Story 3 has 2010 as its year.", True),
        ("Toys 3 has 2010 as its year.", False),
        ("This is from 2010.", True),
        ("It has 2010 as its kind.", False),
        ("It has film as its year.", False),
        ("Toy Story 3 is of the kind film, and its year is 2010.", True),
        ("Its genre is Comedy and Drama.", True),
        ("Its year is 2010 and its genre is Drama.", True),
    ],
)
def test_a_title_is_named_whole_and_a_value_under_its_own_name(said, kept):
    rows = (Evidence("fact", "year", "2010"), Evidence("fact", "kind", "film"), Evidence("fact", "genre", "Comedy, Drama"))
    assert bool(check(said, "Toy Story 3", rows)[0]) is kept


def test_the_threshold_is_that_of_the_best_f2_and_auc_counts_pairs():
    scores, wanted = np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False])
    found = threshold(scores, wanted)
    assert (found["threshold"], found["recall"]) == (1.0, 1.0) and found["precision"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["f2"] == pytest.approx(5 * (2 / 3) / (4 * (2 / 3) + 1), abs=1e-4) and found["auc"] == 3 / 4


def test_made_turns_want_what_is_asked_for(shop):
    chat, items = chatter.Chat.read(HAND_WRITTEN / "chat.toml"), catalog.read(shop).items
    for n in range(100):
        request = chatter.make((), items, chat, (0, 1, 0), seed=1, n=n)
        assert request.words and all(request.wanted)
    made = [chatter.make((), items, chat, (0, 0, 1), seed=1, n=n) for n in range(200)]
    share = sum(sum(m.wanted) for m in made) / sum(len(m.words) for m in made)
    assert 0.15 < share < 0.7
    assert all(len(m.words) == len(m.wanted) <= chatter.ASKED for m in made)


# ---- serving -----------------------------------------------------------------------------------------------------------


def test_served_with_an_adapter_that_was_trained_for_it_and_ranked_as_without(shop_index, trained):
    query = Query(text="a red fruit")
    plain = Recommender.load(shop_index, weight=0.5, words=False)
    want = plain.recommend(query, k=4)
    told = plain.recommend(query, k=2, lm_explanations=1)
    assert any("left off" in n for n in told.notes) and told.stages[-1] in ("explain:lm", "explain:template")
    plain.close()
    opened = Recommender.load(shop_index, weight=0.5, words=trained)
    try:
        assert opened.words is not None and opened.words.name == "tiny-words" and opened.reader is not None
        found = opened.recommend(query, k=4, lm_explanations=1)
        assert not any("base model" in n for n in found.notes)
        assert [(r.id, r.rank) for r in found.recommendations] == [(r.id, r.rank) for r in want.recommendations]
        for a, b in zip(found.recommendations, want.recommendations, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)
    finally:
        opened.close()


def test_another_language_model_is_refused_by_name_and_said_of_the_shipped_one(shop_index, trained, tmp_path, monkeypatch):
    file = trained / "mmllm.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lm_fingerprint": "another"}))
    with pytest.raises(AdapterError, match="was trained over language model"):
        Recommender.load(shop_index, words=trained)
    monkeypatch.setattr(wording, "shipped", lambda: trained)
    opened = Recommender.load(shop_index)
    try:
        assert opened.words is None and opened.reader is None and "was trained over language model" in opened.unworded
    finally:
        opened.close()
    with pytest.raises(AdapterError, match="of no adapter for words"):
        wording.read(_folder(tmp_path / "other", {"name": "x"}))


def _folder(folder, row):
    folder.mkdir()
    (folder / "mmllm.json").write_text(json.dumps(row))
    return folder


# ---- reading -----------------------------------------------------------------------------------------------------------

CHAT = "I would like a red fruit with wings and my grandmother wants a parrot. It was a great summer, we loved the beach"


def test_a_reader_only_drops(shop):
    schema = Schema.of(catalog.read(shop).items)
    asked = []

    def reader(text, words):
        asked.append((text, tuple(words)))
        return [w == "wings" for w in words]

    without, kept = understand(CHAT, schema, State()), understand(CHAT, schema, State(), reader)
    assert asked and set(stems("wings")) <= set(kept.content) < set(without.content)
    assert kept.filters == without.filters, "what a value explains is not the reader's to drop"
    assert set(stems(kept.words)) <= set(stems(without.words))
    assert understand(CHAT, schema, State(), lambda text, words: [True] * len(words)) == without
    nothing = understand(CHAT, schema, State(), lambda text, words: [False] * len(words))
    assert nothing.content == () and nothing.filters == without.filters


@pytest.mark.parametrize(
    "text", ["an animal with a pouch", "do you have anything with a red roof please", "show me a striped jacket", "有翅膀的"]
)
def test_a_plain_request_is_not_put_to_a_reader(shop, text):
    def reader(text, words):
        raise AssertionError(f"asked about {words}")

    schema = Schema.of(catalog.read(shop).items)
    assert understand(text, schema, State(), reader) == understand(text, schema, State())


def test_a_conversation_says_that_it_read(recommender):
    talk = Conversation(recommender, k=3)
    assert "understand:lm" not in talk.turn(CHAT).stages, "the tiny model has no adapter for words"
    recommender.__dict__["reader"] = lambda text, words: [w == "wings" for w in words]
    talk = Conversation(recommender, k=3)
    response = talk.turn(CHAT)
    assert response.stages[0] == "understand:lm" and not any("grandmother" in n for n in response.notes)
    assert "understand:lm" not in talk.turn("a red fruit").stages
