"""What interactions alone say: EASE, SLIST and item factors.

EASE (Steck 2019, https://arxiv.org/abs/1905.03375) is a linear autoencoder in closed form: B = I - P diag(1 / diag P), P = (X'X + l I)^-1,
scores = X B. It needs no user factors, so a new user is scored by what he liked. SLIST (Choi et al. 2021,
https://arxiv.org/abs/2103.16104) adds to what is liked together what is liked next, and counts late likes more than early ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from mmllm.interactions import Interactions

KEPT = 50
"""How many items an index keeps for each liked one."""
LIKED_SHARE = 0.75
"""A rating of this share of the highest or more is a like: 4 of 5 stars, and everything where all ratings are 1."""
LEAST_LIKES = 3
"""An item that fewer people liked says nothing of taste."""


def ease(matrix: csr_matrix, *, regularization: float = 250.0) -> np.ndarray:
    """EASE of what each user liked [users, I] -> weight [I, I] float32, zero diagonal; scores = history @ weight.

    Memory and time grow with I^2 and I^3: some 10,000 items.
    """
    return _closed_form(_gram(matrix, matrix), None, regularization)


PAST, AHEAD = 60, 12
"""How far from a place of a history SLIST looks back and ahead: weights beyond are below a thousandth."""


@dataclass(frozen=True)
class Slist:
    """weight: [I, I] float32, zero diagonal. half_life: after how many later likes one counts half; None counts all alike."""

    weight: np.ndarray
    half_life: float | None = None

    @classmethod
    def fit(
        cls,
        learned: Interactions,
        *,
        regularization: float = 300.0,
        transitions: float = 0.5,
        half_life: float | None = 4.0,
        past: float = 5.0,
        future: float = 1.0,
    ) -> Slist:
        """The least squares of (1 - transitions) |X - X B|^2 + transitions |S B - T|^2 + l |B|^2 under a zero diagonal, in closed form.

        Rows of X are what each user liked; of S and T what he had liked until each place of his history and what he liked from there on,
        with half-lives `past` and `future`. With transitions 0 and half_life None it is EASE.
        """
        items = len(learned.items)
        gram = (1 - transitions) * _gram(learned.matrix, learned.matrix)
        wanted = None
        if transitions:
            before, after = _places(learned.sequences, items, past, future)
            wanted = gram + transitions * _gram(before, after)
            gram += transitions * _gram(before, before)
        return cls(_closed_form(gram, wanted, regularization), half_life)

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """C histories of item indices, oldest first -> [C, I]."""
        return np.asarray(_decayed(histories, len(self.weight), self.half_life) @ self.weight, dtype=np.float32)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Scores after every place of histories [B, L] of item indices, oldest first, -1 where there is nothing -> [B, L, I]."""
        age = np.arange(rows.shape[1])[:, None] - np.arange(rows.shape[1])[None, :]
        share = np.exp2(-np.maximum(age, 0) / self.half_life) if self.half_life else np.ones(age.shape)
        said = self.weight[np.maximum(rows, 0)] * (rows >= 0)[..., None]
        return np.asarray(np.where(age >= 0, share, 0.0).astype(np.float32) @ said, dtype=np.float32)

    def factors(self, width: int = 128, *, seed: int = 17) -> np.ndarray:
        """Item factors [I, width] by truncated SVD of the weight: what an item says when it is liked, beside what speaks for it, each half
        a unit row; zeros where it has no weights."""
        half = width // 2
        rank = min(half, len(self.weight) - 1)
        start = np.random.default_rng(seed).standard_normal(len(self.weight))
        left, strength, right = svds(self.weight.astype(np.float64), k=rank, v0=start)
        order = np.argsort(-strength)
        # The sign of a pair of singular vectors is free: the largest entry is made positive, so that every machine has the same.
        signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(rank)])[order]
        out = np.zeros((len(self.weight), width), dtype=np.float32)
        for at, vectors in ((0, left[:, order]), (half, right[order].T)):
            found = vectors * np.sqrt(strength[order]) * np.where(signs == 0, 1, signs)
            norm = np.linalg.norm(found, axis=1, keepdims=True)
            out[:, at : at + rank] = np.where(norm > 1e-6, found / np.maximum(norm, 1e-9), 0)
        return out


