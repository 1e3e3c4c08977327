"""Recommendation dialogues (ReDial's layout): what was said and named so far, and which films the recommender names next.

https://redialdata.github.io, Li et al. 2018 (https://arxiv.org/abs/1812.07617). A case is a turn of the recommender that names films of the
catalog that nobody named before; films already named are never recommended. The split is by dialogue. Training lists are made of its
training part alone: what was said is the request, what was named the history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, vstack

from mmllm.collaborative import ease
from mmllm.data import FOLDS, TRIES, DistillSettings, Lists, ListSettings, RankList, lesson, sample
from mmllm.errors import CatalogError, MmllmError
from mmllm.interactions import Cases, Interactions
from mmllm.rerank import zscore

TEST, VALIDATION = 200, 150


@dataclass(frozen=True)
class Dialogue:
    """turns: (speaker, text, item indices that it names)."""

    id: str
    turns: tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Asked:
    """Cases of a part, each with the texts of the turns before it, oldest first."""

    cases: Cases
    said: tuple[tuple[str, ...], ...]


def read(file: Path, ids: Sequence[str], *, missing: bool = False) -> list[Dialogue]:
    """JSON lines with dialog_id, turns and the films' ids in the catalog (null where it has them not).

    With `missing`, a named film that the catalog does not have stands as -1 among a turn's items.
    """
    number = {i: n for n, i in enumerate(ids)}
    out = []
    for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            linked = {title: number.get(str(i), -1) for title, i in row["movies"].items()}
            turns = tuple(
                (t["speaker"], t["text"], tuple(m for m in (linked.get(title, -1) for title in t["movies"]) if missing or m >= 0))
                for t in row["turns"]
            )
            out.append(Dialogue(str(row["dialog_id"]), turns))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise CatalogError(
                f"{file} line {n}: {error!r}", expected="dialog_id, movies, turns of speaker, text, movies"
            ) from None
    return out


def parts(dialogues: Sequence[Dialogue]) -> tuple[list[Dialogue], list[Dialogue], list[Dialogue]]:
    """(training, validation, test): dialogues in the order of their id's sha256, the first 200 test, the next 150 validation."""
    ordered = sorted(dialogues, key=lambda d: hashlib.sha256(d.id.encode()).hexdigest())
    if len({d.id for d in ordered}) != len(ordered):
        raise MmllmError("a dialogue stands twice in the file", expected="every dialog_id once")
    if len(ordered) <= TEST + VALIDATION:
        raise MmllmError(f"{len(ordered)} dialogues", expected=f"more than {TEST + VALIDATION}")
    return ordered[TEST + VALIDATION :], ordered[TEST : TEST + VALIDATION], ordered[:TEST]


def ask(dialogues: Sequence[Dialogue], items: int) -> Asked:
    """Every recommender's turn that names something new."""
    rows: list[tuple[int, list[int], list[int]]] = []
    said: list[tuple[str, ...]] = []
    for number, dialogue in enumerate(dialogues):
        named: list[int] = []
        for at, (speaker, _, films) in enumerate(dialogue.turns):
            new = [f for f in dict.fromkeys(films) if f not in named]
            if speaker == "recommender" and new and at:
                rows.append((number, list(named), new))
                said.append(tuple(text for _, text, _ in dialogue.turns[:at]))
            named += new
    history = tuple(np.array(r[1], dtype=np.int64) for r in rows)
    targets = tuple(np.array(r[2], dtype=np.int64) for r in rows)
    users = np.array([r[0] for r in rows], dtype=np.int64)
    return Asked(Cases(items, users, history, targets, history, np.ones(len(rows), dtype=bool)), tuple(said))


def mentions(dialogues: Sequence[Dialogue], items: int) -> csr_matrix:
    """[dialogues, items] of ones: what each dialogue names."""
    pairs = [(n, m) for n, d in enumerate(dialogues) for m in {m for _, _, films in d.turns for m in films}]
    rows, columns = zip(*pairs, strict=True)
    return csr_matrix((np.ones(len(pairs), dtype=np.float32), (rows, columns)), shape=(len(dialogues), items))


