"""The language model as a reranker of what a yardstick retrieved: zero-shot over text, and trained adapters. Blended, and alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmllm import adapter as adapters
from mmllm import settings, weights
from mmllm.adapter import Adapter
from mmllm.interactions import Cases
from mmllm.lm import LanguageModel
from mmllm.rank_model import Case, ItemFeatures, RankModel, blend, retrieved, score_cases
from mmllm.rerank import Reranker
from mmllm.store import Store
from mmllm.train import Recipe
from mmllm.types import Query


@dataclass(frozen=True)
class Reranked:
    """The same cases reranked: scores [C, I] by the LM alone and by the blend of weight w; what was not retrieved keeps its place behind."""

    alone: np.ndarray
    blended: np.ndarray
    weight: float
    candidate_recall: float


def rerank(scores: np.ndarray, cases: Cases, read: Reader, *, depth: int, weight: float) -> Reranked:
    """Rerank the first `depth` of scores [C, I]; a target enters only if it was retrieved."""
    found = retrieved(cases, scores, depth)
    own = read(found)
    alone, blended = (_placed(scores, found, [blend(c, s, w) for c, s in zip(found, own, strict=True)]) for w in (1.0, weight))
    hits = [np.isin(c.targets, c.candidates).mean() for c in found]
    return Reranked(alone, blended, weight, round(float(np.mean(hits)), 5))


def _placed(scores: np.ndarray, found: Sequence[Case], final: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of the whole catalog in which the candidates stand first, in the order of `final`."""
    out = scores.astype(np.float64).copy()
    for n, (case, own) in enumerate(zip(found, final, strict=True)):
        order = np.argsort(-own, kind="stable")
        top = np.abs(out[n]).max() + 1
        out[n, case.candidates[order]] = top + np.arange(len(order), 0, -1)
    return out.astype(np.float32)


class Reader(Protocol):
    """Cases -> the LM's scores [N] of each one's candidates, in their order."""

    def __call__(self, cases: Sequence[Case]) -> list[np.ndarray]: ...


class Trained:
    """An adapter folder over an index."""

    def __init__(self, folder: Path, store: Store, ids: Sequence[str]) -> None:
        preset = settings.preset(store.manifest.preset)
        fingerprints = {**store.manifest.encoders, "projections": store.manifest.heads}
        self.adapter: Adapter = adapters.load(
            folder, lm_fingerprint=weights.fingerprint(weights.path(preset.lm)), encoders=fingerprints
        )
        lm = LanguageModel.load(preset.lm)
        if self.adapter.lora:
            lm.attach_lora(self.adapter.lora)
        recipe = Recipe.read(folder / "recipe.toml")
        self.inputs = recipe.inputs
        self.items = ItemFeatures.of(store, ids, self.adapter.factors).only(recipe.inputs).noised(recipe.noise)
        self.model = RankModel(lm, self.adapter.fusion, self.items, form=self.adapter.config.form).eval()

    def reading(self, items: ItemFeatures) -> Trained:
        """The same model over other features of the same items."""
        self.model.items = items
        return self

    def __call__(self, cases: Sequence[Case]) -> list[np.ndarray]:
        """One packed pass per few cases."""
        return score_cases(self.model, cases)


class ZeroShot:
    """The base model with titles and attributes as text, asked as the untrained recommender does."""

    def __init__(self, store: Store, ids: Sequence[str]) -> None:
        preset = settings.preset(store.manifest.preset)
        lm = LanguageModel.load(preset.lm)
        self.ids = list(ids)
        plain: Any = adapters.AdapterConfig("untrained", preset.lm, lm.fingerprint, {})
        self.reranker = Reranker(store=store, lm=lm, adapter=Adapter(plain, None), weight=1.0)  # type: ignore[arg-type]

    def __call__(self, cases: Sequence[Case]) -> list[np.ndarray]:
        """One packed pass per case."""
        rows = self.reranker.store.row
        return [
            self.reranker.score(Query(liked=[self.ids[i] for i in c.history]), [rows[self.ids[i]] for i in c.candidates])
            for c in cases
        ]