def turned(factors: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Factors [I, width] on the axes of others: both halves turned by the one rotation that brings them nearest, so that what is said by a
    liked and a candidate half together stays as it was (orthogonal Procrustes, Schonemann 1966)."""
    half = factors.shape[1] // 2
    left, _, right = np.linalg.svd(factors[:, :half].T @ onto[:, :half] + factors[:, half:].T @ onto[:, half:])
    turn = left @ right
    return np.concatenate([factors[:, :half] @ turn, factors[:, half:] @ turn], axis=1).astype(np.float32)


def _closed_form(gram: np.ndarray, wanted: np.ndarray | None, regularization: float) -> np.ndarray:
    """B = F - P diag(diag F / diag P) in float32, with P = (gram + l I)^-1 and F = P wanted: its diagonal is zero.

    Without `wanted` it is gram itself. F is I - l P then, and I gives the same B: the constraint takes away what F has of P's columns.
    """
    inverse = cho_solve(cho_factor(gram + regularization * np.eye(len(gram))), np.eye(len(gram)))
    free = np.eye(len(gram)) if wanted is None else inverse @ wanted
    weight = free - inverse * (free.diagonal() / inverse.diagonal())[None, :]
    np.fill_diagonal(weight, 0.0)
    return weight.astype(np.float32)


def _gram(left: csr_matrix, right: csr_matrix) -> np.ndarray:
    return np.asarray((left.T @ right).todense(), dtype=np.float64)


def _decayed(rows: Sequence[np.ndarray], items: int, half_life: float | None) -> csr_matrix:
    """[C, items]: the last of each row counts 1, one `half_life` places earlier a half."""
    ages = [np.arange(len(row))[::-1] for row in rows]
    values = [np.ones(len(age)) if half_life is None else np.exp2(-age / half_life) for age in ages]
    at = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    columns = np.concatenate([*rows, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    return csr_matrix((np.concatenate([*values, np.zeros(0)]).astype(np.float32), (at, columns)), shape=(len(rows), items))


def _places(sequences: Sequence[np.ndarray], items: int, past: float, future: float) -> tuple[csr_matrix, csr_matrix]:
    """At every place of every history: what was liked before it, and what from it on, [places, items] each."""
    places = [(s, n) for s in sequences for n in range(1, len(s))]
    before = _decayed([s[max(0, n - PAST) : n] for s, n in places], items, past)
    after = _decayed([s[n : n + AHEAD][::-1] for s, n in places], items, future)
    return before, after


def together(data: Interactions, ids: Sequence[str], *, regularization: float = 200.0) -> csr_matrix:
    """What is liked by the same people: EASE weights [N, N] over the items `ids`, of each row the KEPT largest that are positive.

    A row is empty where fewer than LEAST_LIKES liked the item.
    """
    liked = data.where(data.rating >= LIKED_SHARE * data.rating.max()) if len(data) else data
    place = {i: n for n, i in enumerate(ids)}
    at = np.array([place.get(i, -1) for i in data.items], dtype=np.int64)
    known = np.flatnonzero((liked.counts >= LEAST_LIKES) & (at >= 0)) if len(liked) else np.zeros(0, dtype=np.int64)
    empty = csr_matrix((len(ids), len(ids)), dtype=np.float32)
    if len(known) < 2:
        return empty
    weight = ease(liked.matrix[:, known].tocsr(), regularization=regularization)
    kept = min(KEPT, len(known))
    best = np.argsort(-weight, axis=1, kind="stable")[:, :kept]
    values = np.take_along_axis(weight, best, axis=1)
    rows = np.repeat(at[known], kept)[values.ravel() > 0]
    columns = at[known][best.ravel()[values.ravel() > 0]]
    return csr_matrix((values.ravel()[values.ravel() > 0], (rows, columns)), shape=empty.shape, dtype=np.float32)
