from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mmllm import Query, Recommender, catalog, settings
from mmllm import adapter as adapters
from mmllm.adapt import adapt, hold_out
from mmllm.align import Views, gain, split_views
from mmllm.build import build_index
from mmllm.contrast import Contrast
from mmllm.derive import OWN, load_adapter
from mmllm.errors import AdapterError, IndexStateError, QueryError
from mmllm.store import Store
from mmllm.types import Item

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "grey", "brown", "pink")
SHAPES = ("square", "disc", "bar", "cross", "frame", "corner", "dot", "beam")


@pytest.fixture
def shapes(tmp_path):
    """80 pictures whose words say what is seen: something there is to learn, even over random towers."""
    folder = tmp_path / "shapes"
    (folder / "media").mkdir(parents=True)
    boxes = [
        (6, 6, 42, 42),
        (10, 10, 38, 38),
        (2, 18, 46, 28),
        (18, 2, 28, 46),
        (0, 0, 47, 20),
        (0, 0, 20, 47),
        (20, 20, 27, 27),
        (0, 30, 47, 47),
    ]
    items = []
    for colour in COLOURS:
        for shape, box in zip(SHAPES, boxes, strict=True):
            image = Image.new("RGB", (48, 48), "white")
            (ImageDraw.Draw(image).ellipse if shape == "disc" else ImageDraw.Draw(image).rectangle)(box, fill=colour)
            name = f"{colour}-{shape}"
            image.save(folder / "media" / f"{name}.png")
            items.append(Item(name, f"A {colour} {shape}", "", {"colour": colour}, f"media/{name}.png"))
    catalog.write(items, folder)
    return folder


@pytest.fixture
def index(tiny, shapes, tmp_path):
    build_index(shapes, tmp_path / "index", preset="tiny")
    return tmp_path / "index"


def snapshot(index):
    return {p.name: p.read_bytes() for p in index.rglob("*.safetensors")} | {"manifest": (index / "manifest.json").read_bytes()}


def test_a_catalog_is_learned_and_kept(index, shapes):
    before = Store(index)
    old_anchor = before.features["anchor"]["values"].copy()
    report = adapt(index, share=0.25, training=Contrast(epochs=60, batch=60, learning_rate=1e-2, text_rate=1.0, pull=0.0))
    assert report.kept and report.after["text_to_image_recall@10"] > report.before["text_to_image_recall@10"]
    assert report.trained_on + report.held_out == 80 and report.held_out >= 20
    after = Store(index)
    assert after.manifest.heads and not after.problems()
    np.testing.assert_array_equal(after.features["image"]["values"], before.features["image"]["values"])
    assert np.abs(after.features["anchor"]["values"] - old_anchor).max() > 0.01
    opened = Recommender.load(index)
    try:
        # The query goes through the same projections as the items.
        encoded = opened.retriever.encode(Query(image=shapes / "media" / "red-disc.png"))
        row = after.row["red-disc"]
        np.testing.assert_allclose(encoded.anchors["image"], after.features["anchor"]["values"][row, 1], atol=1e-4)
        clip = opened.encoders.clip
        assert clip.heads.fingerprint() == after.manifest.heads != clip.base.fingerprint()
    finally:
        opened.close()


def test_a_later_build_keeps_the_projections_and_encodes_only_what_is_new(index, shapes):
    adapt(index, share=0.25, training=Contrast(epochs=60, batch=60, learning_rate=1e-2, text_rate=1.0, pull=0.0))
    heads = Store(index).manifest.heads
    assert heads
    items = list(catalog.read(shapes).items)
    items[0] = Item(items[0].id, "A crimson square", "", items[0].attributes, items[0].image)
    catalog.write(items, shapes)
    report = build_index(shapes, index, preset="tiny")
    assert dict(report.encoded) == {"text": 1, "image": 0, "audio": 0}
    assert Store(index).manifest.heads == heads
    assert build_index(shapes, index, preset="tiny").changed is False


def test_what_does_not_help_changes_nothing(index):
    before = snapshot(index)
    report = adapt(index, training=Contrast(epochs=1, batch=60, learning_rate=0.0))
    assert not report.kept and report.before == report.after
    assert snapshot(index) == before


def test_too_little_to_learn_from(shop_index):
    with pytest.raises(IndexStateError, match="at least 60"):
        adapt(shop_index)


def test_one_title_stands_on_one_side_only():
    items = [Item(str(n), f"title {n // 3}") for n in range(60)]
    train, held = hold_out(items, range(60), 0.2)
    assert sorted(train + held) == list(range(60)) and len(held) >= 12
    assert not {items[r].title for r in train} & {items[r].title for r in held}


def test_named_items_are_held_out(index):
    report = adapt(index, test=[f"{c}-disc" for c in COLOURS], training=Contrast(epochs=1, batch=60, learning_rate=0.0))
    assert (report.trained_on, report.held_out) == (70, 10)


