from __future__ import annotations

import json

import numpy as np
import pytest

from mmllm.catalog import matches, resolve_filters
from mmllm.types import Filter, Item
from mmllm.vector_store import STAMP, Space, VectorStore


def test_deep_lists_are_exact_and_the_same_at_every_build(tmp_path):
    """Near-duplicates in clusters are what an approximate search loses."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.standard_normal((30, 64)), 40, axis=0) + 0.05 * rng.standard_normal((1200, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"{n:04d}" for n in range(len(vectors))]
    items = {i: Item(i, i) for i in ids}
    queries = vectors[::60] + 0.05 * rng.standard_normal((20, 64)).astype(np.float32)
    found = []
    for build in ("one", "two"):
        store = VectorStore.open(tmp_path / build, fingerprint=build, spaces={"fused": Space(ids, vectors)}, items=items)
        found.append([[i for i, _ in store.query("fused", q, 200)] for q in queries])
        store.close()
    assert found[0] == found[1]
    exact = [{ids[n] for n in np.argsort(-(vectors @ q))[:200]} for q in queries]
    assert np.mean([len(e & set(f)) / 200 for e, f in zip(exact, found[0], strict=True)]) > 0.99


VALUES = {
    "number": 38,
    "fraction": 38.5,
    "numbers": (38, 40),
    "both": (38, 38.5),
    "mixed": (38, 40, "M"),
    "flags": (True, "m"),
    "text": "M",
    "texts": ("m", "L"),
    "flag": True,
    "one": 1,
    "huge": 10**30,
}
ITEMS = {i: Item(i, i, attributes={"size": v, "#tag": v}) for i, v in VALUES.items()} | {"none": Item("none", "none")}


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """A shop's sizes: one value, several, of one kind and of several; a name that Chroma refuses as a key."""
    return open_sized(tmp_path_factory.mktemp("sizes"))


def open_sized(folder):
    vectors = np.eye(len(ITEMS), dtype=np.float32)
    return VectorStore.open(folder / "chroma", fingerprint="x", spaces={"fused": Space(list(ITEMS), vectors)}, items=ITEMS)


OPERATORS = [(op, v) for op in ("=", "!=") for v in (38, 38.0, 38.5, "m", "L", True, 1, 10**30)]
OPERATORS += [(op, v) for op in (">=", "<=", ">", "<") for v in (38, 38.5, 39, 40, 40.5)]
OPERATORS += [
    (op, v) for op in ("in", "all", "!=") for v in ((38,), (38, 40), (38, 38.5), (38, "M"), (20, 30.5), ("m", "l"), (True,))
]


@pytest.mark.parametrize(("op", "value"), OPERATORS)
@pytest.mark.parametrize("name", ["size", "#tag"])
def test_dense_search_finds_what_the_catalog_matches(sized, name, op, value):
    f = Filter(name, op, value)
    found = {i for i, _ in sized.query("fused", np.ones(len(ITEMS)), len(ITEMS), [f])}
    assert found == {i for i, item in ITEMS.items() if matches(item, [f])}


def test_every_condition_that_is_let_through_can_be_asked(sized):
    items = [ITEMS["number"], ITEMS["fraction"], ITEMS["numbers"]]
    for wanted in ([20, 30.5], 10**30, np.float32(38), {">=": [38]}, {"=": [38, 40]}, {"!=": [38, 40.5]}):
        filters = resolve_filters({"size": wanted}, items)
        found = {i for i, _ in sized.query("fused", np.ones(len(ITEMS)), len(ITEMS), filters)}
        assert found == {i for i, item in ITEMS.items() if matches(item, filters)}


def test_a_folder_of_another_layout_is_rebuilt(tmp_path):
    open_sized(tmp_path).close()
    again = open_sized(tmp_path)
    assert not again.rebuilt
    again.close()
    stamp = tmp_path / "chroma" / STAMP
    stamp.write_text(json.dumps({k: v for k, v in json.loads(stamp.read_text()).items() if k != "layout"}))
    old = open_sized(tmp_path)
    assert old.rebuilt
    old.close()
