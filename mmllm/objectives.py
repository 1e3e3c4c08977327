"""What soft tokens are aligned by before anything is ranked: the language model is frozen, the fusion learns to speak to it.

describe: from an item's soft tokens the LM has to say its title (as in Frozen, Tsimpoukelli et al. 2021, https://arxiv.org/abs/2106.13884).
contrastive: soft tokens of two views of an item that share no input find each other. target: soft tokens give the item's text embedding by a
linear map, mean squared error. adversarial: from soft tokens of one input alone, nobody shall tell which input it was (gradient reversal,
Ganin and Lempitsky 2015, https://arxiv.org/abs/1409.7495). Each has a weight in the recipe and may be 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmllm.align import split_views
from mmllm.contrast import info_nce
from mmllm.lm import LanguageModel
from mmllm.rank_model import RankModel

TITLE_TOKENS = 16
HEAT = 20.0


@dataclass(frozen=True)
class AlignSettings:
    """`[align]` of a recipe. steps: 0 leaves the stage out; batch: items of a step; the rest are weights of the objectives."""

    steps: int = 0
    batch: int = 32
    rate: float = 1e-3
    describe: float = 1.0
    contrastive: float = 0.5
    target: float = 0.0
    adversarial: float = 0.0


class AlignTask(nn.Module):
    """The weighted objectives over a batch of items; its heads are thrown away afterwards."""

    def __init__(self, model: RankModel, settings: AlignSettings) -> None:
        super().__init__()
        self.fusion, self.settings, self._model = (
            model.fusion,
            settings,
            [model],
        )  # in a list: the LM is no part of what is trained
        size = model.fusion.config.soft_tokens * model.fusion.config.lm_width
        self.to_target = nn.Linear(size, model.items.values["text"].shape[1])
        self.to_modality = nn.Linear(size, len(model.items.values))

    def forward(self, rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Item numbers [B] -> objective -> loss, those of weight 0 left out."""
        model, s = self._model[0], self.settings
        mask = model.items.mask[rows]
        out: dict[str, Tensor] = {}
        if s.describe:
            # From all inputs, and from one alone: both have to be understood.
            single = _one_input(mask, generator)
            alone = torch.rand(len(rows), generator=generator) < 0.5
            soft = model.soft(rows, ~torch.where(alone[:, None], single, mask))
            out["describe"] = describe_loss(model.lm, soft, [model.items.titles[r] for r in rows.tolist()])
        if s.contrastive:
            several = rows[mask.sum(1) >= 2]
            if len(several) >= 2:
                left, right = (
                    F.normalize(self._flat(several, view), dim=-1) for view in split_views(model.items.mask[several], generator)
                )
                out["contrastive"] = info_nce(HEAT * left @ right.T, torch.zeros(len(several), len(several), dtype=torch.bool))
        if s.target:
            told = rows[mask[:, 0]]
            if len(told):
                wanted = model.items.values["text"][told]
                found = self.to_target(F.layer_norm(self._flat(told, model.items.mask[told]), (self.to_target.in_features,)))
                out["target"] = F.mse_loss(found, wanted)
        if s.adversarial:
            view = _one_input(mask, generator)
            flat = F.layer_norm(self._flat(rows, view), (self.to_modality.in_features,))
            out["adversarial"] = F.cross_entropy(self.to_modality(Reversed.apply(flat)), view.int().argmax(1))
        return out

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return torch.stack([getattr(self.settings, name) * loss for name, loss in losses.items()]).sum()

    def _flat(self, rows: Tensor, view: Tensor) -> Tensor:
        return self._model[0].soft(rows, ~view).flatten(1)


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round: what is above learns, what is below unlearns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Minus the gradient."""
        return -gradients[0]


def describe_loss(lm: LanguageModel, soft: Tensor, titles: Sequence[str]) -> Tensor:
    """Mean cross-entropy of the titles' tokens after "Item:" and the soft tokens [B, K, H]; a title is cut at TITLE_TOKENS."""
    head = lm.embed(lm.tokens("Item:")).to(soft.device)
    end = lm.tokenizer.eos_token_id
    ids = [[*lm.tokens(f" {t}")[:TITLE_TOKENS], end] for t in titles]
    longest = max(map(len, ids))
    target = torch.full((len(ids), longest), -100)
    for n, row in enumerate(ids):
        target[n, : len(row)] = torch.tensor(row)
    words = torch.stack([lm.embed([*row, *[end] * (longest - len(row))]) for row in ids]).to(soft.device)
    embeds = torch.cat([head.expand(len(ids), -1, -1), soft, words[:, :-1]], dim=1)
    logits = lm.logits(embeds)[:, -longest:]
    return F.cross_entropy(logits.flatten(0, 1), target.to(soft.device).flatten(), ignore_index=-100)


def _one_input(mask: Tensor, generator: torch.Generator) -> Tensor:
    """One of the inputs that are there, at random, per row of [B, inputs]."""
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, -1.0)
    return F.one_hot(order.argmax(1), mask.shape[1]).bool()
