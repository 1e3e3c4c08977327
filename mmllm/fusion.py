"""AttentionFusion: features of an item or a query -> one pooled embedding and K soft tokens. Torch and types only.

Each modality's feature goes through its own projector, gets a type embedding, and is attended over by K + 1 learned latents
(softmax(QK^T / sqrt(D)); Jaegle et al. 2021, https://arxiv.org/abs/2103.03206, and Flamingo's resampler,
https://arxiv.org/abs/2204.14198). Absent modalities are masked. The gate starts at tanh(0) = 0: an untrained module pools to the masked
mean of the anchors, which are the same modalities in CLIP's shared space, and its soft tokens are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmllm.types import MODALITIES


@dataclass(frozen=True)
class FusionConfig:
    """Sizes. `widths` is D_m per input, in the order of `inputs`; `soft_norm` the mean norm of the LM's embeddings.

    `inputs` begins with MODALITIES; what follows, such as "collaborative", has no place in CLIP's space: it takes part in the attention
    and not in the mean of the anchors. `reader`: the language model reads soft tokens through a map of its own.
    """

    widths: tuple[int, ...]
    width: int
    soft_tokens: int
    lm_width: int
    soft_norm: float
    kind: str = "attention"
    inputs: tuple[str, ...] = MODALITIES
    reader: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values for config.json."""
        return asdict(self) | {"widths": list(self.widths), "inputs": list(self.inputs)}

    @classmethod
    def of_dict(cls, row: Mapping[str, Any]) -> FusionConfig:
        """The inverse of `to_dict`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        return cls(**values)


@dataclass(frozen=True)
class Fused:
    """pooled: [B, D], unit length; soft: [B, K, H]; shares: [B, M], attention of the pooled vector, rows sum to 1; raw: [B, K, H], soft tokens
    before the center was taken off."""

    pooled: Tensor
    soft: Tensor
    shares: Tensor
    raw: Tensor


def masked_mean(anchors: Tensor, mask: Tensor) -> Tensor:
    """Mean over the present modalities of [B, M, D] under a mask [B, M] -> [B, D]; zeros where none is present."""
    weights = mask.to(anchors.dtype).unsqueeze(-1)
    return (anchors * weights).sum(1) / weights.sum(1).clamp(min=1)


class AttentionFusion(nn.Module):
    """The learned-latent fusion; the same module serves items and queries."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        self.projectors = nn.ModuleList(
            nn.Sequential(nn.Linear(w, d), nn.GELU(), nn.Linear(d, d), nn.LayerNorm(d)) for w in config.widths
        )
        self.anchor_projector = nn.Linear(d, d, bias=False)
        self.types = nn.Parameter(torch.randn(len(config.widths), d) * d**-0.5)
        self.absent = nn.Parameter(torch.zeros(d))
        self.latents = nn.Parameter(torch.randn(config.soft_tokens + 1, d) * d**-0.5)
        self.key, self.value = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.to_pooled = nn.Linear(d, d)
        self.to_soft = nn.Linear(d, config.lm_width)
        self.gate = nn.Parameter(torch.zeros(()))
        self.center: Tensor
        self.register_buffer("center", torch.zeros(config.soft_tokens, config.lm_width))
        self.reader = nn.Parameter(torch.zeros(config.lm_width, config.lm_width)) if config.reader else None

    def forward(self, features: Mapping[str, Tensor] | Sequence[Tensor], anchors: Tensor, mask: Tensor) -> Fused:
        """Fuse one batch.

        features: input -> [B, D_m]; anchors: [B, A, D], unit rows, of the first A inputs; mask: [B, M], True where present. Rows
        that are absent may hold anything: they do not change the result. An input without features or a column of the mask is absent.
        """
        rows = list(self._rows(features, len(mask)))
        anchored = F.pad(mask[:, : anchors.shape[1]], (0, len(rows) - anchors.shape[1]))
        mask = F.pad(mask, (0, len(rows) - mask.shape[1]))
        anchors = F.pad(anchors, (0, 0, 0, len(rows) - anchors.shape[1]))
        present = mask.unsqueeze(-1)
        anchors = torch.where(present, anchors, torch.zeros_like(anchors))
        tokens = []
        for m, (project, row) in enumerate(zip(self.projectors, rows, strict=True)):
            clean = torch.where(mask[:, m : m + 1], row, torch.zeros_like(row))
            token = project(clean) + self.anchor_projector(anchors[:, m])
            tokens.append(torch.where(mask[:, m : m + 1], token, self.absent) + self.types[m])
        stacked = torch.stack(tokens, dim=1)  # [B, M, D]
        # A row with nothing present attends to its absent tokens, so that it stays finite.
        attended, attention = self.attend(stacked, mask | ~mask.any(dim=1, keepdim=True))
        gate = torch.tanh(self.gate)
        pooled = F.normalize(masked_mean(anchors, anchored) + gate * self.to_pooled(attended[:, 0]), dim=-1)
        raw = self.to_soft(attended[:, 1:])
        soft = self.scaled(raw, self.center)
        uniform = anchored.to(anchors.dtype) / anchored.sum(dim=1, keepdim=True).clamp(min=1)
        shares = (1 - gate.abs()) * uniform + gate.abs() * attention[:, 0]
        return Fused(pooled=pooled, soft=soft, shares=shares, raw=raw)

    def read(self, soft: Tensor) -> Tensor:
        """Soft tokens [..., K, H] as the language model reads them: with its own linear map added, where there is one, which starts at zero.

        Without it a language model that learns to read moves the tokens that a match was trained on.
        """
        return soft if self.reader is None else soft + F.linear(soft, self.reader)

    def scaled(self, raw: Tensor, center: Tensor) -> Tensor:
        """Soft tokens [B, K, H] of `raw` [B, K, H]: less the center [K, H], at the mean norm of the LM's embeddings."""
        return F.normalize(raw - center, dim=-1) * self.config.soft_norm

    @torch.no_grad()
    def recenter(self, raw: Tensor) -> None:
        """Take the mean of `raw` [B, K, H] off all soft tokens from now on. What all items have in common says nothing of any; it was nine
        tenths of their length, and a language model that is to tell items apart saw one item."""
        self.center.copy_(raw.mean(0))

    def attend(self, stacked: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, M, D] of which `visible` [B, M] count -> K + 1 vectors [B, K + 1, D] and what each looked at [B, K + 1, M]."""
        scores = torch.einsum("kd,bmd->bkm", self.latents, self.key(stacked)) / self.config.width**0.5
        attention = scores.masked_fill(~visible.unsqueeze(1), float("-inf")).softmax(dim=-1)
        return torch.einsum("bkm,bmd->bkd", attention, self.value(stacked)) + self.latents, attention

    def _rows(self, features: Mapping[str, Tensor] | Sequence[Tensor], batch: int) -> Iterator[Tensor]:
        given = features if isinstance(features, Mapping) else dict(zip(self.config.inputs, features, strict=False))
        for name, width in zip(self.config.inputs, self.config.widths, strict=True):
            yield given[name] if name in given else self.absent.new_zeros(batch, width)


class GatedFusion(AttentionFusion):
    """alpha = softmax(W x y^T / sqrt(D)), fused = sum of alpha x: each modality is weighed by how it meets the others, alike for all latents."""

    def attend(self, stacked: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """As AttentionFusion's, without latents that ask."""
        meets = torch.einsum("bmd,bnd->bmn", self.key(stacked), stacked) / self.config.width**0.5
        others = visible.unsqueeze(1) & ~torch.eye(stacked.shape[1], dtype=torch.bool, device=stacked.device)
        scores = (meets * others).sum(-1) / others.sum(-1).clamp(min=1)
        alpha = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)
        fused = torch.einsum("bm,bmd->bd", alpha, self.value(stacked))
        return fused.unsqueeze(1) + self.latents, alpha.unsqueeze(1).expand(-1, len(self.latents), -1)


