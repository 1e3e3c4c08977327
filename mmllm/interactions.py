"""Who liked what when: `interactions.csv` beside a catalog; and a split of it, what is learned from and what is asked (`mmllm.splits`).

A split is made of training interactions and cases. A case is a user at a moment: what he liked until then, in order, and what he liked
afterwards. So every system is asked the same thing, and a user it never saw is asked like any other.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from mmllm.errors import CatalogError
from mmllm.types import CatalogProblem

FILE = "interactions.csv"
COLUMNS = ("user", "item", "rating", "timestamp")
Row = tuple[str, str, float, int]


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


def rows(file: Path) -> Iterator[tuple[int, Row] | CatalogProblem]:
    """(line, row) for each row of a CSV, or what is wrong with it; a problem of the whole file has line 0."""
    if not file.is_file():
        raise CatalogError(f"no {file}", expected="a CSV with user,item,rating,timestamp", do="import one with --interactions")
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        try:
            if missing := [c for c in COLUMNS if c not in (reader.fieldnames or ())]:
                have = ", ".join(reader.fieldnames or ()) or "an empty file"
                yield CatalogProblem(0, missing[0], f"no column {missing[0]!r} but {have}, expected {','.join(COLUMNS)}")
                return
            for row in reader:
                yield parsed(reader.line_num, row)
        except UnicodeDecodeError:
            yield CatalogProblem(0, "file", "not UTF-8 text")
        except csv.Error as error:
            yield CatalogProblem(reader.line_num, "line", f"not CSV: {error}")


def parsed(line: int, row: Mapping[str, str | None]) -> tuple[int, Row] | CatalogProblem:
    """The row of a line by its cells, or what is wrong with it."""
    user, item = ((row[c] or "").strip() for c in ("user", "item"))
    if not user or not item:
        return CatalogProblem(line, "item" if user else "user", "empty, expected an id")
    numbers = []
    for name in ("rating", "timestamp"):
        try:
            number = float(row[name] or "")
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or abs(number) >= 2**63:
            return CatalogProblem(line, name, f"{row[name]!r}, expected a number")
        numbers.append(number)
    return line, (user, item, numbers[0], int(numbers[1]))


def read(folder: Path, ids: Sequence[str] | None = None) -> Interactions:
    """`interactions.csv` of a catalog folder; with `ids`, those of the catalog, items that are none of them are an error."""
    file = folder / FILE
    known = set(ids) if ids is not None else None
    found: list[Row] = []
    for row in rows(file):
        if isinstance(row, CatalogProblem):
            raise CatalogError(f"{file}: {row}", do="mend the file: `mmllm data validate` lists all that is wrong with it")
        line, own = row
        if known is not None and own[1] not in known:
            raise CatalogError(f"{file} line {line}: item {own[1]!r} is not in the catalog", expected="an id of it")
        found.append(own)
    return of_rows(found, items=tuple(ids) if ids is not None else None)


@dataclass(frozen=True)
class Checked:
    """A file of interactions: how many rows can be used, how many of them name no item of the catalog, and what is wrong with the others."""

    rows: int
    problems: tuple[CatalogProblem, ...]
    strangers: int

    def __str__(self) -> str:
        told = f"{self.rows} interactions"
        return f"{told}, {self.strangers} of them with items that are not in the catalog" if self.strangers else told


def check(file: Path, ids: Iterable[str]) -> Checked:
    """Read every line and list every problem; `ids` are those of the catalog."""
    known, count, strangers = set(ids), 0, 0
    problems: list[CatalogProblem] = []
    for row in rows(file):
        if isinstance(row, CatalogProblem):
            problems.append(row)
        else:
            count, strangers = count + 1, strangers + (row[1][1] not in known)
    return Checked(count, tuple(problems), strangers)


def of_rows(found: Sequence[Row], *, items: tuple[str, ...] | None = None) -> Interactions:
    """Interactions of (user, item, rating, time) rows; a pair that occurs twice counts once, at its last time."""
    last = {(u, i): (u, i, r, t) for u, i, r, t in sorted(found, key=lambda row: row[3])}
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


def _ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
