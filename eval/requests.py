"""Requests made from the attributes of a catalog: what its hybrid retriever finds, each of its lists alone, and adapters that never saw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval import metrics
from eval.language import Reader
from mmllm.blending import blend
from mmllm.rank_model import Case
from mmllm.requests import Request, found, make, quote
from mmllm.rerank import joined
from mmllm.retrieve import Retriever, fuse
from mmllm.settings import SEED
from mmllm.types import Query
from mmllm.validate import ndcg

DEPTH = 20
"""How many of the retrieved items a reranker reads."""
LISTS = {"bm25": "bm25", "text": "dense", "image": "image", "fused": "fused"}


def asked(retriever: Retriever, count: int, *, quoted: bool = False) -> tuple[list[Request], list[Case]]:
    """Requests of the seed, from attributes or from the items' texts (`quoted`), and the first DEPTH items of the hybrid retriever for each."""
    items = retriever.store.items
    made = (
        quote(items, count=count, seed=SEED + 1000)
        if quoted
        else make(items, count=count, seed=SEED + 1000, attributes_only=True)
    )
    return made, [found(retriever, request, DEPTH) for request in made]


def by_lists(retriever: Retriever, made: Sequence[Request]) -> dict[str, np.ndarray]:
    """System -> nDCG@10 per request, of every list of the retriever alone."""
    values: dict[str, list[float]] = {name: [] for name in LISTS.values()}
    for request in made:
        encoded = retriever.encode(Query(text=request.text))
        relevant = frozenset(retriever.store.items[r].id for r in request.relevant)
        ids = {
            "bm25": [retriever.store.items[r].id for r, _ in retriever.bm25.query(encoded.words, 10)],
            "text": _nearest(retriever, "text", encoded.text),
            "image": _nearest(retriever, "image", encoded.anchors.get("text")),
            "fused": _nearest(retriever, "fused", encoded.pooled),
        }
        for name, system in LISTS.items():
            values[system].append(ndcg(ids[name], relevant))
    return {name: np.array(v) for name, v in values.items()}


def _nearest(retriever: Retriever, space: str, vector: np.ndarray | None) -> list[str]:
    if vector is None or space not in retriever.spaces:
        return []
    return [c.id for c in fuse({space: retriever.vectors.query(space, vector, 10, ())}, k=10)]


def reranked(cases: Sequence[Case], read: Reader, *, weight: float, share: float) -> dict[str, np.ndarray]:
    """Form -> nDCG@10 per request: the reader alone, and its blend of a weight that was chosen elsewhere."""
    parts = read(cases)
    out = {}
    for form, (s, w) in {"alone": (1.0, 1.0), "blend": (share, weight)}.items():
        values = []
        for case, (readout, match) in zip(cases, parts, strict=True):
            order = np.argsort(-blend(case, joined(readout, match, s), w), kind="stable")
            values.append(ndcg(case.candidates[order].tolist(), frozenset(case.targets.tolist())))
        out[form] = np.array(values)
    return out


def row(values: np.ndarray) -> dict[str, Any]:
    """Mean with its interval."""
    return {"ndcg@10": round(float(values.mean()), 5), "ndcg@10_interval": [round(v, 5) for v in metrics.interval(values)]}


def of_retriever(cases: Sequence[Case]) -> np.ndarray:
    """nDCG@10 per request of the hybrid retriever."""
    return np.array([ndcg(c.candidates.tolist(), frozenset(c.targets.tolist())) for c in cases])