class MeanFusion(AttentionFusion):
    """Every modality that is there counts alike."""

    def attend(self, stacked: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """As AttentionFusion's, with equal weights."""
        alpha = visible.to(stacked.dtype) / visible.sum(-1, keepdim=True)
        fused = torch.einsum("bm,bmd->bd", alpha, self.value(stacked))
        return fused.unsqueeze(1) + self.latents, alpha.unsqueeze(1).expand(-1, len(self.latents), -1)


class ConcatFusion(AttentionFusion):
    """All tokens side by side through one linear map; an absent one is the learned token."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__(config)
        self.mix = nn.Linear(len(config.inputs) * config.width, (config.soft_tokens + 1) * config.width)

    def attend(self, stacked: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """As AttentionFusion's; the shares are equal, for nothing is weighed."""
        alpha = visible.to(stacked.dtype) / visible.sum(-1, keepdim=True)
        fused = self.mix(self.value(stacked).flatten(1)).unflatten(1, self.latents.shape)
        return fused + self.latents, alpha.unsqueeze(1).expand(-1, len(self.latents), -1)


KINDS: dict[str, type[AttentionFusion]] = {
    "attention": AttentionFusion,
    "gated": GatedFusion,
    "concat": ConcatFusion,
    "mean": MeanFusion,
}


def build(config: FusionConfig, *, seed: int = 0) -> AttentionFusion:
    """A fresh module in evaluation mode; the same seed gives the same weights, and the global generator is left alone."""
    if config.kind not in KINDS:
        raise ValueError(f"fusion kind {config.kind!r} is not known; expected {', '.join(KINDS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[config.kind](config).eval()
