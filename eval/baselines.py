"""Recommenders without a language model, as yardsticks. Each: fit(learned) -> scores(cases) [C, I]; what is tuned stands in GRIDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy.sparse import diags

from mmllm.collaborative import Slist, ease
from mmllm.interactions import Cases, Interactions
from mmllm.settings import SEED


class System(Protocol):
    """What the harness asks of every recommender."""

    def fit(self, learned: Interactions) -> None:
        """Learn from the training part."""

    def scores(self, cases: Cases) -> np.ndarray:
        """Scores [C, I], higher is better; seen items are removed by the harness."""


@dataclass
class Random:
    """Uniform scores."""

    seed: int = SEED

    def fit(self, learned: Interactions) -> None:
        """Nothing to learn."""

    def scores(self, cases: Cases) -> np.ndarray:
        """Another order for every case."""
        return np.random.default_rng(self.seed).random((len(cases), cases.items), dtype=np.float32)


@dataclass
class Popularity:
    """How often an item was liked, in the last `days` of what is known, or ever."""

    days: float | None = None
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def fit(self, learned: Interactions) -> None:
        """Count."""
        recent = learned if self.days is None else learned.where(learned.time > learned.time.max() - self.days * 86_400)
        self.counts = recent.counts.astype(np.float32)

    def scores(self, cases: Cases) -> np.ndarray:
        """The same for every case."""
        return np.tile(self.counts, (len(cases), 1))


@dataclass
class ItemItem:
    """Cosine between items' columns, `neighbours` kept per item, shrunk towards 0 where few liked both (Sarwar et al. 2001)."""

    neighbours: int = 100
    shrink: float = 10.0
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def fit(self, learned: Interactions) -> None:
        """All pairs of items."""
        matrix = learned.matrix
        both = np.asarray((matrix.T @ matrix).todense(), dtype=np.float32)
        norm = np.sqrt(np.maximum(both.diagonal(), 1e-9))
        weight = both / (norm[:, None] * norm[None, :] + self.shrink)
        np.fill_diagonal(weight, 0.0)
        if self.neighbours < len(weight):
            least = np.partition(weight, len(weight) - self.neighbours, axis=0)[len(weight) - self.neighbours]
            weight[weight < least[None, :]] = 0.0
        self.weight = weight

    def scores(self, cases: Cases) -> np.ndarray:
        """Sum over the history."""
        return np.asarray(cases.matrix("history") @ self.weight, dtype=np.float32)


@dataclass
class EaseSystem:
    """EASE, see `mmllm.collaborative`."""

    regularization: float = 250.0
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def fit(self, learned: Interactions) -> None:
        """Closed form."""
        self.weight = ease(learned.matrix, regularization=self.regularization)

    def scores(self, cases: Cases) -> np.ndarray:
        """From the history alone."""
        return np.asarray(cases.matrix("history") @ self.weight, dtype=np.float32)


@dataclass
class SlistSystem:
    """SLIST, see `mmllm.collaborative`: what is liked together and next, late likes counting more."""

    regularization: float = 300.0
    transitions: float = 0.5
    half_life: float | None = 4.0
    model: Slist = field(default_factory=lambda: Slist(np.zeros(0)))
    fitted: ClassVar[tuple[Interactions, float, float, Slist] | None] = None

    def fit(self, learned: Interactions) -> None:
        """Closed form. The weight knows no half-life: those of a grid, which come one after the other, share it."""
        asked, last = (self.regularization, self.transitions), SlistSystem.fitted
        if last is None or last[0] is not learned or last[1:3] != asked:
            last = (learned, *asked, Slist.fit(learned, regularization=self.regularization, transitions=self.transitions))
            SlistSystem.fitted = last
        self.model = replace(last[3], half_life=self.half_life)

    def scores(self, cases: Cases) -> np.ndarray:
        """From the history alone, in its order."""
        return self.model.scores(cases.history)


