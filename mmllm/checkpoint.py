"""A stage of training on disk: weights and optimizer state as safetensors, replaced by rename, so that a stopped run loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmllm.errors import MmllmError


def trained(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, by name, and the center of the fusion, which follows them."""
    centers = {n: b for n, b in model.named_buffers() if n.split(".")[-1] == "center"}
    return {n: p for n, p in model.named_parameters() if p.requires_grad} | centers


def write(folder: Path, recipe: object, model: nn.Module, optimizer: Any, step: int) -> None:
    """Weights and optimizer state as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tensors = {f"model.{n}": p.detach().cpu().contiguous() for n, p in trained(model).items()}
    for n, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{n}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in state.items()}
    save_file(tensors, part / "state.safetensors")
    (part / "step.json").write_text(json.dumps({"step": step, "recipe": repr(recipe)}))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path, recipe: object, model: nn.Module, optimizer: Any = None) -> int:
    """The step to go on from; 0 without a checkpoint. One of another recipe is refused. Without an optimizer, the weights only."""
    from safetensors.torch import load_file

    if not (folder / "step.json").is_file():
        old = folder.with_name(folder.name + ".old")
        if not (old / "step.json").is_file():
            return 0
        old.rename(folder)  # killed between two renames
    row = json.loads((folder / "step.json").read_text())
    if row["recipe"] != repr(recipe):
        raise MmllmError(f"{folder} belongs to another recipe", do="delete it to start anew, or train into another folder")
    tensors = load_file(folder / "state.safetensors")
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():  # what it does not hold was not learned in its stage
        for name in (n for n in tensors if n.startswith("model.")):
            own[name.removeprefix("model.")].copy_(tensors[name])
    if optimizer is None:
        return int(row["step"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, n, name = key.split(".")
            state.setdefault(int(n), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(row["step"])


def write_json(file: Path, row: object) -> None:
    """Whole or not at all."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(row))
    os.replace(part, file)


def cut(log: Path, step: int) -> None:
    """Lines after the checkpoint are of steps that will be taken again."""
    if log.is_file():
        kept = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(f"{line}\n" for line in kept))
