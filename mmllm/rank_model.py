"""Ranking by soft tokens outside an index: items' features, the LM with its fusion as one module, cases and blends.

Training and the harness use it; serving reads the soft tokens that an index keeps, and gives the same scores (tested).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mmllm import interactions, prompting, settings
from mmllm.adapter import Factors
from mmllm.data import ListSettings, RankList
from mmllm.fusion import AttentionFusion
from mmllm.lm import LanguageModel
from mmllm.rerank import soft_prefix, soft_segment, zscore
from mmllm.store import Store
from mmllm.types import MODALITIES
from mmllm.validate import ndcg

NEVER_LIKED = "something like what was liked before"


@dataclass(frozen=True)
class ItemFeatures:
    """What the fusion reads of I items: values input -> [I, D_m], anchor [I, M, D], mask [I, inputs]; titles."""

    values: Mapping[str, Tensor]
    anchor: Tensor
    mask: Tensor
    titles: tuple[str, ...]

    @classmethod
    def of(cls, store: Store, ids: Sequence[str], factors: Factors | None) -> ItemFeatures:
        """Items of an index in the order of `ids`, with their collaborative factors if there are any."""
        rows = store.rows(list(ids))
        values = {m: store.features[m]["values"][rows] for m in MODALITIES}
        mask = np.stack([store.features[m]["present"][rows].astype(bool) for m in MODALITIES], axis=1)
        if factors is not None:
            values["collaborative"], known = factors.of(ids)
            mask = np.concatenate([mask, known[:, None]], axis=1)
        anchor = store.features["anchor"]["values"][rows] * store.features["anchor"]["present"][rows][..., None]
        return cls(
            {m: torch.from_numpy(v) for m, v in values.items()},
            torch.from_numpy(anchor),
            torch.from_numpy(mask),
            tuple(store.items[r].title for r in rows),
        )

    def only(self, inputs: Sequence[str]) -> ItemFeatures:
        """The other inputs are absent."""
        kept = torch.tensor([n in inputs for n in self.values])
        return replace(self, mask=self.mask & kept, anchor=self.anchor * kept[: len(MODALITIES), None])

    def missing(self, share: float, *, seed: int = settings.SEED) -> ItemFeatures:
        """A random share of everything that is there is absent; an item may lose all."""
        kept = torch.rand(self.mask.shape, generator=torch.Generator().manual_seed(seed)) >= share
        return replace(self, mask=self.mask & kept, anchor=self.anchor * kept[:, : len(MODALITIES), None])

    def noised(self, inputs: Sequence[str], *, seed: int = settings.SEED) -> ItemFeatures:
        """These inputs are drawn at random with the mean and deviation of what they replace; their anchors, which would tell, are gone."""
        generator = torch.Generator().manual_seed(seed)
        values, anchor = dict(self.values), self.anchor.clone()
        for n, name in enumerate(self.values):
            if name in inputs and bool(self.mask[:, n].any()):
                shown = values[name][self.mask[:, n]]
                values[name] = shown.mean() + shown.std() * torch.randn(values[name].shape, generator=generator)
            if name in inputs and n < len(MODALITIES):
                anchor[:, n] = 0.0
        return replace(self, values=values, anchor=anchor)

    def shuffled(self, inputs: Sequence[str], *, seed: int = settings.SEED) -> ItemFeatures:
        """These inputs are another item's, among those that have one."""
        generator = torch.Generator().manual_seed(seed)
        values, anchor = dict(self.values), self.anchor.clone()
        for n, name in enumerate(self.values):
            if name in inputs:
                have = torch.nonzero(self.mask[:, n])[:, 0]
                other = have[torch.randperm(len(have), generator=generator)]
                values[name] = values[name].clone()
                values[name][have] = self.values[name][other]
                if n < len(MODALITIES):
                    anchor[have, n] = self.anchor[other, n]
        return replace(self, values=values, anchor=anchor)