@dataclass
class Als:
    """Implicit-feedback matrix factorisation (Hu et al. 2008) by the implicit library; users are folded in from their history."""

    factors: int = 64
    regularization: float = 1.0
    alpha: float = 10.0
    iterations: int = 15
    model: Any = None

    def fit(self, learned: Interactions) -> None:
        """Alternating least squares; its own threads and those of BLAS would wait for each other."""
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            self.model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=self.iterations,
                random_state=SEED,
            )
            self.model.fit(learned.matrix.astype(np.float32), show_progress=False)

    def scores(self, cases: Cases) -> np.ndarray:
        """Every case's factors are solved for anew."""
        users = self.model.recalculate_user(np.arange(len(cases)), cases.matrix("history"))
        return np.asarray(users @ self.model.item_factors.T, dtype=np.float32)


@dataclass
class Bpr:
    """Bayesian personalised ranking (Rendle et al. 2009) by the cornac library; a new user has the mean of his items' factors.

    Cornac draws negatives uniformly, as the paper does. implicit draws them by popularity: tuned alike it had 0.38 nDCG@10 on
    ml-100k (per item, 75 to 25) where this one has 0.442.
    """

    factors: int = 64
    learning_rate: float = 0.01
    regularization: float = 0.001
    iterations: int = 100
    users: np.ndarray = field(default_factory=lambda: np.zeros(0))
    items: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(0))
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def fit(self, learned: Interactions) -> None:
        """Stochastic gradient ascent on one thread: more would make every run another."""
        from cornac.data import Dataset
        from cornac.models import BPR

        rows = list(zip(learned.user.tolist(), learned.item.tolist(), [1.0] * len(learned), strict=True))
        data = Dataset.from_uir(rows, seed=SEED)
        model = BPR(
            k=self.factors,
            max_iter=self.iterations,
            learning_rate=self.learning_rate,
            lambda_reg=self.regularization,
            num_threads=1,
            seed=SEED,
        ).fit(data)
        self.users = np.zeros((len(learned.users), self.factors), dtype=np.float32)
        self.items = np.zeros((len(learned.items), self.factors), dtype=np.float32)
        # An item that nobody liked is never drawn as a negative either: it stands behind all others.
        self.bias = np.full(len(learned.items), float(np.min(model.i_biases)) - 1, dtype=np.float32)
        users, items = list(data.uid_map), list(data.iid_map)
        self.users[users], self.items[items], self.bias[items] = model.u_factors, model.i_factors, model.i_biases
        self.known = np.zeros(len(learned.users), dtype=bool)
        self.known[users] = True

    def scores(self, cases: Cases) -> np.ndarray:
        """Trained users by their own factors."""
        history = cases.matrix("history")
        mean = diags(1 / np.maximum(np.asarray(history.sum(axis=1)).ravel(), 1)) @ history @ self.items
        users = np.where(self.known[cases.user][:, None], self.users[cases.user], mean)
        return np.asarray(users @ self.items.T + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    """A system and the settings that are tried on validation."""

    make: Callable[..., System]
    settings: tuple[Mapping[str, Any], ...] = ({},)


def product(**choices: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """All combinations of named choices."""
    rows: list[dict[str, Any]] = [{}]
    for name, values in choices.items():
        rows = [{**row, name: value} for row in rows for value in values]
    return tuple(rows)


GRIDS: dict[str, Grid] = {
    "random": Grid(Random),
    "popularity": Grid(Popularity),
    "recent-popularity": Grid(Popularity, product(days=(30.0, 90.0, 180.0, 365.0, 730.0))),
    "item-item": Grid(ItemItem, product(neighbours=(20, 50, 100, 200, 400), shrink=(0.0, 1.0, 10.0, 50.0))),
    "ease": Grid(EaseSystem, product(regularization=(10.0, 30.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0))),
    "slist": Grid(
        SlistSystem,
        product(regularization=(100.0, 300.0, 1000.0), transitions=(0.0, 0.2, 0.5, 0.8), half_life=(2.0, 4.0, 20.0, 100.0, None)),
    ),
    "als": Grid(Als, product(factors=(16, 32, 64, 128), regularization=(0.1, 1.0, 10.0), alpha=(1.0, 10.0, 40.0))),
    "bpr": Grid(Bpr, product(factors=(64, 200), regularization=(0.003, 0.01, 0.03), iterations=(100, 200, 400))),
}
