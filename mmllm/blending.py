"""How much of the language model a final score holds: weight and share, chosen on validation by the one-standard-error rule.

final = (1 - w) z(retriever) + w z(own), own = share z(readouts) + (1 - share) z(match)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmllm.rank_model import Case, Parts
from mmllm.rerank import joined, zscore
from mmllm.validate import ndcg

WEIGHTS = tuple(round(0.05 * n, 2) for n in range(21))
SHARES = tuple(round(0.1 * n, 1) for n in range(11))


def blend(case: Case, scores: np.ndarray, weight: float) -> np.ndarray:
    """Final scores [N] of a case's candidates."""
    return (1 - weight) * zscore(case.scores) + weight * zscore(scores)


def case_ndcg(case: Case, final: np.ndarray, k: int = 10) -> float:
    """Binary nDCG@k over the whole catalog: a target that was not retrieved counts as missed."""
    order = np.argsort(-final, kind="stable")[:k]
    return ndcg(case.candidates[order].tolist(), frozenset(case.targets.tolist()), k)


def grid(cases: Sequence[Case], parts: Sequence[Parts], shares: Sequence[float]) -> np.ndarray:
    """nDCG@10 of every share, every one of WEIGHTS and every case, [S, W, C]."""
    rows = [[joined(r, m, share) for r, m in parts] for share in shares]
    return np.array([[[case_ndcg(c, blend(c, s, w)) for c, s in zip(cases, own, strict=True)] for w in WEIGHTS] for own in rows])


def steady(values: np.ndarray) -> tuple[int, int]:
    """The place (share, weight) in values [S, W, C] of the least weight that is no worse than the best by more than a standard error.

    The one-standard-error rule (Breiman et al. 1984; Hastie et al. 2009, section 7.10) over paired differences: weights of the highest mean
    do not hold on other users, and a retriever's order is not given up for noise. Of the shares at that weight it is the best one.
    """
    means = values.mean(axis=-1).round(6)
    loss = values[highest(values)] - values
    error = loss.std(axis=-1, ddof=1) / loss.shape[-1] ** 0.5 if loss.shape[-1] > 1 else np.zeros(means.shape)
    kept = loss.mean(axis=-1) <= error + 1e-9
    weight = int(np.flatnonzero(kept.any(axis=0))[0])
    return int(np.where(kept[:, weight], means[:, weight], -1.0).argmax()), weight


def highest(values: np.ndarray) -> tuple[int, int]:
    """The place (share, weight) of the highest mean in values [S, W, C]; of equals the least weight, and then the least share."""
    means = values.mean(axis=-1).round(6)
    weight = int(means.max(axis=0).argmax())
    return int(means[:, weight].argmax()), weight


def choose(cases: Sequence[Case], parts: Sequence[Parts]) -> dict[str, Any]:
    """nDCG@10 over all cases of the retriever, the readouts ("lm"), the match, and the blend of the "weight" and "share" that `steady` chooses.

    Where both parts are there, also the blend without the readouts ("match_blend", "match_weight"). "greedy" is the blend of the highest mean,
    "greedy_weight" and "greedy_share" are its own: what training steps are told apart by.
    """
    readouts, matched = all(r is not None for r, _ in parts), any(m is not None for _, m in parts)
    shares = SHARES if readouts and matched else ((1.0,) if readouts else (0.0,))
    values = grid(cases, parts, shares)
    means = values.mean(axis=-1).round(5)

    def told(name: str, at: tuple[int, int]) -> dict[str, float]:
        return {f"{name}weight": WEIGHTS[at[1]], f"{name}share": shares[at[0]]}

    row: dict[str, Any] = {"retriever": float(means[0, 0])}
    row |= {"lm": float(means[-1, -1])} if readouts else {}
    if matched:
        bare = steady(values[:1])
        row |= {"match": float(means[0, -1]), "match_blend": float(means[bare]), "match_weight": WEIGHTS[bare[1]]}
    own, best = steady(values), highest(values)
    row |= {"blend": float(means[own]), **told("", own)}
    return row | {"greedy": float(means[best]), **told("greedy_", best)}
