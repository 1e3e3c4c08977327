"""Match: how well an item follows a history, by soft tokens alone. A score beside the language model's, and what the fusion is first trained by.

A user is the last liked item, the mean of the liked ones and their mean with late ones counting more, each through a linear map; an item is
its soft tokens through another; the score is their product over sqrt(width). Trained as SASRec is (Kang and McAuley 2018,
https://arxiv.org/abs/1808.09781): every place of a history predicts the next liked items by a softmax over the whole catalog. There is no
table of items: an item is what the fusion makes of its features, so that one nobody liked has a score too.

A part of the loss may be a teacher's (Hinton et al. 2015, https://arxiv.org/abs/1503.02531): what the retriever expects at each place, by models
that never saw the user. A like says of one item that it is right, the teacher says something of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

HALF_LIFE = 5.0
"""After how many later likes one counts half in the mean of the recent ones."""


@dataclass(frozen=True)
class MatchSettings:
    """`[match]` of a recipe. epochs: 0 leaves the stage out; length: of a window of history; ahead: how many of the next likes count,
    each `decay` times the one before; beside: weight of this loss while packed lists are learned.

    liked_only: items that nobody liked take no part in the softmax. As what is never right they would be learned to be wrong, whoever they are
    for; what is new in a catalog is asked for by its features then.
    taught: share of the loss that is the cross-entropy to what the retriever expects, the softmax of `sharpness` times its z-scores.
    """

    epochs: int = 0
    width: int = 128
    length: int = 50
    ahead: int = 1
    decay: float = 0.8
    batch: int = 16
    rate: float = 1e-3
    dropout: float = 0.2
    weight_decay: float = 0.05
    beside: float = 0.5
    taught: float = 0.0
    sharpness: float = 2.0
    liked_only: bool = False


class Match(nn.Module):
    """Soft tokens of what was liked and of candidates -> scores."""

    def __init__(self, soft_tokens: int, lm_width: int, width: int) -> None:
        super().__init__()
        size = soft_tokens * lm_width
        self.last = nn.Linear(size, width)
        self.mean, self.recent = nn.Linear(size, width, bias=False), nn.Linear(size, width, bias=False)
        self.item = nn.Linear(size, width, bias=False)
        for part in (self.last, self.mean, self.recent, self.item):
            nn.init.normal_(part.weight, std=size**-0.5)
        nn.init.zeros_(self.last.bias)

    def items(self, soft: Tensor, dropout: float = 0.0) -> Tensor:
        """[..., K, H] -> [..., width]."""
        return self.item(F.dropout(_flat(soft), dropout, training=dropout > 0))

    def users(self, soft: Tensor, dropout: float = 0.0) -> Tensor:
        """Histories [B, L, K, H], oldest first -> the user after every place, [B, L, width]."""
        flat = _flat(soft)
        place = torch.arange(flat.shape[1], device=flat.device)
        age = place[:, None] - place[None, :]
        users = flat.new_zeros(())
        for part, half_life in ((self.last, 0.0), (self.mean, float("inf")), (self.recent, HALF_LIFE)):
            weight = torch.where(age >= 0, torch.exp2(-age / half_life), 0.0) if half_life else (age == 0).to(flat.dtype)
            seen = (weight / weight.sum(1, keepdim=True)) @ flat
            users = users + part(F.dropout(seen, dropout, training=dropout > 0))
        return users

    def forward(self, liked: Tensor, candidates: Tensor) -> Tensor:
        """liked [n, K, H], candidates [N, K, H] -> [N]; zeros without a like."""
        return self.items(candidates) @ self.user(liked) * self.scale

    def user(self, liked: Tensor) -> Tensor:
        """A whole history [n, K, H] -> [width]; zeros without a like."""
        return self.users(liked.unsqueeze(0))[0, -1] if len(liked) else liked.new_zeros(self.item.out_features)

    @property
    def scale(self) -> float:
        """1 / sqrt(width)."""
        return float(self.item.out_features**-0.5)


def _flat(soft: Tensor) -> Tensor:
    flat = soft.flatten(-2)
    return F.layer_norm(flat, flat.shape[-1:])


@dataclass(frozen=True)
class Window:
    """A piece of a history, oldest first: its first item is only asked from, its last only asked for. fold: of its user, -1 for none."""

    items: np.ndarray
    fold: int = -1


def windows(sequences: Sequence[np.ndarray], length: int, folds: Sequence[int] | np.ndarray | None = None) -> list[Window]:
    """Histories cut from their end into windows of `length` + 1 items; `folds` has one for every history."""
    out = []
    for n, sequence in enumerate(sequences):
        fold = -1 if folds is None else int(folds[n])
        out += [Window(sequence[max(0, end - length - 1) : end], fold) for end in range(len(sequence), 1, -length)]
    return out


def batches(found: Sequence[Window], size: int, rng: np.random.Generator) -> list[list[Window]]:
    """All windows in batches of one fold each, in random order."""
    order = [found[n] for n in rng.permutation(len(found))]
    out = []
    for fold in sorted({w.fold for w in found}):
        own = [w for w in order if w.fold == fold]
        out += [own[start : start + size] for start in range(0, len(own), size)]
    return [out[n] for n in rng.permutation(len(out))]


def padded(found: Sequence[Window]) -> Tensor:
    """[B, longest], -1 at the right where there is nothing."""
    out = torch.full((len(found), max(len(w.items) for w in found)), -1)
    for n, window in enumerate(found):
        out[n, : len(window.items)] = torch.from_numpy(np.asarray(window.items))
    return out


def next_loss(
    match: Match, table: Tensor, rows: Tensor, offset: Tensor, settings: MatchSettings, expected: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the next likes. table: soft tokens of the whole catalog [I, K, H]; rows [B, L + 1]; offset [I], added to all scores,
    minus infinity for items that take no part.

    expected [B, L, I]: what a teacher holds likely after every place; a share of `settings.taught` is the cross-entropy to that.
    """
    users = match.users(table[rows[:, :-1].clamp(min=0)], settings.dropout)
    logits = (users @ match.items(table, settings.dropout).T * match.scale + offset).log_softmax(-1)
    total, weight = logits.new_zeros(()), 0.0
    for n in range(settings.ahead):
        wanted = rows[:, 1 + n :]
        there = wanted >= 0
        share = settings.decay**n
        found = logits[:, : wanted.shape[1]].gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        total = total - share * found[there].sum()
        weight += share * int(there.sum())
    loss = total / weight
    if expected is None:
        return loss
    asked = torch.isfinite(offset)
    if not bool(asked.all()):
        expected, logits = expected[..., asked], logits[..., asked]
        expected = expected / expected.sum(-1, keepdim=True)
    soft = -(expected * logits).sum(-1)[rows[:, 1:] >= 0].mean()
    return (1 - settings.taught) * loss + settings.taught * soft


def popularity(counts: np.ndarray, *, liked_only: bool = False) -> Tensor:
    """log(count + 1), centred: what everybody's scores begin with while the match is trained, so that it learns taste and not fashion.

    With `liked_only`, minus infinity where the count is 0.
    """
    count = torch.from_numpy(np.asarray(counts)).float()
    value = torch.log(count + 1)
    value = value - value.mean()
    return torch.where(count > 0, value, -torch.inf) if liked_only else value


def parameters(*modules: nn.Module) -> list[Any]:
    """What of these is trained."""
    return [p for m in modules for p in m.parameters() if p.requires_grad]
