from __future__ import annotations

import numpy as np

from mmllm.types import Item
from mmllm.vector_store import Space, VectorStore


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
