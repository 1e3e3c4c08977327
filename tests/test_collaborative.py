"""What people liked together, in an index: kept, searched, told as a reason."""

from __future__ import annotations

import numpy as np
import pytest

from mmllm import Query, Recommender, catalog, interactions
from mmllm.build import build_index
from mmllm.collaborative import together
from mmllm.store import Store

PAIRS = (("banana", "wolf"), ("apple", "goose"), ("pear", "hammer"))


@pytest.fixture
def liked(shop):
    """Who likes a banana likes the wolf: nothing in words or pictures says so."""
    ids = [i.id for i in catalog.read(shop).items]
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        for n, item in enumerate((*PAIRS[user % 3], *rng.choice(ids, 2))):
            rows.append((f"u{user}", str(item), 5.0, 100 * user + n))
        rows.append((f"u{user}", "saw", 1.0, 100 * user + 9))
    catalog.write_interactions(rows, shop)
    return shop


@pytest.fixture
def index(tiny, liked, tmp_path):
    build_index(liked, tmp_path / "liked-index", preset="tiny")
    return tmp_path / "liked-index"


def test_tastes_are_found_and_told(index):
    opened = Recommender.load(index)
    try:
        found = opened.recommend(Query(liked=["banana"]), k=11)
        assert "retrieve:collaborative" in found.stages
        tastes = {r.id: r.scores.get("collaborative", 0.0) for r in found.recommendations}
        assert max(tastes, key=lambda i: tastes[i]) == "wolf"
        wolf = next(r for r in found.recommendations if r.id == "wolf")
        rows = [e for e in wolf.explanation.evidence if e.kind == "people"]
        assert [e.value for e in rows] == ["A yellow banana"] and rows[0].weight > 0
        assert "people who liked “A yellow banana” liked it too" in wolf.explanation.text
        filtered = opened.recommend(Query(liked=["banana"], where={"kind": "tool"}), k=3)
        assert {r.item.attributes["kind"] for r in filtered.recommendations} == {"tool"}
        assert "retrieve:collaborative" not in opened.recommend(Query(text="a fruit"), k=3).stages
    finally:
        opened.close()


def test_new_interactions_encode_nothing_and_are_noticed(index, liked):
    before = Store(index)
    assert before.manifest.interactions and not before.problems()
    assert build_index(liked, index, preset="tiny").changed is False
    rows = (liked / "interactions.csv").read_text().splitlines()
    (liked / "interactions.csv").write_text("\n".join(rows[:-30]) + "\n")
    report = build_index(liked, index, preset="tiny")
    assert report.changed and not any(report.encoded.values())
    assert Store(index).manifest.interactions != before.manifest.interactions
    (liked / "interactions.csv").unlink()
    build_index(liked, index, preset="tiny")
    assert Store(index).together is None and not (index / "cf.npz").exists()


def test_a_low_rating_is_no_like_and_ones_are_likes(liked):
    ids = [i.id for i in catalog.read(liked).items]
    found = together(interactions.read(liked), ids)
    assert found.shape == (12, 12) and (found.data > 0).all()
    best = found[ids.index("banana")].toarray().ravel().argmax()
    assert ids[best] == "wolf"
    rows = [(f"u{n}", i, 1.0, n) for n in range(9) for i in ("a", "b")]
    implicit = together(interactions.of_rows(rows), ["b", "a", "unknown"])
    assert implicit[0, 1] > 0 and implicit[2].nnz == 0
    assert together(interactions.of_rows([]), ["a"]).nnz == 0
