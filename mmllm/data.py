"""Training examples for ranking: lists of candidates with gains, made from interactions; the n-th is the same on every machine.

A list to be taught by asks what the retriever's scores are (`lesson`), which says something of every candidate. A list to rank asks
what a user liked next. Its candidates, positives as well as negatives, are what collaborative filtering retrieves for his history with models
that never saw him (his fold is left out), so that training meets the same lists as serving does. With positives that were not retrieved among
negatives that were, a model would learn to tell one from the other, by which nothing is ranked that was retrieved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmllm.collaborative import Slist, turned
from mmllm.errors import MmllmError
from mmllm.interactions import Interactions, Split
from mmllm.rerank import zscore

FOLDS = 5
TRIES = 1000


@dataclass(frozen=True)
class RankList:
    """One example. history: item indices, oldest first; candidates [N]; gains [N], sum 1; retriever [N], z-scores.

    fold: whose likes the features it is learned from must not know; -1 where they may know all.
    """

    history: np.ndarray
    candidates: np.ndarray
    gains: np.ndarray
    retriever: np.ndarray
    request: str = ""
    fold: int = -1


@dataclass(frozen=True)
class DistillSettings:
    """`[distill]` of a recipe: the language model learns to score as the retriever does. steps: 0 leaves the stage out; batch: lists of a step.

    A list has `candidates` of the first `lists.depth` retrieved; of a share `wide` of the lists half are drawn from the whole catalog instead,
    what is liked more often more often. likes: weight of the loss of what was liked later, beside the teacher's.
    """

    steps: int = 0
    batch: int = 8
    candidates: int = 40
    wide: float = 0.5
    likes: float = 0.0
    lora_rate: float = 2e-3
    fusion_rate: float = 0.0
    """0 leaves the fusion as the match stage made it."""
    reader_rate: float = 0.0
    """Of the language model's own map of soft tokens (`AttentionFusion.read`), in the rank stage too; 0 leaves it out."""


@dataclass(frozen=True)
class ListSettings:
    """How lists are made: `candidates` of the first `depth` retrieved, up to `positives` of them among the next `ahead` liked items."""

    candidates: int = 20
    positives: int = 4
    ahead: int = 8
    depth: int = 60
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


class Taught(Protocol):
    """A source of lists whose retriever can teach."""

    def taught(self, n: int, settings: DistillSettings) -> RankList:
        """The n-th list to learn the retriever's z-scores from."""
        ...

    def __len__(self) -> int:
        """How much there is to learn from."""
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
        self.fold = np.random.default_rng(settings.seed).integers(FOLDS, size=len(learned.users))
        self._models = [settings.model(learned.where(self.fold[learned.user] != f)) for f in range(FOLDS)]

    def factors(self, onto: np.ndarray, *, seed: int) -> np.ndarray:
        """Per fold the item factors that its users had no part in, [FOLDS, I, width], on the axes of those of all users.

        What a user likes next is in the factors of all: learned from those, a model would read there what it is asked.
        """
        return np.stack([turned(model.factors(onto.shape[1], seed=seed), onto) for model in self._models])

    def expected(self, rows: np.ndarray, fold: int, sharpness: float) -> np.ndarray:
        """What the retriever that never saw the users of a fold holds likely after every place of their histories [B, L] -> [B, L, I], sum 1.

        The softmax of `sharpness` times its z-scores over the catalog.
        """
        scores = self._models[fold].places(rows)
        spread = scores.std(axis=-1, keepdims=True)
        logits = sharpness * (scores - scores.mean(axis=-1, keepdims=True)) / np.maximum(spread, 1e-9)
        likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(likely / likely.sum(axis=-1, keepdims=True), dtype=np.float32)

    def __len__(self) -> int:
        """Interactions."""
        return len(self.learned)

    def make(self, n: int) -> RankList:
        """The n-th list: of users and places drawn by n the first whose next likes are among what is retrieved."""
        s = self.settings
        rng = np.random.default_rng([s.seed, n])
        for _ in range(TRIES):
            user = int(rng.choice(self.users, p=self._share))
            sequence = self.sequences[user]
            at = int(rng.integers(s.least, len(sequence)))
            scores = self._models[self.fold[user]].scores([sequence[:at]])[0]
            found = sample(scores, sequence[:at], sequence[at : at + s.ahead], sequence, s, rng)
            if found is not None:
                return RankList(sequence[max(0, at - s.history) : at], *found, fold=int(self.fold[user]))
        raise MmllmError(
            f"of {TRIES} histories none has a later like among the first {s.depth} retrieved", do="raise `depth` in [lists]"
        )

    def taught(self, n: int, settings: DistillSettings) -> RankList:
        """The n-th list to learn the retriever's z-scores from."""
        rng = np.random.default_rng([self.settings.seed, n, 3])
        user = int(rng.choice(self.users, p=self._share))
        sequence = self.sequences[user]
        at = int(rng.integers(self.settings.least, len(sequence)))
        scores = self._models[self.fold[user]].scores([sequence[:at]])[0]
        found = lesson(scores, sequence[:at], sequence[at:], self.learned.counts, self.settings.depth, settings, rng)
        return RankList(sequence[max(0, at - self.settings.history) : at], *found, fold=int(self.fold[user]))


