"""Choose the LM's weight w on requests made from the catalog itself: from names, and from categories.

Before an adapter is trained nobody knows whether the language model ranks better than what retrieved; this asks, on a seed, and takes
w = 0 unless another gains more than a standard error. Requests read "I would like ..." and are answered by every item whose title
holds the noun, or whose attribute has the value.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmllm import prompting, settings
from mmllm.catalog import NAMES
from mmllm.derive import lm_weight
from mmllm.lexical import words
from mmllm.recommend import Recommender
from mmllm.rerank import zscore
from mmllm.store import read_manifest, write_manifest, writer_lock
from mmllm.types import Item, Query

GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
PHRASES = ("I would like {}", "show me {}", "something with {}", "do you have {}?")


@dataclass(frozen=True)
class Request:
    """A made-up request and the ids that answer it."""

    text: str
    relevant: frozenset[str]


def requests(items: tuple[Item, ...], *, count: int, seed: int = settings.SEED) -> list[Request]:
    """Half from the last word of titles, half from attribute values that 2 to 20 % of the items share."""
    rng = random.Random(seed)
    nouns: dict[str, set[str]] = defaultdict(set)
    values: dict[str, set[str]] = defaultdict(set)
    surface: dict[str, str] = {}
    for item in items:
        tokens = [t for t in item.title.rstrip(".!?").split() if words(t)]
        if tokens:
            stem = words(tokens[-1])[0]
            surface.setdefault(stem, tokens[-1].casefold())
            nouns[stem].add(item.id)
        for name, value in item.attributes.items():
            if name != NAMES:
                for single in value if isinstance(value, tuple) else (value,):
                    if isinstance(single, str):
                        values[single].add(item.id)
    shared = {v: ids for v, ids in values.items() if 2 <= len(ids) <= max(2, len(items) // 5)}
    made = [Request(rng.choice(PHRASES).format(surface[s]), frozenset(nouns[s])) for s in _pick(rng, sorted(nouns), count // 2)]
    made += [Request(rng.choice(PHRASES).format(v), frozenset(shared[v])) for v in _pick(rng, sorted(shared), count - len(made))]
    return made


def _pick(rng: random.Random, values: list[str], count: int) -> list[str]:
    return rng.sample(values, min(count, len(values)))


def prompts_fingerprint() -> str:
    """Changes when the rerank prompts do: the weight was chosen for their words."""
    bodies = "".join(prompting.load(name).body for name in ("rerank_prefix", "rerank_item"))
    return hashlib.sha256(bodies.encode()).hexdigest()[:12]


def ndcg(ids: Sequence[Hashable], relevant: Set[Hashable], k: int = 10) -> float:
    """Binary nDCG@k; the ideal list is min(k, |relevant|) hits (Jarvelin and Kekalainen 2002)."""
    gain = sum(1 / np.log2(n + 2) for n, i in enumerate(ids[:k]) if i in relevant)
    ideal = sum(1 / np.log2(n + 2) for n in range(min(k, len(relevant))))
    return float(gain / ideal) if ideal else 0.0


def choose_weight(recommender: Recommender, *, count: int = 32) -> dict[str, Any]:
    """{"weight", "ndcg@10" per weight of the grid, "requests", "seed"}; 0 unless another w is better by more than a standard error.

    The standard error is that of the paired differences of nDCG: a gain within it is noise, and a retriever's order is not
    given up for noise.
    """
    made = requests(recommender.store.items, count=count)
    scores: dict[float, list[float]] = {w: [] for w in GRID}
    for request in made:
        query = Query(text=request.text)
        encoded = recommender.retriever.encode(query)
        candidates, _ = recommender.retriever.retrieve(encoded, k=recommender.encoders.preset.text_candidates)
        # One pass of the LM serves the whole grid.
        ranked = recommender.reranker.rank(query, candidates, encoded=encoded, force_lm=True)
        base = zscore(np.array([r.scores["retriever"] for r in ranked]))
        lm = zscore(np.array([r.scores["lm"] for r in ranked]))
        for w in GRID:
            order = sorted(range(len(ranked)), key=lambda n: (-((1 - w) * base[n] + w * lm[n]), ranked[n].id))
            scores[w].append(ndcg([ranked[n].id for n in order], request.relevant))
    means = {w: float(np.mean(s)) if s else 0.0 for w, s in scores.items()}
    best = max(GRID, key=lambda w: (round(means[w], 6), -w))
    gains = np.array(scores[best]) - np.array(scores[GRID[0]])
    if len(gains) < 2 or gains.mean() <= gains.std(ddof=1) / len(gains) ** 0.5:
        best = GRID[0]
    return {
        "weight": best,
        "ndcg@10": {str(w): round(m, 4) for w, m in means.items()},
        "requests": len(made),
        "seed": settings.SEED,
        "prompts": prompts_fingerprint(),
    }


def weight_line(index: Path) -> str:
    """One line on the LM's weight of an index; it is chosen and written first where there is none for these prompts.

    An adapter's own weight counts before any that could be chosen here: then nothing is.
    """
    manifest = read_manifest(index)
    weight = lm_weight(index, manifest)
    if weight.source == "adapter":
        return f"LM weight {weight.value} (the adapter's own)"
    if manifest.blend.get("prompts") != prompts_fingerprint():
        recommender = Recommender.load(index)
        chosen = choose_weight(recommender)
        recommender.close()
        with writer_lock(index):
            manifest = replace(read_manifest(index), blend=chosen)
            write_manifest(index, manifest)
    scores = " ".join(f"{w}:{s}" for w, s in manifest.blend["ndcg@10"].items())
    return f"LM weight {manifest.blend['weight']} (nDCG@10 over {manifest.blend['requests']} made requests: {scores})"
