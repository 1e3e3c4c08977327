"""Simulated users talk to systems: dialogues, and what they show: success, constraints kept, repeats, and where a critique moves the list.

A system is what makes a chat for one user: words -> the ids shown and the question asked back. The same users, with the same seeds, talk to all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval import metrics
from eval.reading import Reading, compared
from eval.simulator import Critique, Said, Simulator, User
from mmllm import Conversation, Query, Recommender
from mmllm.interactions import Cases
from mmllm.settings import SEED

Answer = tuple[tuple[str, ...], str, bool]
"""The ids shown, the question asked back, and whether they are a new list: a turn that is answered in words leaves the old one standing."""
Chat = Callable[[str], Answer]
TURNS = 5
LEAST = 5
"""Critiques of a kind that was said less often are counted, but no share is given."""


def conversation(recommender: Recommender, k: int) -> Chat:
    """The conversation with its state."""
    talk = Conversation(recommender, k=k, reword=False)

    def say(text: str) -> Answer:
        response = talk.turn(text)
        return tuple(r.id for r in response.recommendations), response.question, not response.said

    return say


def last_message(recommender: Recommender, k: int) -> Chat:
    """The same retriever asked with the last message only: no state, no filters, no critiques."""

    def say(text: str) -> Answer:
        return tuple(r.id for r in recommender.recommend(Query(text=text), k=k).recommendations), "", True

    return say


def no_memory(recommender: Recommender, k: int) -> Chat:
    """A conversation that begins anew with every message: it reads filters and titles, and knows of nothing before."""
    return lambda text: conversation(recommender, k)(text)


SYSTEMS: dict[str, Callable[[Recommender, int], Chat]] = {
    "conversation": conversation,
    "last message": last_message,
    "no memory": no_memory,
}


@dataclass(frozen=True)
class Shown:
    """One turn: what was said, the ids shown, whether the list is new, how many of them keep all that was stated and how many came before
    unasked or were said to be known; `moved`: (kind of critique, whether the list went its way)."""

    said: Said
    ids: tuple[str, ...]
    new: bool
    kept: int
    repeated: tuple[str, ...]
    known: tuple[str, ...]
    moved: tuple[tuple[str, bool], ...]
    constrained: bool = False


@dataclass(frozen=True)
class Played:
    """One dialogue; `found` is the turn from 1 in which the target was shown, 0 if it never was."""

    user: User
    turns: tuple[Shown, ...] = ()
    found: int = 0


def users(cases: Cases, ids: Sequence[str], names: Sequence[str], count: int, seed: int = SEED) -> list[User]:
    """`count` users with a liked item of the test each, none twice with one item: everybody once before anybody twice."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(t) for t in cases.targets]
    out: list[User] = []
    for turn in range(max(map(len, orders), default=0)):
        for c in rng.permutation(len(orders)):
            if turn < len(orders[c]) and len(out) < count:
                liked = tuple(ids[i] for i in cases.history[c])
                seen = frozenset(ids[i] for i in cases.seen[c])
                out.append(User(names[cases.user[c]], ids[orders[c][turn]], liked, seen))
    return out


def play(user: User, reading: Reading, chat: Chat, *, turns: int = TURNS, seed: int = SEED) -> Played:
    """One dialogue, to the target or to the last turn."""
    simulator = Simulator(user, reading, str(seed))
    message: Said | None = simulator.open()
    shown: list[Shown] = []
    before: tuple[str, ...] = ()
    met: set[str] = set()
    while message is not None:
        ids, question, new = chat(message.text)
        ids = ids if new else ()
        held = simulator.constraints
        kept = sum(all(c.holds(reading.items[i]) for c in held) for i in ids)
        known = tuple(i for i in ids if i in simulator.known)
        moved = tuple((c.kind, went(reading, c, before, ids)) for c in message.critiques)
        shown.append(Shown(message, ids, new, kept, tuple(i for i in ids if i in met), known, moved, bool(held)))
        if user.target in ids:
            return Played(user, tuple(shown), len(shown))
        met.update(ids)
        # An answer in words leaves the list on the screen.
        before = ids or before
        message = simulator.react(before, question) if len(shown) < turns else None
    return Played(user, tuple(shown), 0)


