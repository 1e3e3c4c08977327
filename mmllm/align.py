"""Contrastive training of the fusion between partial views of an item: what one modality says must find what the others say.

Self-supervised: no labels, only items with two modalities or more. The loss is that of CLIP (`contrast.info_nce`) between the pooled
vectors of two views that share no modality, as in multi-view coding (Tian et al. 2019, https://arxiv.org/abs/1906.05849).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmllm.contrast import info_nce, pair_ranks
from mmllm.fusion import AttentionFusion
from mmllm.types import MODALITIES


@dataclass(frozen=True)
class Reading:
    """All items as a fusion reads them: values modality -> [n, D_m], anchor [n, M, D] with unit rows, present [n, M]."""

    values: Mapping[str, Tensor]
    anchor: Tensor
    present: Tensor

    def rows(self, chosen: Tensor) -> Reading:
        """Some of the items."""
        return Reading({m: v[chosen] for m, v in self.values.items()}, self.anchor[chosen], self.present[chosen])


@dataclass(frozen=True)
class Views:
    """Settings of one training."""

    epochs: int = 10
    batch: int = 512
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    dropout: float = 0.3
    """Share of a feature's dimensions that are hidden in a step."""
    heat: float = 30.0
    """Inverse temperature."""
    same: float = 0.95
    """Items whose texts are nearer than this cosine are no negatives of each other."""
    seed: int = 17


def split_views(present: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two masks [B, M] for every row of `present` [B, M]: one modality at random, and one or more of the others; never both.

    Every row has to have two modalities at least.
    """
    order = torch.rand(present.shape, generator=generator).masked_fill(~present, -1.0)
    top = order.topk(2, dim=1).indices
    first, second = (F.one_hot(top[:, n], present.shape[1]).bool() for n in (0, 1))
    others = present & ~first & (torch.rand(present.shape, generator=generator) < 0.5)
    return first, others | second


def fit_fusion(
    fusion: AttentionFusion,
    readings: Sequence[Reading],
    settings: Views,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> AttentionFusion:
    """A new module, trained on several readings of the same items (another wording in each); the given one is left alone.

    Runs on one thread, as `contrast.fit` does.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return _fit(copy.deepcopy(fusion).train(), readings, settings, progress)
    finally:
        torch.set_num_threads(threads)


def _fit(
    fusion: AttentionFusion, readings: Sequence[Reading], settings: Views, progress: Callable[[int, int], None]
) -> AttentionFusion:
    generator = torch.Generator().manual_seed(settings.seed)
    usable = torch.nonzero(readings[0].present.sum(1) >= 2)[:, 0]
    batch = min(settings.batch, len(usable))
    steps = settings.epochs * (len(usable) // batch)
    trained = [p for n, p in fusion.named_parameters() if not n.startswith("to_soft")]  # soft tokens are no part of this loss
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    words = readings[0].anchor[:, MODALITIES.index("text")]
    for epoch in range(settings.epochs):
        order = usable[torch.randperm(len(usable), generator=generator)]
        for at in range(0, len(order) - batch + 1, batch):
            rows = order[at : at + batch]
            masks = split_views(readings[0].present[rows], generator)
            left, right = (
                _view(
                    fusion,
                    readings[int(torch.randint(len(readings), (), generator=generator))].rows(rows),
                    m,
                    settings,
                    generator,
                )
                for m in masks
            )
            twins = words[rows] @ words[rows].T > settings.same
            loss = info_nce(settings.heat * left @ right.T, twins)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, settings.epochs)
    return fusion.eval().requires_grad_(True)


def _view(fusion: AttentionFusion, reading: Reading, mask: Tensor, settings: Views, generator: torch.Generator) -> Tensor:
    values = {m: v * (torch.rand(v.shape, generator=generator) >= settings.dropout) for m, v in reading.values.items()}
    return fusion(values, reading.anchor, mask & reading.present).pooled


def view_ranks(fusion: AttentionFusion, reading: Reading) -> dict[str, np.ndarray]:
    """Ranks of pooled vectors between the text alone and the picture alone of the same items, as `contrast.pair_ranks` has them."""
    pooled: dict[str, np.ndarray] = {}
    for modality in ("image", "text"):
        mask = torch.zeros_like(reading.present)
        mask[:, MODALITIES.index(modality)] = True
        with torch.inference_mode():
            pooled[modality] = fusion(reading.values, reading.anchor, mask & reading.present).pooled.numpy()
    return pair_ranks(pooled["image"], pooled["text"])


def gain(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], k: int = 10) -> tuple[float, float]:
    """Gain in recall@k, mean of both directions, and the standard error of the paired differences."""
    change = np.mean([(after[d] <= k).astype(float) - (before[d] <= k) for d in after], axis=0)
    return float(change.mean()), float(change.std(ddof=1) / len(change) ** 0.5) if len(change) > 1 else 0.0
