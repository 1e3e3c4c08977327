"""A language model as inference runs it: every linear layer with a LoRA's change folded in, its weights laid out once for the processor.

PEFT adds two small products to each layer that a LoRA changes, and PyTorch's own product of a few rows takes one core. The layers made here
take one product each. Those of a small model go through oneDNN in its own layout, where PyTorch has it: float32 as before, summed in another
order. The layout is a second copy of the weights, which a large model's memory does not have room for.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 64
"""The number of rows that the layout is chosen for; it serves one row and hundreds as well."""
SMALL = 300_000_000
"""Parameters of the largest model that is laid out anew: 1.2 GB more."""


class Folding:
    """A decoder and its output matrix for inference. They are of the weights at the time of making; the trained model is not touched.

    `lora`: the one that is at work in a pass; the base model where no layer has it.
    """

    def __init__(self, decoder: Any, head: nn.Module) -> None:
        self.lora = ""
        self.laid_out = sum(p.numel() for p in decoder.parameters()) <= SMALL and _has_layout()
        shared = {id(t): t for t in (*decoder.parameters(), *decoder.buffers())}
        with torch.inference_mode():
            self.decoder = copy.deepcopy(decoder, shared)
            self._fold(self.decoder)
            self.head = _Linear(self, head)

    def _fold(self, module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) or hasattr(child, "get_delta_weight"):
                setattr(module, name, _Linear(self, child))
            else:
                self._fold(child)


class _Linear(nn.Module):
    """A linear layer, alone or under PEFT's, with one weight for the base model and one for each LoRA that changes it."""

    def __init__(self, folding: Folding, layer: Any) -> None:
        super().__init__()
        base = getattr(layer, "base_layer", layer)
        self.folding, self.bias = folding, base.bias
        self.native = folding.laid_out and base.weight.device.type == "cpu" and base.weight.dtype == torch.float32
        self.base = self._laid_out(base.weight)
        self.loras = {name: self._laid_out(base.weight + layer.get_delta_weight(name)) for name in getattr(layer, "lora_A", ())}

    def _laid_out(self, weight: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if self.native else weight

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        weight = self.loras.get(self.folding.lora, self.base)
        if self.native:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, self.bias, "none", [], "")
            return out
        return nn.functional.linear(x, weight, self.bias)


def _has_layout() -> bool:
    """Whether this PyTorch has oneDNN's layout; its two functions are PyTorch's own and may go."""
    own = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and hasattr(own, "_reorder_linear_weight") and hasattr(own, "_linear_pointwise")