def went(reading: Reading, critique: Critique, before: Sequence[str], after: Sequence[str]) -> bool:
    """True if a critique moved the list its way: "older" by the median year, "not a drama" to no drama, "a comedy" to a larger share of comedies
    or to comedies alone, "more like the second" nearer to it on average, "something else" to a list without any of the old one."""
    if not after:
        return False
    if critique.kind == "else":
        return not set(before) & set(after)
    if critique.kind == "like":
        old, new = ([reading.likeness(i, critique.value) for i in ids if i != critique.value] for ids in (before, after))
        return mean(new) > mean(old)
    if critique.kind == "topic":
        old, new = ([float(reading.about(i, critique.value)) for i in ids] for ids in (before, after))
        return mean(new) > mean(old) or mean(new) == 1
    first = critique.constraints[0]
    if critique.kind in ("older", "newer", "cheaper", "dearer", "shorter", "longer"):
        old, new = ([v for i in ids if (v := reading.number(i, first.attribute)) is not None] for ids in (before, after))
        return bool(new) and compared(float(np.median(new)), first.relation, float(np.median(old)))
    old, new = ([float(all(c.holds(reading.items[i]) for c in critique.constraints)) for i in ids] for ids in (before, after))
    return mean(new) == 1 or (mean(new) > mean(old) and critique.kind not in ("refuse", "not by"))


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def summary(played: Sequence[Played], *, turns: int = TURNS) -> dict[str, Any]:
    """Every measure with its interval, by resampling users: several dialogues of one user are no independent cases."""
    people = {name: n for n, name in enumerate(dict.fromkeys(p.user.name for p in played))}
    row = np.array([people[p.user.name] for p in played])

    def share(of: Callable[[Played], tuple[float, float]]) -> dict[str, Any]:
        pairs = np.array([of(p) for p in played])
        sums = np.stack([np.bincount(row, weights=pairs[:, n], minlength=len(people)) for n in (0, 1)])
        return metrics.ratio(sums[0], sums[1])

    kinds = sorted({kind for p in played for t in p.turns for kind, _ in t.moved})
    critiques = {kind: share(lambda p, kind=kind: _moved(p, kind)) for kind in kinds}  # type: ignore[misc]
    return {
        "dialogues": len(played),
        "users": len(people),
        "turns": sum(len(p.turns) for p in played),
        "shown": sum(len(t.ids) for p in played for t in p.turns),
        "success": {str(n): share(lambda p, n=n: (0 < p.found <= n, 1)) for n in range(1, turns + 1)},  # type: ignore[misc]
        "turns_to_success": share(lambda p: (p.found, p.found > 0)),
        "constraints_satisfied": share(
            lambda p: (sum(t.kept for t in p.turns if t.constrained), sum(len(t.ids) for t in p.turns if t.constrained))
        ),
        "repeats": sum(len(t.repeated) for p in played for t in p.turns),
        "repeated": share(lambda p: (sum(len(t.repeated) for t in p.turns), sum(len(t.ids) for t in p.turns))),
        "known_shown": sum(len(t.known) for p in played for t in p.turns),
        "turns_without_a_list": sum(not t.ids for p in played for t in p.turns),
        "critiques_go_the_right_way": share(lambda p: _moved(p, "")),
        "critiques": critiques,
    }


def _moved(p: Played, kind: str) -> tuple[float, float]:
    right = [ok for t in p.turns for k, ok in t.moved if kind in ("", k)]
    return sum(right), len(right)


def against(a: Sequence[Played], b: Sequence[Played]) -> dict[str, Any]:
    """How much more often a succeeds than b on the same dialogues: the ratio with its interval and a paired test, both over users."""
    names = list(dict.fromkeys(p.user.name for p in a))
    row = {name: n for n, name in enumerate(names)}
    sums = np.zeros((2, len(names)))
    for n, played in enumerate((a, b)):
        for p in played:
            sums[n, row[p.user.name]] += p.found > 0
    return {"ratio_of_successes": metrics.ratio(*sums), "p": round(metrics.paired_p(*sums), 5)}


def transcript(p: Played, reading: Reading) -> dict[str, Any]:
    """The dialogue for a reader's eyes: with titles, so for no repository."""
    rows = [
        {
            "said": t.said.text,
            "critiques": dict(t.moved),
            "kept": t.kept,
            "repeated": t.repeated,
            "known": t.known,
            "new": t.new,
            "shown": [f"{reading.named(i)} {sorted(v for _, v in reading.kinds(i))}" for i in t.ids],
        }
        for t in p.turns
    ]
    target = f"{reading.named(p.user.target)} {sorted(v for _, v in reading.kinds(p.user.target))}"
    return {"user": p.user.name, "target": target, "found": p.found, "turns": rows}
