"""Training examples for ranking: lists of candidates with gains, made from interactions; the n-th is the same on every machine.

A list asks what a user liked next. Its candidates are what collaborative filtering would have retrieved for his history, with models that
never saw him (his fold is left out), so that training meets the same lists as serving does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmllm.collaborative import Slist
from mmllm.interactions import Interactions, Split

FOLDS = 5


@dataclass(frozen=True)
class RankList:
    """One example. history: item indices, oldest first; candidates [N]; gains [N], sum 1; retriever [N], z-scores."""

    history: np.ndarray
    candidates: np.ndarray
    gains: np.ndarray
    retriever: np.ndarray
    request: str = ""


@dataclass(frozen=True)
class ListSettings:
    """How lists are made: `candidates` in each, up to `positives` of the next `ahead` liked items, the rest from the first `depth` retrieved.

    A share `wide` of the negatives is drawn from all items by popularity instead.
    """

    candidates: int = 20
    positives: int = 4
    ahead: int = 8
    depth: int = 60
    wide: float = 0.2
    history: int = 20
    least: int = 3
    """A history has this many items at least."""
    regularization: float = 200.0
    transitions: float = 0.0
    half_life: float = 0.0
    """Of the model that retrieves, see `mmllm.collaborative.Slist`; with 0 and 0 it is EASE."""
    seed: int = 17

    def model(self, learned: Interactions) -> Slist:
        """The retrieval model that these settings ask for."""
        half_life = self.half_life or None
        return Slist.fit(learned, regularization=self.regularization, transitions=self.transitions, half_life=half_life)


def without(data: Interactions, splits: Sequence[Split], *, refit: bool = False) -> Interactions:
    """Training interactions without any pair that these splits ask for in validation or test, or in test alone (`refit`).

    The items have to be the same.
    """
    asked: set[tuple[int, int]] = set()
    for split in splits:
        if split.train.items != data.items or split.train.users != data.users:
            raise ValueError("splits of other items or users")
        for cases in (split.test,) if refit else (split.validation, split.test):
            for user, targets in zip(cases.user.tolist(), cases.targets, strict=True):
                asked.update((user, int(t)) for t in targets)
    pairs = zip(data.user.tolist(), data.item.tolist(), strict=True)
    return data.where(np.array([p not in asked for p in pairs], dtype=bool))


class Lists(Protocol):
    """An endless deterministic sequence of examples."""

    def make(self, n: int) -> RankList:
        """The n-th list."""
        ...

    def __len__(self) -> int:
        """How much there is to learn from: interactions, or requests."""
        ...


class RankLists:
    """An endless deterministic sequence of RankList over training interactions."""

    def __init__(self, learned: Interactions, settings: ListSettings) -> None:
        self.learned, self.settings = learned, settings
        self.sequences = learned.sequences
        self.users = np.array([u for u, s in enumerate(self.sequences) if len(s) > settings.least])
        if not len(self.users):
            raise ValueError(f"no user has more than {settings.least} positives to learn from")
        weight = np.sqrt([len(self.sequences[u]) for u in self.users])  # a long history says more, but not in proportion
        self._share = weight / weight.sum()
        popular = learned.counts + 1.0
        self._popular = popular / popular.sum()
        self._fold = np.random.default_rng(settings.seed).integers(FOLDS, size=len(learned.users))
        self._models = [settings.model(learned.where(self._fold[learned.user] != f)) for f in range(FOLDS)]

    def __len__(self) -> int:
        """Interactions."""
        return len(self.learned)

    def make(self, n: int) -> RankList:
        """The n-th list."""
        s = self.settings
        rng = np.random.default_rng([s.seed, n])
        user = int(rng.choice(self.users, p=self._share))
        sequence = self.sequences[user]
        at = int(rng.integers(s.least, len(sequence)))
        model = self._models[self._fold[user]]
        scores = model.scores([sequence[:at]])[0]
        ahead = sequence[at : at + s.ahead]
        positives = rng.permutation(ahead)[: s.positives]
        retrievable = scores.copy()
        retrievable[sequence] = -np.inf  # neither what he liked before nor what he will like is a negative
        top = np.argsort(-retrievable, kind="stable")[: s.depth]
        wanted = min(
            s.candidates - len(positives), len(self._popular) - len(np.unique(sequence))
        )  # a small catalog may have fewer
        wide = rng.binomial(wanted, s.wide)
        negatives = rng.choice(top, size=min(wanted - wide, len(top)), replace=False)
        while len(negatives) < wanted:
            one = int(rng.choice(len(self._popular), p=self._popular))
            if one not in negatives and one not in sequence:
                negatives = np.append(negatives, one)
        candidates = rng.permutation(np.concatenate([positives, negatives]))
        gains = np.isin(candidates, positives) / len(positives)
        found = scores[candidates]
        deviation = found.std()
        z = (found - found.mean()) / deviation if deviation > 1e-9 else np.zeros(len(found))
        return RankList(sequence[max(0, at - s.history) : at], candidates, gains.astype(np.float32), z.astype(np.float32))
