"""Who liked what when: `interactions.csv` beside a catalog, and its splits into what is learned from and what is asked.

A split is made of training interactions and cases. A case is a user at a moment: what he liked until then, in order, and what he liked
afterwards. So every system is asked the same thing, and a user it never saw is asked like any other.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from mmllm.errors import CatalogError, MmllmError

FOLD_IN = 5
"""A user with fewer positives than this before the cut is new: the first half of his later positives is his history, never trained on."""


@dataclass(frozen=True)
class Interactions:
    """user, item: [n] indices into `users` and `items`; rating [n]; time [n], unix seconds. Ordered by time, user, item."""

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def where(self, mask: np.ndarray) -> Interactions:
        """The interactions under a mask [n]; users and items keep their numbers."""
        return replace(self, **{n: getattr(self, n)[mask] for n in ("user", "item", "rating", "time")})

    @cached_property
    def matrix(self) -> csr_matrix:
        """[users, items] of ones."""
        return _ones(self.user, self.item, (len(self.users), len(self.items)))

    @cached_property
    def sequences(self) -> list[np.ndarray]:
        """Per user the items, oldest first; empty where there is nothing of a user."""
        order = np.argsort(self.user, kind="stable")  # times stay in order within a user
        bounds = np.searchsorted(self.user[order], np.arange(len(self.users) + 1))
        return [self.item[order[a:b]] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]

    @cached_property
    def counts(self) -> np.ndarray:
        """[items], how many interactions each has."""
        return np.bincount(self.item, minlength=len(self.items))


@dataclass(frozen=True)
class Cases:
    """C users at a moment. user: [C]; history, targets, seen: C arrays of item indices, `history` oldest first.

    `seen` is everything the user rated until then, liked or not: it is never recommended. `new` [C]: no interaction of the user was trained on.
    """

    items: int
    user: np.ndarray
    history: tuple[np.ndarray, ...]
    targets: tuple[np.ndarray, ...]
    seen: tuple[np.ndarray, ...]
    new: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def where(self, mask: np.ndarray) -> Cases:
        """The cases under a mask [C] or in an array of numbers."""
        rows = np.flatnonzero(mask) if mask.dtype == bool else mask
        lists = {n: tuple(getattr(self, n)[r] for r in rows) for n in ("history", "targets", "seen")}
        return Cases(self.items, self.user[rows], **lists, new=self.new[rows])

    def matrix(self, which: str) -> csr_matrix:
        """[C, items] of ones for "history", "targets" or "seen"."""
        lists: Sequence[np.ndarray] = getattr(self, which)
        rows = np.repeat(np.arange(len(self)), [len(x) for x in lists])
        return _ones(rows, np.concatenate([*lists, np.zeros(0, dtype=np.int64)]).astype(np.int64), (len(self), self.items))


@dataclass(frozen=True)
class Split:
    """`train` is what may be learned from; `refit` all that lies before the test, for what was tuned and is fitted again."""

    name: str
    train: Interactions
    refit: Interactions
    validation: Cases
    test: Cases

    @cached_property
    def hash(self) -> str:
        """A short id of every number in it; results of different hashes are not compared."""
        digest = hashlib.sha256(self.name.encode())
        for part in (self.train, self.refit):
            digest.update(np.stack([part.user, part.item]).astype(np.int64).tobytes())
        for cases in (self.validation, self.test):
            for name in ("history", "targets", "seen"):
                for row in getattr(cases, name):
                    digest.update(np.asarray(row, dtype=np.int64).tobytes() + b"|")
        digest.update("\n".join(self.train.items).encode())
        return digest.hexdigest()[:16]


class LeakError(MmllmError):
    """What is asked was learned from, or stands in the question."""


def read(folder: Path, ids: Sequence[str] | None = None) -> Interactions:
    """`interactions.csv` of a catalog folder; with `ids`, those of the catalog, items that are none of them are an error."""
    file = folder / "interactions.csv"
    if not file.is_file():
        raise CatalogError(f"no {file}", expected="a CSV with user,item,rating,timestamp", do="import one with --interactions")
    rows: list[tuple[str, str, float, int]] = []
    known = set(ids) if ids is not None else None
    with file.open(encoding="utf-8", newline="") as text:
        for n, row in enumerate(csv.DictReader(text), start=2):
            try:
                entry = (row["user"], row["item"], float(row["rating"]), int(float(row["timestamp"])))
            except (KeyError, TypeError, ValueError) as error:
                raise CatalogError(f"{file} line {n}: {error!r}", expected="user,item,rating,timestamp") from None
            if known is not None and entry[1] not in known:
                raise CatalogError(f"{file} line {n}: item {entry[1]!r} is not in the catalog", expected="an id of it")
            rows.append(entry)
    return of_rows(rows, items=tuple(ids) if ids is not None else None)


def of_rows(rows: Sequence[tuple[str, str, float, int]], *, items: tuple[str, ...] | None = None) -> Interactions:
    """Interactions of (user, item, rating, time) rows; a pair that occurs twice counts once, at its last time."""
    last = {(u, i): (u, i, r, t) for u, i, r, t in sorted(rows, key=lambda row: row[3])}
    ordered = sorted(last.values(), key=lambda row: (row[3], row[0], row[1]))
    users = tuple(sorted({r[0] for r in ordered}))
    items = items if items is not None else tuple(sorted({r[1] for r in ordered}))
    number_u, number_i = {u: n for n, u in enumerate(users)}, {i: n for n, i in enumerate(items)}
    return Interactions(
        users,
        items,
        np.array([number_u[r[0]] for r in ordered], dtype=np.int64),
        np.array([number_i[r[1]] for r in ordered], dtype=np.int64),
        np.array([r[2] for r in ordered], dtype=np.float32),
        np.array([r[3] for r in ordered], dtype=np.int64),
    )


def dense(data: Interactions, *, positive: float, least: int) -> tuple[Interactions, Interactions]:
    """(positives, all ratings) over the items with at least `least` ratings of `positive` or more; items are numbered anew."""
    kept = np.bincount(data.item[data.rating >= positive], minlength=len(data.items)) >= least
    number = np.cumsum(kept) - 1
    mask = kept[data.item]
    rated = data.where(mask)
    rated = replace(rated, items=tuple(i for i, k in zip(data.items, kept, strict=True) if k), item=number[rated.item])
    return rated.where(rated.rating >= positive), rated


# ---- splits --------------------------------------------------------------------------------------------------------


def global_time(
    data: Interactions, *, positive: float = 4.0, least: int = 5, validation: float = 0.1, test: float = 0.2
) -> Split:
    """One cut in time for all: the last `test` of the positives is asked, the `validation` before it tunes, the rest is learned from.

    Every later positive of a user is a target. The protocol that cannot leak the future (Meng et al. 2020, https://arxiv.org/abs/2007.13237).
    """
    positives, rated = dense(data, positive=positive, least=least)
    tuned, asked = np.quantile(positives.time, [1 - test - validation, 1 - test]).astype(np.int64)
    split = Split(
        "global-time",
        positives.where(positives.time < tuned),
        positives.where(positives.time < asked),
        _window(positives, rated, int(tuned), int(asked)),
        _window(positives, rated, int(asked), int(positives.time.max()) + 1),
    )
    return check(split, last_before=int(asked))


def _window(positives: Interactions, rated: Interactions, start: int, end: int) -> Cases:
    """Users with positives in [start, end): what they liked before is the history."""
    rows: list[tuple[int, np.ndarray, np.ndarray, np.ndarray, bool]] = []
    for user in np.unique(positives.user[(positives.time >= start) & (positives.time < end)]):
        own = positives.where((positives.user == user) & (positives.time < end))
        before, later = own.item[own.time < start], own.item[own.time >= start]
        new = len(before) < FOLD_IN
        if new:
            half = (len(later) + 1) // 2
            history, targets = np.concatenate([before, later[:half]]), later[half:]
        else:
            history, targets = before, later
        if not len(history) or not len(targets):
            continue
        moment = own.time[len(history) - 1]
        ratings = rated.where((rated.user == user) & (rated.time <= moment))
        rows.append((int(user), history, targets, np.setdiff1d(ratings.item, targets), new))
    return _cases(rows, len(positives.items))


def leave_last_out(data: Interactions, *, positive: float = 4.0, least: int = 5) -> Split:
    """Everybody's last positive is asked, the one before it tunes. Only to compare with papers: it trains on others' future."""
    positives, rated = dense(data, positive=positive, least=least)
    rows: dict[str, list[tuple[int, np.ndarray, np.ndarray, np.ndarray, bool]]] = {"validation": [], "test": []}
    trained, refitted = np.zeros(len(positives), dtype=bool), np.zeros(len(positives), dtype=bool)
    for user in np.unique(positives.user):
        at = np.flatnonzero(positives.user == user)
        if len(at) < 3:
            trained[at] = refitted[at] = True
            continue
        trained[at[:-2]] = refitted[at[:-1]] = True
        items = positives.item[at]
        for name, last in (("validation", len(at) - 2), ("test", len(at) - 1)):
            ratings = rated.where((rated.user == user) & (rated.time <= positives.time[at[last - 1]]))
            history, targets = items[:last], items[last : last + 1]
            rows[name].append((int(user), history, targets, np.setdiff1d(ratings.item, targets), False))
    cases = {name: _cases(found, len(positives.items)) for name, found in rows.items()}
    return check(Split("leave-last-out", positives.where(trained), positives.where(refitted), **cases))


def per_item(data: Interactions, *, positive: float = 0.0, least: int = 1, train: float = 0.75, seed: int = 42) -> Split:
    """A random share of every item's interactions is learned from, the rest asked (recommenders-team, stratified by item).

    https://github.com/recommenders-team/recommenders, benchmark of ml-100k: all ratings count, 75 to 25. Only to compare with its table.
    A tenth of the training part tunes.
    """
    positives, rated = dense(data, positive=positive, least=least)
    rng = np.random.default_rng(seed)
    learned = np.zeros(len(positives), dtype=bool)
    for item in range(len(positives.items)):
        at = rng.permutation(np.flatnonzero(positives.item == item))
        learned[at[: round(train * len(at))]] = True
    tuned = learned & (rng.random(len(positives)) < 0.1)
    parts = {"validation": (learned & ~tuned, tuned), "test": (learned, ~learned)}
    cases = {}
    for name, (known, asked) in parts.items():
        rows = []
        for user in np.unique(positives.user[asked]):
            own = positives.user == user
            history, targets = positives.item[own & known], positives.item[own & asked]
            if len(history):
                rows.append((int(user), history, targets, history, False))
        cases[name] = _cases(rows, len(positives.items))
    return check(Split("per-item", positives.where(learned & ~tuned), positives.where(learned), **cases))


SPLITS: dict[str, Callable[..., Split]] = {"global-time": global_time, "leave-last-out": leave_last_out, "per-item": per_item}


def cold_items(split: Split, *, share: float = 0.2, seed: int = 17) -> tuple[Split, np.ndarray]:
    """The same split with a share of the items never learned from nor in a history, and the mask [items] of those."""
    cold = np.random.default_rng(seed).random(len(split.train.items)) < share

    def bare(cases: Cases) -> Cases:
        history = tuple(h[~cold[h]] for h in cases.history)
        kept = np.array([len(h) > 0 and bool(cold[t].any()) for h, t in zip(history, cases.targets, strict=True)], dtype=bool)
        targets = tuple(t[cold[t]] for t in cases.targets)
        return replace(cases, history=history, targets=targets).where(kept)

    train, refit = (part.where(~cold[part.item]) for part in (split.train, split.refit))
    name = f"{split.name}+cold-items"
    return check(Split(name, train, refit, bare(split.validation), bare(split.test))), cold


def check(split: Split, *, last_before: int | None = None) -> Split:
    """The split itself, if nothing leaks; LeakError otherwise."""
    for name, cases, learned in (("validation", split.validation, split.train), ("test", split.test, split.refit)):
        pairs = set(zip(learned.user.tolist(), learned.item.tolist(), strict=True))
        for n in range(len(cases)):
            targets = set(cases.targets[n].tolist())
            if not targets:
                raise LeakError(f"{name} case {n} asks for nothing")
            for where, known in (("history", cases.history[n]), ("seen items", cases.seen[n])):
                if both := targets & set(known.tolist()):
                    raise LeakError(f"{name} case {n}: item {split.train.items[min(both)]} is asked and stands in the {where}")
            user = int(cases.user[n])
            if both := {t for t in targets if (user, t) in pairs}:
                raise LeakError(
                    f"{name} case {n}: user {split.train.users[user]} and item {split.train.items[min(both)]} were learned"
                )
    if last_before is not None and len(split.refit) and int(split.refit.time.max()) >= last_before:
        raise LeakError("the training part reaches into the time that is asked")
    return split


def _cases(rows: Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray, bool]], items: int) -> Cases:
    columns: list[Any] = [list(c) for c in zip(*rows, strict=True)] or [[], [], [], [], []]
    users, history, targets, seen, new = columns
    return Cases(items, np.array(users, dtype=np.int64), tuple(history), tuple(targets), tuple(seen), np.array(new, dtype=bool))


def _ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