def test_held_out_items_are_checked_and_their_titles_not_trained_on(index, shapes):
    with pytest.raises(QueryError, match="no test item"):
        adapt(index, test=[])
    with pytest.raises(QueryError, match="unknown item id"):
        adapt(index, test=["no-such-thing"])
    items = list(catalog.read(shapes).items)
    items[1] = Item(items[1].id, items[0].title, "", items[1].attributes, items[1].image)
    items[2] = Item(items[2].id, items[2].title, "", items[2].attributes)
    catalog.write(items, shapes)
    build_index(shapes, index, preset="tiny")
    report = adapt(index, test=[items[0].id], training=Contrast(epochs=1, batch=60, learning_rate=0.0))
    assert (report.trained_on, report.held_out) == (77, 1), "its namesake and the item without a picture are left out"
    with pytest.raises(QueryError, match="no picture"):
        adapt(index, test=[items[2].id])


def test_a_crash_while_projections_are_written_loses_no_encoding(index, shapes, monkeypatch):
    from mmllm import derive

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(derive, "fuse_all", killed)
        with pytest.raises(KeyboardInterrupt):
            adapt(index, share=0.25, training=Contrast(epochs=60, batch=60, learning_rate=1e-2, text_rate=1.0, pull=0.0))
    assert not (index / "manifest.json").exists()
    report = build_index(shapes, index, preset="tiny")
    assert not any(report.encoded.values()) and not Store(index).manifest.heads
    assert not (index / "heads.safetensors").exists(), "half an adaptation is none"


def test_adapted_projections_and_a_trained_adapter_exclude_each_other(index, shapes, tmp_path):
    adapt(index, share=0.25, training=Contrast(epochs=60, batch=60, learning_rate=1e-2, text_rate=1.0, pull=0.0))
    assert Store(index).manifest.heads and not Store(index).manifest.blend
    store = Store(index)
    plain = load_adapter(None, settings.preset("tiny"), store.manifest.widths, store.manifest.encoders, heads="")
    config = dataclasses.replace(plain.config, name="elsewhere", encoders={**plain.config.encoders, "projections": ""})
    adapters.save(dataclasses.replace(plain, config=config), tmp_path / "adapter")
    with pytest.raises(AdapterError, match="trained over projections"):
        build_index(shapes, index, preset="tiny", adapter=tmp_path / "adapter")
    build_index(shapes, tmp_path / "other", preset="tiny", adapter=tmp_path / "adapter")
    adapters.save(dataclasses.replace(plain, config=dataclasses.replace(config, lm_fingerprint="x")), tmp_path / "misfit")
    with pytest.raises(AdapterError, match="was trained over language model"):
        build_index(shapes, tmp_path / "new", preset="tiny", adapter=tmp_path / "misfit")
    assert not (tmp_path / "new" / ".partial").exists(), "nothing was encoded for an adapter that does not fit"
    with pytest.raises(IndexStateError, match="was built with adapter"):
        adapt(tmp_path / "other")


STILL = Contrast(epochs=1, batch=60, learning_rate=0.0)
FUSED = Views(epochs=500, batch=60, learning_rate=5e-3, dropout=0.0, weight_decay=0.0, heat=10.0, same=2.0)


def test_a_fusion_is_learned_kept_and_survives_a_build(index, shapes, tmp_path):
    report = adapt(index, share=0.25, training=STILL, views=FUSED)
    assert report.fusion_kept and not report.kept
    assert report.fusion_after["text_to_image_recall@10"] > report.fusion_before["text_to_image_recall@10"]
    made = Store(index)
    assert made.manifest.adapter == OWN and not made.manifest.heads and not made.problems()
    moved = tmp_path / "moved"
    index.rename(moved)  # the adapter lies in the index and moves with it
    opened = Recommender.load(moved)
    try:
        assert opened.retriever.fusion.gate.detach().item() != 0 and opened.reranker.adapter.config.form == "text"
    finally:
        opened.close()
    assert build_index(shapes, moved, preset="tiny").changed is False
    items = list(catalog.read(shapes).items)
    catalog.write(items[1:], shapes)
    assert build_index(shapes, moved, preset="tiny").changed and Store(moved).manifest.adapter == OWN
    file = moved / OWN / "fusion" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert Store(moved).problems() == [f"{OWN}/fusion/model.safetensors has another sha256 than the manifest says"]


def test_two_views_share_no_modality_and_hold_one_each():
    generator = torch.Generator().manual_seed(3)
    present = torch.tensor([[True, True, False], [True, True, True], [False, True, True]] * 50)
    first, second = split_views(present, generator)
    assert not (first & second).any() and not ((first | second) & ~present).any()
    assert bool(first.any(1).all()) and bool(second.any(1).all())
    assert (second[1::3].sum(1) == 2).any() and (second[1::3].sum(1) == 1).any()


def test_a_gain_comes_with_its_standard_error():
    worse, better = np.array([1, 20, 20, 3]), np.array([1, 2, 30, 3])
    more, noise = gain({"a": worse, "b": worse}, {"a": better, "b": better})
    assert more == 0.25 and noise == pytest.approx(0.25)
