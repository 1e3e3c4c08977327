from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmllm.caption import ModelCaptioner, PhraseCaptioner, bank, threshold, vocabulary
from mmllm.types import Caption, Item

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
    mask = np.ones(len(items), bool) if known is None else known
    return PhraseCaptioner(items, images, mask, encode_images=lambda p: images[: len(p)], encode_texts=encode_texts, name="test")


def test_the_bank_holds_what_says_what_a_thing_is(world):
    items, _, _ = world
    assert bank(items) == {"kind": ("animal", "fruit", "tool")}, "no number, no reserved names, no serial number"
    assert bank([]) == {}
    names = vocabulary()
    assert len(names) > 1000 and len(set(names)) == len(names) and all(n == n.lower() for n in names)


def test_a_picture_amid_a_kind_is_given_it_and_one_far_from_all_nothing(world):
    items, images, centres = world
    made = captioner(items, images).caption_vectors(np.vstack([centres, unit(-centres.sum(axis=0))[None]]))
    assert [c.phrases for c in made[:3]] == [("fruit",), ("tool",), ("animal",)]
    assert all(c.source == "phrases:test" and 0 < c.confidence <= 1 for c in made[:3])
    assert made[3].confidence < min(c.confidence for c in made[:3])


def test_an_item_has_no_vote_of_its_own(world):
    items, images, _ = world
    # Item 0 lies among the tools but its catalog says fruit: its own word must not count.
    images = images.copy()
    images[0] = images[1]
    made = captioner(items, images).caption_vectors(images[:1], own=[0])
    assert made[0].phrases == ("tool",)


def test_order_and_company_change_nothing(world):
    items, images, _ = world
    one = captioner(items, images)
    together = one.caption_vectors(images[:9], own=range(9))
    assert together == [one.caption_vectors(images[n : n + 1], own=[n])[0] for n in range(9)]
    assert together[::-1] == one.caption_vectors(images[:9][::-1].copy(), own=list(range(9))[::-1])


def test_labels_that_pictures_do_not_show_are_never_asserted(world):
    items, images, _ = world
    rng = np.random.default_rng(1)
    shuffled = [Item(i.id, i.title, "", {"kind": str(rng.choice(["fruit", "tool", "animal"]))}) for i in items]
    made = captioner(shuffled, images).caption_vectors(images, own=range(120))
    assert not {"fruit", "tool", "animal"} & {p for c in made for p in c.phrases}


def test_a_catalog_without_attributes_or_pictures(world):
    items, images, _ = world
    bare = [Item(i.id, i.title) for i in items]
    assert captioner(bare, images).caption_vectors(images[:2], own=[0, 1]) == [Caption(), Caption()]
    nothing = captioner(items, images, known=np.zeros(120, bool))
    assert nothing.caption_vectors(images[:1]) == [Caption()]


def test_the_threshold_is_where_answers_turn_wrong():
    confidence, right = np.linspace(1, 0, 100), np.r_[np.ones(60), np.zeros(40)]
    at = threshold(confidence, right)
    above = confidence >= at
    assert right[above].mean() >= 0.93 and 60 <= above.sum() <= 65
    assert threshold(confidence, np.zeros(100)) > 1 and threshold(confidence[:5], np.ones(5)) > 1


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
