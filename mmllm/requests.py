"""Training examples from requests made of items: what somebody could ask for, what answers it, and what the hybrid retriever finds for it.

A request names one to three things that one item has: values of its attributes, a word of its title, another of its names; or it is a few
words of its text. Every item that has them all answers it. So a model learns that an item has to meet all that was said, on catalogs where
nobody liked anything yet.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmllm.catalog import NAMES
from mmllm.data import ListSettings, RankList
from mmllm.errors import MmllmError
from mmllm.lexical import GENERIC, words
from mmllm.rank_model import Case, ItemFeatures
from mmllm.recipe import Recipe
from mmllm.recommend import open_retriever
from mmllm.rerank import describe, sentences, zscore
from mmllm.retrieve import Retriever
from mmllm.store import Store
from mmllm.types import Item, Query

PHRASES = ("{}", "I would like {}", "show me {}", "something {}", "do you have {}?", "I am looking for {}", "{}, please")
JOINS = (", ", " ", " and ")
MOST = 0.1
"""What answers a request is at most this share of the catalog: what everything is nobody asks for."""


@dataclass(frozen=True)
class Request:
    """A made-up request and the rows of the items that answer it, ascending."""

    text: str
    relevant: np.ndarray


def facets(item: Item) -> dict[tuple[str, str], str]:
    """What an item can be asked by: (where it stands, folded value) -> the value as it is written."""
    found: dict[tuple[str, str], str] = {}
    for name, value in item.attributes.items():
        for single in value if isinstance(value, tuple) else (value,):
            if not isinstance(single, bool) and str(single).isascii() and str(single).strip():
                found[name, str(single).casefold()] = str(single)
    for token in item.title.split():
        plain = token.strip(".,!?()'\"")
        if plain.isascii() and plain.isalpha() and words(plain):
            found["title", words(plain)[0]] = plain.lower()
    return found


def make(items: Sequence[Item], *, count: int, seed: int, attributes_only: bool = False) -> list[Request]:
    """`count` different requests, or as many as the catalog yields; the same for the same seed.

    `attributes_only` leaves titles and names out.
    """
    rng = random.Random(seed)
    own = [{k: v for k, v in facets(i).items() if not attributes_only or k[0] not in ("title", NAMES)} for i in items]
    having: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row, found in enumerate(own):
        for key in found:
            having[key].add(row)
    made: dict[tuple[str, ...], Request] = {}
    for _ in range(20 * count):
        if len(made) == count:
            break
        row = rng.randrange(len(items))
        keys = sorted(own[row])
        if not keys:
            continue
        chosen = rng.sample(keys, min(len(keys), rng.choice((1, 2, 2, 3))))
        relevant = set.intersection(*(having[k] for k in chosen))
        if len(relevant) <= max(1, round(MOST * len(items))):
            text = rng.choice(PHRASES).format(rng.choice(JOINS).join(own[row][k] for k in chosen))
            made.setdefault(tuple(sorted(k[1] for k in chosen)), Request(text, np.array(sorted(relevant))))
    return list(made.values())


def quote(items: Sequence[Item], *, count: int, seed: int) -> list[Request]:
    """`count` different requests that are two to five words in a row of an item's text, or as many as are found; the same for the same seed.

    One of the words at least is told neither by the item's title nor by its attributes. Items of which all of them are told answer.
    """
    rng = random.Random(seed)
    told = [set(words(describe(i))) | set(words(" ".join(facet for _, facet in facets(i)))) for i in items]
    all_told = [t | set(words(i.text)) for t, i in zip(told, items, strict=True)]
    having: dict[str, set[int]] = defaultdict(set)
    for row, stems in enumerate(all_told):
        for one in stems:
            having[one].add(row)
    rows = [row for row, item in enumerate(items) if set(words(item.text)) - told[row] - GENERIC]
    made: dict[tuple[str, ...], Request] = {}
    for _ in range(20 * count if rows else 0):
        if len(made) == count:
            break
        row = rng.choice(rows)
        parts = rng.choice(sentences(items[row].text)).split()
        first, length = rng.randrange(len(parts)), rng.randint(2, 5)
        text = " ".join(parts[first : first + length]).strip(".,;:!?()'\"")
        said = words(text)
        ends = words(text.split()[0]) and words(text.split()[-1]) if text else []
        if not text.isascii() or not ends or not set(said) - told[row] - GENERIC:
            continue
        relevant = set.intersection(*(having[s] for s in said))
        if row in relevant and len(relevant) <= max(1, round(MOST * len(items))):
            asked = Request(rng.choice(PHRASES).format(text), np.array(sorted(relevant)))
            made.setdefault(tuple(sorted(set(said))), asked)
    return list(made.values())


def found(retriever: Retriever, request: Request, depth: int) -> Case:
    """What the hybrid retriever finds for it, best first, with its scores; rows are the index's."""
    encoded = retriever.encode(Query(text=request.text))
    candidates, _ = retriever.retrieve(encoded, k=depth)
    rows = retriever.store.rows([c.id for c in candidates])
    scores = np.array([c.score for c in candidates])
    return Case(np.zeros(0, dtype=np.int64), np.array(rows, dtype=np.int64), scores, request.relevant, request.text)


