from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmllm.caption import RIGHT, WRONG, PhraseCaptioner, bank, thresholds, vocabulary
from mmllm.caption_model import ModelCaptioner
from mmllm.types import Caption, Item
from tests.conftest import STAMPS

D = 48


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def encode_texts(texts) -> np.ndarray:
    """A random direction for each text, always the same."""
    return unit(np.stack([np.random.default_rng(list(t.encode())).normal(size=D) for t in texts]))


@pytest.fixture
def world():
    """120 pictures of three kinds, each kind around a direction of its own."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(3, D)))
    kinds = [n % 3 for n in range(120)]
    images = unit(centres[kinds] + 0.05 * rng.normal(size=(120, D)))
    words = ("fruit", "tool", "animal")
    items = [
        Item(str(n), f"thing {n}", "", {"kind": words[k], "price": 3 + n, "names": (f"Ding {n}",), "serial": f"s{n}"})
        for n, k in enumerate(kinds)
    ]
    return items, images, centres


def captioner(items, images, known=None):
    """The features are the shared space here: `project` leaves them as they are."""
    mask = np.ones(len(items), bool) if known is None else known
    return PhraseCaptioner(
        items, images, mask, encode_images=lambda p: images[: len(p)], project=lambda f: f, encode_texts=encode_texts, name="test"
    )


def test_the_bank_holds_what_says_what_a_thing_is(world):
    items, _, _ = world
    assert bank(items) == {"kind": ("animal", "fruit", "tool")}, "no number, no reserved names, no serial number"
    assert bank([]) == {}
    names = vocabulary()
    assert len(names) > 1000 and len(set(names)) == len(names) and all(n == n.lower() for n in names)


def test_a_picture_amid_a_kind_is_given_it_and_one_far_from_all_nothing(world):
    items, images, centres = world
    made = captioner(items, images).caption_features(np.vstack([centres, unit(-centres.sum(axis=0))[None]]))
    assert [c.phrases for c in made] == [("fruit",), ("tool",), ("animal",), ()]
    assert all(c.source == "phrases:test" and 0.9 < c.confidence < 1 for c in made[:3])
    assert made[3] == Caption()


def test_an_item_is_captioned_from_its_picture_and_not_from_its_own_words(world):
    items, images, _ = world
    # Item 0 lies among the tools but its catalog says fruit, and so does every other picture of its title.
    images = images.copy()
    images[0] = images[1]
    assert captioner(items, images).known_captions()[0].phrases == ("tool",)
    images[3] = images[1]
    items[3] = Item("3", items[0].title.upper(), "", {"kind": "fruit"})
    assert captioner(items, images).known_captions()[0].phrases == ("tool",)


def test_order_and_company_change_nothing(world):
    items, images, _ = world
    one = captioner(items, images)
    together = one.caption_features(images[:9])
    assert together == [one.caption_features(images[n : n + 1])[0] for n in range(9)]
    assert together[::-1] == one.caption_features(images[:9][::-1].copy())
    order = np.random.default_rng(2).permutation(len(items))
    mixed = captioner([items[n] for n in order], images[order]).known_captions()
    assert [mixed[int(np.flatnonzero(order == n)[0])].phrases for n in range(len(items))] == [
        c.phrases for c in one.known_captions().values()
    ]


def test_one_value_of_an_attribute_at_most(world):
    items, images, _ = world
    both = [Item(i.id, i.title, "", {"kind": (i.attributes["kind"], "thing")}) for i in items]
    assert {len(c.phrases) for c in captioner(both, images).known_captions().values()} == {1}


def test_labels_that_pictures_do_not_show_are_hardly_ever_asserted(world):
    items, images, _ = world
    rng = np.random.default_rng(1)
    shuffled = [Item(i.id, i.title, "", {"kind": str(rng.choice(["fruit", "tool", "animal"]))}) for i in items]
    assert all(c == Caption() for c in captioner(shuffled, images).known_captions().values())


def test_a_name_of_the_vocabulary_is_said_where_titles_bear_it_out(world):
    items, images, _ = world
    names = [n for n in vocabulary() if n.isalpha() and len(n) > 3][::25][:24]
    vectors = encode_texts([f"a picture of a {n}" for n in names])
    rng = np.random.default_rng(3)
    near = unit(vectors[[n % 24 for n in range(120)]] + 0.02 * rng.normal(size=(120, D)))
    titled = [Item(str(n), f"The {names[n % 24]} no. {n}") for n in range(120)]
    assert [c.phrases for c in captioner(titled, near).caption_features(near[:24])] == [(n,) for n in names]
    other = [Item(i.id, f"Ding {i.id}") for i in titled]
    assert captioner(other, near).caption_features(near[:24]) == [Caption()] * 24, "no title says so: it is not said"


def test_a_catalog_without_attributes_or_pictures(world):
    items, images, _ = world
    bare = [Item(i.id, i.title) for i in items]
    assert set(captioner(bare, images).known_captions().values()) == {Caption()}
    for known in (np.zeros(120, bool), np.arange(120) < 10):
        few = captioner(items, images, known=known)
        assert few.caption_features(images[:1]) == [Caption()]
        assert few.known_captions() == {n: Caption() for n in range(int(known.sum()))}
    assert captioner(items, images).caption_features(images[:0]) == []


def test_pictures_of_one_title_only_can_teach_nothing(world):
    items, images, _ = world
    same = [Item(i.id, "the same", "", i.attributes) for i in items]
    made = captioner(same, images).known_captions().values()
    assert all(0 <= c.confidence <= 1 for c in made)


def test_thresholds_keep_to_what_may_be_wrong():
    rng = np.random.default_rng(0)
    score = rng.random((500, 2))
    right = rng.random((500, 2)) < score  # the surer, the likelier right
    sure = thresholds(score, right, np.array([6.0, 3.0]))
    told = score >= sure
    assert (told & ~right).any(axis=1).mean() <= WRONG
    assert (right & told)[:, 0].sum() / told[:, 0].sum() >= RIGHT
    assert told[:, 0].sum() > told[:, 1].sum(), "what tells more may be wrong more often"
    assert np.isinf(thresholds(score, np.zeros((500, 2), bool), np.ones(2))).all()
    assert np.isinf(thresholds(score[:5], np.ones((5, 2), bool), np.ones(2))).all(), "too few to count on"
    level = np.where(np.arange(500)[:, None] < 400, 0.5, 0.9)
    assert (level >= thresholds(level, np.arange(500)[:, None] >= 300, np.ones(1)))[:400].sum() == 0, "equals stay together"


def test_a_model_writes_captions(tmp_path):
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(97, 123))]))
    text = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text |= {"encoder_hidden_size": 16, "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    seen = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    seen |= {"image_size": 32, "patch_size": 16}
    import torch

    torch.manual_seed(0)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=seen))
    model.save_pretrained(tmp_path)
    size = {"height": 32, "width": 32}
    BlipProcessor(BlipImageProcessor(size=size), BertTokenizerFast(str(tmp_path / "vocab.txt"))).save_pretrained(tmp_path)
    pictures = [Image.new("RGB", (40, 30), c) for c in ("red", "blue", "white")]
    writer = ModelCaptioner(tmp_path, name="tiny", max_new_tokens=6, least=0.0)
    made = writer.caption(pictures)
    assert len(made) == 3 and all(c.source in ("model:tiny", "") and 0 <= c.confidence <= 1 for c in made)
    assert any(c.phrases for c in made)
    assert made == writer.caption(pictures, batch=1), "the company of a batch changes no caption"
    assert all(c == Caption() for c in ModelCaptioner(tmp_path, name="tiny", least=1.01).caption(pictures))


@pytest.mark.real
def test_stamps_that_nothing_was_learned_from_are_captioned():
    from eval.eval_captions import measure

    if not STAMPS.is_dir():
        pytest.skip("no stamps catalog: run `make stamps`")
    found, captions = measure(STAMPS)
    held = {key: value[0] for key, value in found["held_out"].items() if isinstance(value, list)}
    assert held["contradicted"] <= 0.1 and held["other_value"] <= 0.1
    # 0.600 in one environment and 0.597 in another: rounding turns one stamp of 300.
    assert held["right"] >= 0.59 and held["strict"] >= 0.33
    said = {i.id: c for i, c in captions}
    assert "string" in said["hobbies-music-string-violin"].phrases
