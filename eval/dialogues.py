"""Yardsticks of recommendation dialogues (`mmllm.redial`): popularity, words, meaning, EASE and their blend, tuned on validation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from eval import metrics
from eval.content import Content, fused_ranks
from mmllm.collaborative import ease
from mmllm.encoders import Encoders
from mmllm.interactions import Cases
from mmllm.lexical import words
from mmllm.redial import Asked
from mmllm.rerank import zscore


def split_hash(asked: Asked) -> str:
    """A short id of the cases and their words."""
    digest = hashlib.sha256()
    for texts, targets in zip(asked.said, asked.cases.targets, strict=True):
        digest.update("\n".join(texts).encode() + targets.tobytes())
    return digest.hexdigest()[:16]


# ---- yardsticks: Asked -> scores [C, items] ------------------------------------------------------------------------


def by_words(asked: Asked, content: Content, last: int) -> np.ndarray:
    """BM25 of the last turns' words over everything the catalog says of an item."""
    import bm25s

    model = bm25s.BM25(method="lucene")
    model.index([d or ["\u2400"] for d in content.documents], show_progress=False)
    out = np.zeros((len(asked.said), asked.cases.items), dtype=np.float32)
    for n, texts in enumerate(asked.said):
        known = [w for w in words(" ".join(texts[-last:])) if w in model.vocab_dict]
        if known:
            out[n] = model.get_scores(known)
    return out


def by_meaning(asked: Asked, content: Content, encoders: Encoders, last: int, space: str) -> np.ndarray:
    """Cosine of the last turns with items: of texts ("text"), of words with pictures ("image"), or with the fused vector ("fused")."""
    texts = [" ".join(t[-last:]) for t in asked.said]
    query = encoders.text.encode(texts, query=True) if space == "text" else encoders.clip.encode_texts(texts)
    return np.asarray(query @ content.vectors[space].T, dtype=np.float32)


def mixed(parts_: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Weighted sum of every case's z-scores over the catalog."""
    return np.asarray(sum(w * np.apply_along_axis(zscore, 1, p) for p, w in zip(parts_, weights, strict=True)), dtype=np.float32)


# ---- the whole -----------------------------------------------------------------------------------------------------

LAST = (1, 3, 6, 1000)
"""How many of the last turns are asked with."""


def recall_at_10(scores: np.ndarray, cases: Cases) -> np.ndarray:
    """[C]; what was named already is removed."""
    truth = cases.matrix("targets")
    hits = metrics.hits_of(metrics.top_k(scores, cases.matrix("seen"), 10), truth)
    return metrics.recall(hits, np.asarray(truth.sum(axis=1)).ravel())


@dataclass(frozen=True)
class Scored:
    """One system on validation and test: scores [C, I] each, with the settings chosen on validation."""

    validation: np.ndarray
    test: np.ndarray
    settings: dict[str, Any]


def systems(
    tuning: Asked, test: Asked, *, content: Content, encoders: Encoders, named: csr_matrix, liked: csr_matrix
) -> dict[str, Scored]:
    """Popularity, BM25, dense, hybrid, EASE, and the blend of EASE, popularity and words; every choice is made on validation.

    named: [training dialogues, I]; liked: [users, I] of interactions, which may be empty.
    """
    counts = np.asarray(named.sum(axis=0)).ravel()
    likes = np.asarray(liked.sum(axis=0)).ravel()
    popular = np.log1p(counts + likes / max(1.0, float(likes.max()))).astype(np.float32)
    both = (tuning, test)

    def pick(options: Iterable[tuple[dict[str, Any], Callable[[Asked], np.ndarray]]]) -> Scored:
        tried = [(settings, make, make(tuning)) for settings, make in options]
        settings, make, scores = max(tried, key=lambda t: float(recall_at_10(t[2], tuning.cases).mean()))
        return Scored(scores, make(test), settings)

    def dense(space: str, last: int) -> Callable[[Asked], np.ndarray]:
        return lambda a: by_meaning(a, content, encoders, last, space)

    def hybrid(last: int) -> Callable[[Asked], np.ndarray]:
        return lambda a: fused_ranks(
            [by_words(a, content, last), *(by_meaning(a, content, encoders, last, s) for s in ("text", "image", "fused"))],
            a.cases.history,
        )

    def together(count: int) -> Callable[[Asked], np.ndarray]:
        weight = ease(vstack([liked, *[named] * count]).tocsr(), regularization=100.0)
        return lambda a: np.asarray(a.cases.matrix("history") @ weight, dtype=np.float32)

    tiled = [np.tile(popular, (len(a.cases), 1)) for a in both]
    out = {"popularity": Scored(tiled[0], tiled[1], {})}
    out["bm25"] = pick(({"last": n}, lambda a, n=n: by_words(a, content, n)) for n in LAST)  # type: ignore[misc]
    out["dense-text"] = pick(({"last": n}, dense("text", n)) for n in LAST)
    out["clip-fused"] = pick(({"last": n}, dense("fused", n)) for n in LAST)
    out["hybrid"] = pick(({"last": n}, hybrid(n)) for n in LAST)
    out["ease"] = pick(({"dialogues_count": n}, together(n)) for n in (1, 3, 10))
    lists = [[out[n].validation for n in ("ease", "popularity", "bm25")], [out[n].test for n in ("ease", "popularity", "bm25")]]
    weights = [(1.0, p, w) for p in (0.0, 0.2, 0.5, 1.0, 2.0) for w in (0.0, 0.1, 0.3, 0.6)]
    scored = [(float(recall_at_10(mixed(lists[0], w), tuning.cases).mean()), w) for w in weights]
    best = max(scored)[1]
    settings = dict(zip(("ease", "popularity", "bm25"), best, strict=True))
    out["ease+popularity+bm25"] = Scored(mixed(lists[0], best), mixed(lists[1], best), settings)
    return out