class RequestLists:
    """An endless deterministic sequence of RankList over requests with what was retrieved for them."""

    def __init__(self, cases: Sequence[Case], settings: ListSettings) -> None:
        # A list teaches only where the order of what was retrieved can be wrong.
        self.cases = [c for c in cases if 0 < np.isin(c.candidates, c.targets).sum() < len(c.candidates)]
        self.settings = settings

    def __len__(self) -> int:
        """Requests."""
        return len(self.cases)

    def make(self, n: int) -> RankList:
        """The n-th list: up to `positives` that answer, the others from what was retrieved and does not."""
        s = self.settings
        rng = np.random.default_rng([s.seed, n])
        case = self.cases[int(rng.integers(len(self.cases)))]
        right = np.isin(case.candidates, case.targets)
        positives = rng.permutation(np.flatnonzero(right))[: s.positives]
        negatives = rng.permutation(np.flatnonzero(~right)[: s.depth])[: s.candidates - len(positives)]
        at = rng.permutation(np.concatenate([positives, negatives]))
        gains = right[at] / len(positives)
        z = zscore(case.scores)[at]
        return RankList(
            np.zeros(0, dtype=np.int64), case.candidates[at], gains.astype(np.float32), z.astype(np.float32), case.request
        )


def prepare_requests(recipe: Recipe, base: Path) -> tuple[list[Store], ItemFeatures, RequestLists, list[Case]]:
    """Stores, items of all of them one after the other, lists, and cases to validate on: a tenth of the requests of every catalog."""
    stores: list[Store] = []
    features, learned, validation = [], [], []
    first = 0
    for n, name in enumerate(recipe.indexes):
        retriever = open_retriever((base / name).resolve())
        store = retriever.store
        if stores and store.manifest.encoders != stores[0].manifest.encoders:
            raise MmllmError(
                f"{name} was encoded by others than {recipe.indexes[0]}", expected="the same encoders", do="build it again"
            )
        cases = []
        quoted = quote(store.items, count=round(recipe.quoted * recipe.requests), seed=recipe.seed + n)
        named = make(store.items, count=recipe.requests - len(quoted), seed=recipe.seed + n)
        # Mixed, so that the tenth that validates has its share of both.
        for request in random.Random(recipe.seed + n).sample(named + quoted, len(named) + len(quoted)) if quoted else named:
            case = found(retriever, request, max(recipe.lists.depth, recipe.validation_candidates))
            cases.append(Case(case.history, case.candidates + first, case.scores, case.targets + first, case.request))
        held = len(cases) // 10
        for case in cases[:held]:
            top = slice(recipe.validation_candidates)
            validation.append(Case(case.history, case.candidates[top], case.scores[top], case.targets, case.request))
        learned += cases[held:]
        stores.append(store)
        features.append(ItemFeatures.of(store, [i.id for i in store.items], None).only(recipe.inputs).noised(recipe.noise))
        first += len(store.items)
        retriever.vectors.close()
    return stores, joined_features(features), RequestLists(learned, recipe.lists), validation


def joined_features(parts: Sequence[ItemFeatures]) -> ItemFeatures:
    """Items of several catalogs, one after the other; features of the same encoders."""
    return ItemFeatures(
        {m: torch.cat([p.values[m] for p in parts]) for m in parts[0].values},
        torch.cat([p.anchor for p in parts]),
        torch.cat([p.mask for p in parts]),
        tuple(t for p in parts for t in p.titles),
        tuple(d for p in parts for d in p.described),
        tuple(t for p in parts for t in p.texts),
    )