class RankModel(nn.Module):
    """The LM with its LoRA, and the fusion, as one module for accelerate: lists -> scores."""

    def __init__(
        self, lm: LanguageModel, fusion: AttentionFusion, items: ItemFeatures, *, form: str, retriever: float = 1.0
    ) -> None:
        super().__init__()
        self.retriever = nn.Parameter(torch.tensor(float(retriever)))
        self.lm_module, self.fusion = lm.model, fusion
        self.lm, self.items, self.form = lm, items, form
        self._template = prompting.load("rerank_soft_prefix")

    def soft(self, rows: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Soft tokens [n, K, H] of items; `dropped` [n, inputs] hides some of what is there."""
        mask = self.items.mask[rows]
        if dropped is not None:
            kept = mask & ~dropped
            mask = torch.where(kept.any(1, keepdim=True), kept, mask)
        device = self.fusion.absent.device
        values = {m: v[rows].to(device) for m, v in self.items.values.items()}
        return self.fusion(values, self.items.anchor[rows].to(device), mask.to(device)).soft

    def forward(self, lists: Sequence[RankList], generator: torch.Generator | None = None, dropout: float = 0.0) -> list[Tensor]:
        """Scores [N] of every list."""
        rows = np.unique(np.concatenate([np.concatenate([x.history, x.candidates]) for x in lists]))
        place = {int(r): n for n, r in enumerate(rows)}
        dropped = (
            torch.rand(len(rows), self.items.mask.shape[1], generator=generator) < dropout if generator is not None else None
        )
        soft = self.soft(torch.from_numpy(rows), dropped)
        packed = []
        for one in lists:
            titled = self.form == "soft+title"
            liked = soft[[place[int(i)] for i in one.history]]
            titles = [self.items.titles[i] for i in one.history] if titled else None
            prefix = soft_prefix(self.lm, self._template, one.request or NEVER_LIKED, liked, titles)
            segments = [
                soft_segment(self.lm, soft[place[int(i)]], self.items.titles[i] if titled else None) for i in one.candidates
            ]
            packed.append((prefix, segments))
        return self.lm.score_lists(packed)


@dataclass(frozen=True)
class Case:
    """A user to rank for: history, the retrieved candidates with the retriever's scores, and which are liked later."""

    history: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    targets: np.ndarray


def retrieved(cases: interactions.Cases, scores: np.ndarray, depth: int) -> list[Case]:
    """The first `depth` unseen items of every case by scores [C, I]; a target enters only if it was retrieved."""
    out = []
    for n in range(len(cases)):
        own = scores[n].astype(np.float64).copy()
        own[cases.seen[n]] = -np.inf
        own[cases.history[n]] = -np.inf
        top = np.argsort(-own, kind="stable")[:depth]
        out.append(Case(cases.history[n], top, own[top], cases.targets[n]))
    return out


def score_cases(model: RankModel, cases: Sequence[Case], batch: int = 4) -> list[np.ndarray]:
    """The LM's scores [N] of every case's candidates."""
    out: list[np.ndarray] = []
    length = ListSettings.history
    with torch.no_grad():
        for start in range(0, len(cases), batch):
            part = cases[start : start + batch]
            lists = [RankList(c.history[-length:], c.candidates, np.zeros(0), np.zeros(0)) for c in part]
            out += [s.cpu().numpy() for s in model(lists)]
    return out


def blends(cases: Sequence[Case], scores: Sequence[np.ndarray], grid: Sequence[float] | None = None) -> dict[float, float]:
    """Weight w -> mean nDCG@10 of (1 - w) z(retriever) + w z(LM)."""
    weights_ = [round(0.05 * n, 2) for n in range(21)] if grid is None else list(grid)
    return {w: float(np.mean([case_ndcg(c, blend(c, s, w)) for c, s in zip(cases, scores, strict=True)])) for w in weights_}


def blend(case: Case, scores: np.ndarray, weight: float) -> np.ndarray:
    """Final scores [N] of a case's candidates."""
    return (1 - weight) * zscore(case.scores) + weight * zscore(scores)


def case_ndcg(case: Case, final: np.ndarray, k: int = 10) -> float:
    """Binary nDCG@k over the whole catalog: a target that was not retrieved counts as missed."""
    order = np.argsort(-final, kind="stable")[:k]
    return ndcg(case.candidates[order].tolist(), frozenset(case.targets.tolist()), k)
