"""Metrics as small pure functions over arrays. C cases, k places, I items.

Of one ranking: hits [C, k], True where a relevant item stands, and relevant [C], how many there are -> [C].
Of a whole run: top [C, k], item indices -> one number.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

Hits = np.ndarray


def top_k(scores: np.ndarray, seen: csr_matrix | None = None, k: int = 10) -> np.ndarray:
    """The k best items per row [C, k] of float32 scores [C, I], seen items removed. Ties go to the item of the smaller number.

    Exact also where many scores tie: score and number are one 64-bit key. A place without an item left holds -1.
    """
    values = np.ascontiguousarray(scores, dtype=np.float32)
    if np.isnan(values).any():
        raise ValueError("a score is not a number")
    values = values + np.float32(0.0)  # -0.0 and 0.0 tie
    bits = values.view(np.int32).astype(np.int64)
    ordered = np.where(bits >= 0, bits, np.int64(-(2**31)) - bits)  # floats in the order of integers
    items = values.shape[1]
    keys = ordered * items + (items - 1 - np.arange(items, dtype=np.int64))[None, :]
    lowest = -(2**62)  # has a negative, unlike the smallest of all
    keys[~np.isfinite(values) & (values < 0)] = lowest
    if seen is not None:
        rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
        keys[rows, seen.indices] = lowest
    k = min(k, items)
    best = np.argpartition(keys, items - k, axis=1)[:, items - k :] if k < items else np.tile(np.arange(items), (len(keys), 1))
    chosen = np.take_along_axis(keys, best, axis=1)
    order = np.argsort(-chosen, axis=1, kind="stable")
    best, chosen = np.take_along_axis(best, order, axis=1), np.take_along_axis(chosen, order, axis=1)
    return np.where(chosen == lowest, -1, best)


def hits_of(top: np.ndarray, truth: csr_matrix) -> Hits:
    """top [C, k] against truth [C, I] -> [C, k]."""
    rows, columns = np.repeat(np.arange(len(top)), top.shape[1]), top.ravel()
    found = np.asarray(truth[rows, np.maximum(columns, 0)]).ravel() > 0
    return (found & (columns >= 0)).reshape(top.shape)


def recall(hits: Hits, relevant: np.ndarray) -> np.ndarray:
    """Share of the relevant items that stand in the k places."""
    return hits.sum(axis=1) / np.maximum(relevant, 1)


def hit_rate(hits: Hits, relevant: np.ndarray) -> np.ndarray:
    """1 where any relevant item stands in the k places."""
    return hits.any(axis=1).astype(float)


def ndcg(hits: Hits, relevant: np.ndarray) -> np.ndarray:
    """Binary nDCG; the ideal ranking has min(k, relevant) hits first (Jarvelin and Kekalainen 2002)."""
    gains = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    ideal = np.concatenate([[0.0], gains.cumsum()])[np.minimum(relevant, hits.shape[1])]
    return (hits * gains).sum(axis=1) / np.where(ideal > 0, ideal, 1)


def mrr(hits: Hits, relevant: np.ndarray) -> np.ndarray:
    """1 / place of the first hit, 0 without one."""
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def average_precision(hits: Hits, relevant: np.ndarray) -> np.ndarray:
    """Mean over the relevant items of the precision at their place, 0 for those not in the k places (trec_eval's map_cut)."""
    precision = hits.cumsum(axis=1) / (np.arange(hits.shape[1]) + 1)
    return (precision * hits).sum(axis=1) / np.maximum(relevant, 1)


RANKING = {"recall": recall, "hit": hit_rate, "ndcg": ndcg, "mrr": mrr, "map": average_precision}


def coverage(top: np.ndarray, items: int) -> float:
    """Share of the catalog that is recommended to anybody."""
    return len(np.unique(top[top >= 0])) / items


def gini(top: np.ndarray, items: int) -> float:
    """Inequality of how often items are recommended: 0 all alike, towards 1 a few only."""
    counts = np.sort(np.bincount(top[top >= 0], minlength=items))
    total = counts.sum()
    return float(((2 * np.arange(1, items + 1) - items - 1) * counts).sum() / (items * total)) if total else 0.0


def novelty(top: np.ndarray, counts: np.ndarray) -> float:
    """Mean -log2 of the share of interactions that a recommended item has (one is added to every count)."""
    share = (counts + 1) / (counts + 1).sum()
    return float(-np.log2(share[top[top >= 0]]).mean())


def popularity_lift(top: np.ndarray, history: csr_matrix, counts: np.ndarray) -> float:
    """Mean popularity of what is recommended over that of what was liked, less one (Abdollahpouri et al. 2020, arXiv:2007.12329)."""
    liked = history.sum(axis=1)
    before = np.asarray((history @ counts) / np.maximum(np.asarray(liked).ravel(), 1)).ravel()
    after = np.where(top >= 0, counts[top], 0).sum(axis=1) / np.maximum((top >= 0).sum(axis=1), 1)
    return float(after.mean() / before.mean() - 1) if before.mean() else 0.0


def diversity(top: np.ndarray, features: np.ndarray) -> float:
    """Mean over lists of 1 - cosine between their items. features: [I, D], unit rows."""
    rows = features[np.maximum(top, 0)] * (top >= 0)[:, :, None]
    n = (top >= 0).sum(axis=1)
    same = np.square(rows.sum(axis=1)).sum(axis=1) - np.square(rows).sum(axis=(1, 2))
    return float((1 - same / np.maximum(n * (n - 1), 1)).mean())


def calibration(top: np.ndarray, history: csr_matrix, kinds: np.ndarray, mix: float = 0.01) -> float:
    """Mean KL divergence of the kinds recommended from those liked (Steck 2018, https://doi.org/10.1145/3240323.3240372).

    kinds: [I, G], each row a distribution or zeros.
    """
    liked = history @ kinds
    shown = (kinds[np.maximum(top, 0)] * (top >= 0)[:, :, None]).sum(axis=1)
    p, q = (x / np.maximum(x.sum(axis=1, keepdims=True), 1e-12) for x in (liked, shown))
    q = (1 - mix) * q + mix * p
    return float(np.where(p > 0, p * np.log(np.maximum(p, 1e-12) / np.maximum(q, 1e-12)), 0).sum(axis=1).mean())


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties by half."""
    from scipy.stats import rankdata

    positive = labels.astype(bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        raise ValueError("AUC needs positives and negatives")
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


def accuracy(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.0) -> float:
    """Share of yes/no answers that are right."""
    return float(((scores > threshold) == labels.astype(bool)).mean())


def interval(values: np.ndarray, *, seed: int = 17, rounds: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean over cases (percentiles)."""
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(rounds)])
    return float(np.quantile(means, (1 - level) / 2)), float(np.quantile(means, (1 + level) / 2))