@dataclass(frozen=True)
class Lessons:
    """The lists of a source to be taught by."""

    source: Taught
    settings: DistillSettings

    def make(self, n: int) -> RankList:
        """The n-th list."""
        return self.source.taught(n, self.settings)

    def __len__(self) -> int:
        """What its source has to learn from."""
        return len(self.source)


def lesson(
    scores: np.ndarray,
    history: np.ndarray,
    wanted: np.ndarray,
    counts: np.ndarray,
    depth: int,
    settings: DistillSettings,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(candidates, gains, z-scores of `scores`) [N] of a list to be taught by, drawn from the first `depth` of scores [I] that are not in the
    history, or half of it from the whole catalog, by how often it was liked (counts [I]).

    What is `wanted` enters only by that draw; gains are 0 where none of it does.
    """
    unseen = np.setdiff1d(np.arange(len(scores)), history)
    top = unseen[np.argsort(-scores[unseen].astype(np.float64), kind="stable")[:depth]]
    wide = settings.candidates // 2 if rng.random() < settings.wide else 0
    chance = np.sqrt(counts[unseen] + 1.0)
    far = rng.choice(unseen, size=min(wide, len(unseen)), replace=False, p=chance / chance.sum())
    near = rng.choice(top, size=min(settings.candidates - wide, len(top)), replace=False)
    candidates = rng.permutation(np.union1d(near, far))
    liked = np.isin(candidates, wanted)
    gains = (liked / max(1, int(liked.sum()))).astype(np.float32)
    return candidates, gains, zscore(scores[candidates].astype(np.float64)).astype(np.float32)


def sample(
    scores: np.ndarray,
    history: np.ndarray,
    wanted: np.ndarray,
    known: np.ndarray,
    settings: ListSettings,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(candidates, gains, z-scores of `scores`) [N] of a list, drawn from the first `depth` of scores [I] that are not in the history.

    Of what is `wanted` up to `positives` enter, if they were retrieved; what else is `known` of the user is no negative. None without a
    positive.
    """
    left = scores.astype(np.float64)
    left[history] = -np.inf
    top = np.argsort(-left, kind="stable")[: settings.depth]
    top = top[np.isfinite(left[top])]  # of a small catalog, the history would follow
    positives = rng.permutation(np.intersect1d(top, wanted))[: settings.positives]
    if not len(positives):
        return None
    others = np.setdiff1d(top, known)
    negatives = rng.choice(others, size=min(settings.candidates - len(positives), len(others)), replace=False)
    candidates = rng.permutation(np.concatenate([positives, negatives]))
    gains = (np.isin(candidates, positives) / len(positives)).astype(np.float32)
    return candidates, gains, zscore(scores[candidates]).astype(np.float32)
