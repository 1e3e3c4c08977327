"""Recommenders by what items are: words, pictures, the fused vector, and the hybrid of them, asked with what a user liked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.baselines import Grid, System
from mmllm.interactions import Cases, Interactions
from mmllm.lexical import searchable, words
from mmllm.retrieve import RRF_K
from mmllm.store import Store


@dataclass(frozen=True)
class Content:
    """Of I items in the split's order: vectors name -> [I, D] (unit rows, zeros where absent), documents [I] as lists of words."""

    vectors: dict[str, np.ndarray]
    documents: list[list[str]]
    genres: np.ndarray

    @classmethod
    def of(cls, store: Store, ids: tuple[str, ...], kind: str = "genre") -> Content:
        """From an index; `kind` names the attribute that calibration is about."""
        rows = store.rows(list(ids))
        features, anchor = store.features, store.features["anchor"]
        vectors = {
            "text": features["text"]["values"][rows] * features["text"]["present"][rows, None],
            "image": anchor["values"][rows, 1] * anchor["present"][rows, 1, None],
            "fused": store.fused["pooled"][rows],
        }
        return cls(
            {n: _unit(v) for n, v in vectors.items()},
            [words(searchable(store.payloads[r])) for r in rows],
            _kinds(store, rows, kind),
        )


def _kinds(store: Store, rows: list[int], name: str) -> np.ndarray:
    """[I, G], an item's values of one attribute as a distribution; no column where nothing has it."""
    values = [store.items[r].attributes.get(name, ()) for r in rows]
    lists = [v if isinstance(v, tuple) else (v,) for v in values]
    known = sorted({str(v) for own in lists for v in own})
    out = np.zeros((len(rows), len(known)))
    for n, own in enumerate(lists):
        for v in own:
            out[n, known.index(str(v))] = 1 / len(own)
    return out


def _unit(values: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norm > 0, norm, 1), dtype=np.float32)


@dataclass
class Dense:
    """Cosine to the mean of the last `last` liked items' vectors."""

    vectors: np.ndarray
    last: int = 20

    def fit(self, learned: Interactions) -> None:
        """Nothing to learn."""

    def scores(self, cases: Cases) -> np.ndarray:
        """By content alone, so that unseen items are ranked too."""
        profile = np.stack([self.vectors[h[-self.last :]].mean(axis=0) for h in cases.history])
        return np.asarray(_unit(profile) @ self.vectors.T, dtype=np.float32)


@dataclass
class Words:
    """BM25 with the words of the last `last` liked items as the request."""

    documents: list[list[str]]
    last: int = 5
    model: Any = None

    def fit(self, learned: Interactions) -> None:
        """Index the catalog's words."""
        import bm25s

        self.model = bm25s.BM25(method="lucene")
        self.model.index([d or ["\u2400"] for d in self.documents], show_progress=False)

    def scores(self, cases: Cases) -> np.ndarray:
        """A word of several liked items counts as often as it occurs in them."""
        out = []
        for history in cases.history:
            asked = [w for i in history[-self.last :] for w in self.documents[i] if w in self.model.vocab_dict]
            found = self.model.get_scores(asked) if asked else np.zeros(cases.items)
            out.append(np.asarray(found, dtype=np.float32))
        return np.stack(out)


@dataclass
class Hybrid:
    """Reciprocal rank fusion of content's lists, as `mmllm.retrieve` does it without a collaborative part.

    Its gain for whole matches is left out: a history is no request.
    """

    content: Content
    last: int = 20
    depth: int = 200
    parts: list[System] = field(default_factory=list)

    def fit(self, learned: Interactions) -> None:
        """Its parts'."""
        self.parts = [Dense(self.content.vectors[n], self.last) for n in ("text", "image", "fused")]
        self.parts.append(Words(self.content.documents, min(self.last, 5)))
        for part in self.parts:
            part.fit(learned)

    def scores(self, cases: Cases) -> np.ndarray:
        """Sum of 1 / (60 + rank) over the parts' first `depth`; what was liked takes no place."""
        return fused_ranks([part.scores(cases) for part in self.parts], cases.seen, self.depth)


def fused_ranks(lists: Sequence[np.ndarray], seen: Sequence[np.ndarray], depth: int = 200) -> np.ndarray:
    """Reciprocal rank fusion of scores [C, I], as `mmllm.retrieve.fuse` has it; items in `seen` take no place, and scores of 0 no vote."""
    total = np.zeros_like(lists[0])
    for scores in lists:
        own = scores.copy()
        for n, rows in enumerate(seen):
            own[n, rows] = -np.inf
        order = np.argsort(-own, axis=1, kind="stable")[:, :depth]
        votes = np.where(np.take_along_axis(own, order, axis=1) != 0, 1 / (RRF_K + 1 + np.arange(order.shape[1])), 0)
        np.put_along_axis(total, order, np.take_along_axis(total, order, axis=1) + votes.astype(np.float32), axis=1)
    return total


def grids(content: Content) -> dict[str, Grid]:
    """By name, with how much of the history is asked with tuned on validation."""
    last = tuple({"last": n} for n in (1, 3, 5, 10, 20, 1000))

    def dense(name: str) -> Grid:
        return Grid(lambda **s: Dense(content.vectors[name], **s), last)

    return {
        "bm25": Grid(lambda **s: Words(content.documents, **s), last[:4]),
        "dense-text": dense("text"),
        "clip-image": dense("image"),
        "fused": dense("fused"),
        "hybrid": Grid(lambda **s: Hybrid(content, **s), last),
    }