def ratio(
    parts: np.ndarray, wholes: np.ndarray, *, seed: int = 17, rounds: int = 2000, level: float = 0.95
) -> dict[str, float | list[float] | None]:
    """Sum of parts [U] over sum of wholes [U], with its bootstrap interval over the U (people, each with all that is his); None of nothing."""
    if not wholes.sum():
        return {"value": None, "of": 0.0, "interval": None}
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(parts), size=(rounds, len(parts)))
    above, below = parts[drawn].sum(axis=1), wholes[drawn].sum(axis=1)
    found = above[below > 0] / below[below > 0]
    edges = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return {
        "value": round(float(parts.sum() / wholes.sum()), 5),
        "of": float(wholes.sum()),
        "interval": [round(float(v), 5) for v in edges],
    }


def paired_p(a: np.ndarray, b: np.ndarray, *, seed: int = 17, rounds: int = 10_000) -> float:
    """Two-sided paired permutation test of mean(a - b) = 0 by random signs."""
    difference = a - b
    rng = np.random.default_rng(seed)
    observed = abs(difference.mean())
    at_least = 0
    for start in range(0, rounds, 1000):
        signs = rng.integers(0, 2, size=(min(1000, rounds - start), len(difference))) * 2 - 1
        at_least += int((np.abs((signs * difference).mean(axis=1)) >= observed - 1e-15).sum())
    return (at_least + 1) / (rounds + 1)


def detectable(a: np.ndarray, b: np.ndarray) -> float:
    """The difference that a paired test at 5 % finds with 80 % power, given how these two differ: 2.8 standard errors."""
    return float(2.8 * (a - b).std(ddof=1) / len(a) ** 0.5)