# ---- training lists ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TalkSettings:
    """`[dialogues]` of a recipe. file: in ReDial's layout, relative to the recipe; share: of the lists that are made of it.

    mentions: how often a dialogue counts beside a user's likes; popularity: weight of its z-score beside EASE's.
    """

    file: str = ""
    share: float = 0.5
    regularization: float = 100.0
    mentions: int = 3
    popularity: float = 2.0


SAID_TURNS, SAID_CHARS = 4, 320
"""How many of the last turns a request is made of, and how many characters of their end."""


def request_of(said: Sequence[str]) -> str:
    """What the language model reads of a dialogue: the end of its last turns."""
    return " / ".join(" ".join(turn.split()) for turn in said[-SAID_TURNS:])[-SAID_CHARS:]


class TalkLists:
    """An endless deterministic sequence of RankList over the turns of a training part, each retrieved by models that never saw its fold."""

    def __init__(self, dialogues: Sequence[Dialogue], learned: Interactions, talk: TalkSettings, settings: ListSettings) -> None:
        self.settings, items = settings, len(learned.items)
        self.asked = ask(dialogues, items)
        if not len(self.asked.cases):
            raise MmllmError(
                "no turn of the training dialogues names an item that was learned", expected="dialogues of this catalog"
            )
        self._fold = np.random.default_rng(settings.seed).integers(FOLDS, size=len(dialogues))
        named = mentions(dialogues, items)
        self._named = named
        self._models = []
        for fold in range(FOLDS):
            others = named[self._fold != fold]
            weight = ease(vstack([learned.matrix, *[others] * talk.mentions]).tocsr(), regularization=talk.regularization)
            counts = np.asarray(others.sum(axis=0)).ravel()
            popular = np.log1p(counts + learned.counts / max(1.0, float(learned.counts.max())))
            self._models.append((weight, talk.popularity * zscore(popular)))

    def __len__(self) -> int:
        """Turns."""
        return len(self.asked.cases)

    def make(self, n: int) -> RankList:
        """The n-th list: of turns drawn by n the first that names some of what is retrieved; what its dialogue names is no negative."""
        s, cases = self.settings, self.asked.cases
        rng = np.random.default_rng([s.seed, n, 1])
        for _ in range(TRIES):
            at = int(rng.integers(len(cases)))
            history = cases.history[at]
            found = sample(self._scores(at), history, cases.targets[at], self._named[int(cases.user[at])].indices, s, rng)
            if found is not None:
                return RankList(history[-s.history :], *found, request_of(self.asked.said[at]))
        raise MmllmError(
            f"of {TRIES} turns none names one of the first {s.depth} retrieved",
            do="raise `depth` in [lists], or give more dialogues",
        )

    def taught(self, n: int, settings: DistillSettings) -> RankList:
        """The n-th list to learn the z-scores of what retrieves for dialogues from. Gains are of the films that this very turn names."""
        s, cases = self.settings, self.asked.cases
        rng = np.random.default_rng([s.seed, n, 4])
        at = int(rng.integers(len(cases)))
        history, counts = cases.history[at], np.asarray(self._named.sum(axis=0)).ravel()
        found = lesson(self._scores(at), history, cases.targets[at], counts, s.depth, settings, rng)
        return RankList(history[-s.history :], *found, request_of(self.asked.said[at]))

    def _scores(self, at: int) -> np.ndarray:
        """[I] of a turn, by models that never saw its dialogue."""
        cases = self.asked.cases
        history, (weight, popular) = cases.history[at], self._models[self._fold[int(cases.user[at])]]
        return np.asarray((zscore(weight[history].sum(axis=0)) if len(history) else np.zeros(cases.items)) + popular)


@dataclass(frozen=True)
class MixedLists:
    """Lists of two sources; a `share` of them is the second's. So many stand `together`, of one source: a batch is as wide as its longest list,
    and dialogues have long requests."""

    first: Lists
    second: Lists
    share: float
    seed: int
    together: int = 1

    def __len__(self) -> int:
        """What both have to learn from."""
        return len(self.first) + len(self.second)

    def make(self, n: int) -> RankList:
        """The n-th list."""
        from_second = np.random.default_rng([self.seed, n // self.together, 2]).random() < self.share
        return (self.second if from_second else self.first).make(n)
