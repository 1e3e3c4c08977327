"""Splits of interactions into what is learned from and what is asked, and the checks that nothing leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmllm.errors import MmllmError
from mmllm.interactions import Cases, Interactions, Split, dense

FOLD_IN = 5
"""A user with fewer positives than this before the cut is new: the first half of his later positives is his history, never trained on."""


class LeakError(MmllmError):
    """What is asked was learned from, or stands in the question."""


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
    return _by_user("leave-last-out", positives, rated, lambda count: (1, 1) if count >= 3 else (0, 0))


def temporal_user(
    data: Interactions, *, positive: float = 4.0, least: int = 5, validation: float = 0.1, test: float = 0.2, history: int = 3
) -> Split:
    """The last `test` of everybody's positives are asked, the `validation` before them tune, if `history` are left to ask with.

    It trains on others' future as leave-last-out does, but asks for many more films of as many users, so that a test sees smaller differences
    ("temporal user split" of Meng et al. 2020, https://arxiv.org/abs/2007.13237).
    """
    positives, rated = dense(data, positive=positive, least=least)

    def sizes(count: int) -> tuple[int, int]:
        held = max(1, round(validation * count)), max(1, round(test * count))
        return held if count - sum(held) >= history else (0, 0)

    return _by_user("temporal-user", positives, rated, sizes)


def _by_user(name: str, positives: Interactions, rated: Interactions, sizes: Callable[[int], tuple[int, int]]) -> Split:
    """`sizes`: how many positives a user has -> how many of his last ones tune, and how many after those are asked; (0, 0): all are learned."""
    rows: dict[str, list[tuple[int, np.ndarray, np.ndarray, np.ndarray, bool]]] = {"validation": [], "test": []}
    trained, refitted = np.zeros(len(positives), dtype=bool), np.zeros(len(positives), dtype=bool)
    for user in np.unique(positives.user):
        at = np.flatnonzero(positives.user == user)
        tuned, asked = sizes(len(at))
        first, second = len(at) - tuned - asked, len(at) - asked
        trained[at[:first]] = refitted[at[:second]] = True
        items = positives.item[at]
        for part, start, end in (("validation", first, second), ("test", second, len(at))) if asked else ():
            ratings = rated.where((rated.user == user) & (rated.time <= positives.time[at[start - 1]]))
            history, targets = items[:start], items[start:end]
            rows[part].append((int(user), history, targets, np.setdiff1d(ratings.item, targets), False))
    cases = {part: _cases(found, len(positives.items)) for part, found in rows.items()}
    return check(Split(name, positives.where(trained), positives.where(refitted), **cases))


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


SPLITS: dict[str, Callable[..., Split]] = {
    "global-time": global_time,
    "leave-last-out": leave_last_out,
    "temporal-user": temporal_user,
    "per-item": per_item,
}


def cold_items(split: Split, *, share: float = 0.2, seed: int = 17) -> tuple[Split, np.ndarray]:
    """The same split with a share of the items never learned from nor in a history, and the mask [items] of those."""
    cold = np.random.default_rng(seed).random(len(split.train.items)) < share

    def bare(cases: Cases) -> Cases:
        history = tuple(h[~cold[h]] for h in cases.history)
        kept = np.array([len(h) > 0 and bool(cold[t].any()) for h, t in zip(history, cases.targets, strict=True)], dtype=bool)
        targets = tuple(t[cold[t]] for t in cases.targets)
        return replace(cases, history=history, targets=targets).where(kept)

    train, refit = (part.where(~cold[part.item]) for part in (split.train, split.refit))
    name = split.name + COLD
    return check(Split(name, train, refit, bare(split.validation), bare(split.test))), cold


COLD = "+cold-items"
NAMES = (*SPLITS, *(name + COLD for name in SPLITS))


def make(name: str, data: Interactions) -> Split:
    """The split of that name; ending in "+cold-items" it is that of `cold_items` over the one before."""
    if name not in NAMES:
        raise MmllmError(f"split {name!r}", expected=", ".join(NAMES))
    made = SPLITS[name.removesuffix(COLD)](data)
    return cold_items(made)[0] if name.endswith(COLD) else made


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
