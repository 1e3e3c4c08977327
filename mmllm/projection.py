"""The two linear projections of a CLIP, taken out of the model: towers stay frozen, projections are what is trained.

A CLIP ends in one linear map per tower, into the shared space. Taken out, the tower's output is a feature that is encoded
once and kept, and the projections can be trained, replaced and applied again without looking at a picture twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mmllm.errors import WeightsError

Tower = Literal["image", "text"]


@dataclass(frozen=True)
class Heads:
    """image: [D, D_image], text: [D, D_text], scale: logarithm of the inverse temperature, []."""

    image: Tensor
    text: Tensor
    scale: Tensor

    def project(self, features: np.ndarray, tower: Tower) -> np.ndarray:
        """[n, D_tower] -> [n, D], L2-normalised float32."""
        with torch.inference_mode():
            return F.normalize(torch.from_numpy(features) @ getattr(self, tower).T, dim=-1).numpy()

    def tensors(self) -> dict[str, Tensor]:
        """By name, contiguous."""
        return {n: getattr(self, n).detach().contiguous() for n in ("image", "text", "scale")}

    def fingerprint(self) -> str:
        """A short id of the values."""
        digest = hashlib.sha256()
        for name, tensor in self.tensors().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]


def save(heads: Heads, file: Path, *, clip: str) -> None:
    """Write heads trained over the CLIP of that fingerprint, by rename."""
    part = file.with_name(file.name + ".part")
    save_file(heads.tensors(), part, metadata={"clip": clip})
    part.rename(file)


def load(file: Path, *, clip: str, like: Heads) -> Heads:
    """Read heads; refused unless they were trained over the CLIP of that fingerprint and have its shapes."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        made = (opened.metadata() or {}).get("clip")
    if made != clip:
        raise WeightsError(f"{file} was trained over clip {made}", expected=clip, do="run `mmllm adapt` on the index again")
    found = load_file(file)
    want = {n: t.shape for n, t in like.tensors().items()}
    if {n: t.shape for n, t in found.items()} != want:
        raise WeightsError(f"{file} holds { ({n: list(t.shape) for n, t in found.items()}) }", expected=str(want))
    return Heads(**found)


def take(model: Any, width: int) -> Heads:
    """Take both projections out of an open_clip model, in place; from then on its towers give features.

    A tower that ends in anything but one linear map without bias keeps its end, and its projection is the identity [D, D].
    """
    scale = getattr(model, "logit_scale", torch.tensor(2.659)).detach().clone()
    return Heads(_take_image(model.visual, width), _take_text(model, width), scale)


def _weight(layer: Any) -> Tensor | None:
    """[D, D_tower] of a Linear without bias, or of a parameter [D_tower, D]; None for anything else."""
    if isinstance(layer, nn.Linear) and layer.bias is None:
        return layer.weight.detach().clone()
    if isinstance(layer, nn.Parameter) and layer.ndim == 2:
        return layer.detach().T.clone()
    return None


def _take_image(visual: Any, width: int) -> Tensor:
    head = getattr(visual, "head", None)  # of a timm trunk
    weight = _weight(getattr(head, "proj", None))
    if head is not None and weight is not None:
        head.proj = nn.Identity()
        return weight
    weight = _weight(getattr(visual, "proj", None))
    if weight is None:
        return torch.eye(width)
    visual.proj = None
    return weight


def _take_text(model: Any, width: int) -> Tensor:
    for owner, name in ((model, "text_projection"), (getattr(model, "text", None), "text_projection")):
        weight = _weight(getattr(owner, name, None))
        if weight is not None:
            setattr(owner, name, None)
            return weight
    text = getattr(model, "text", None)
    weight = _weight(getattr(text, "proj", None))
    if text is None or weight is None:
        return torch.eye(width)
    text.proj = nn.Identity()
    return weight
