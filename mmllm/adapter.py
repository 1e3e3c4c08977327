"""One folder on disk <-> fusion + LoRA: everything trained over the frozen backbones. A mismatch is refused by name.

adapters/NAME/
  mmllm.json           what it was trained over, sizes, form, blend weight
  adapter/             plain PEFT, absent when there is no LoRA
  fusion/              config.json, model.safetensors
  match.safetensors    scores of histories by soft tokens alone (mmllm.match), absent where none was trained
  collaborative.safetensors  factors of the items it was trained on, where the fusion reads them
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmllm import settings
from mmllm.catalog import file_sha256
from mmllm.errors import AdapterError
from mmllm.fusion import AttentionFusion, FusionConfig, build
from mmllm.match import Match

SCHEMA = 1
FACTORS, MATCH = "collaborative.safetensors", "match.safetensors"
Form = Literal["text", "soft", "soft+title"]


@dataclass(frozen=True)
class AdapterConfig:
    """The content of mmllm.json. `form` says how a candidate enters the prompt; `blend` is the LM's weight w, if chosen.

    `encoders` is role -> fingerprint as in an index's manifest, and "projections" -> that of CLIP's adapted ones ("" for its own).
    `fusion_trained` is False where only a LoRA was: then no fusion is kept, and it is the untrained one.
    `readout` is the share of the LM's readouts in its score, the rest is the match's. `reads` is what it learned to judge by: of "words" and
    "liked"; a query that has none of them keeps the retriever's order. `passages`: in the text form it reads, beside title and attributes, what
    an item's text says of the request (`mmllm.rerank.passage`).
    """

    name: str
    lm: str
    lm_fingerprint: str
    encoders: Mapping[str, str]
    form: Form = "text"
    blend: float | None = None
    lora: bool = False
    readout: float = 1.0
    reads: tuple[str, ...] = ("words", "liked")
    fusion_trained: bool = True
    passages: bool = False
    schema: int = SCHEMA


@dataclass(frozen=True)
class Factors:
    """Collaborative factors by item id: ids, n of them, and values [n, D_collaborative]. Other factors have other axes."""

    ids: tuple[str, ...]
    values: np.ndarray

    def of(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Rows [N, D_collaborative] and which are known [N]; an item that nobody liked has none."""
        row = {i: n for n, i in enumerate(self.ids)}
        at = np.array([row.get(i, -1) for i in ids])
        values = np.where(at[:, None] >= 0, self.values[np.maximum(at, 0)], 0.0).astype(np.float32)
        return values, np.abs(values).sum(axis=1) > 0


@dataclass(frozen=True)
class Adapter:
    """A fusion module, the factors it reads, and, on disk beside it, a LoRA folder."""

    config: AdapterConfig
    fusion: AttentionFusion
    folder: Path | None = None
    factors: Factors | None = None
    match: Match | None = None

    @property
    def lora(self) -> Path | None:
        """The PEFT folder, if there is one."""
        return self.folder / "adapter" if self.folder and self.config.lora else None

    @property
    def fingerprint(self) -> str:
        """Changes with any weight or setting; an index keeps it beside the fused vectors."""
        # Fields that came later count where they are not their default, so that older indexes go on.
        later = {f.name: f.default for f in fields(AdapterConfig) if f.name in ("readout", "reads", "fusion_trained", "passages")}
        told = {n: v for n, v in asdict(self.config).items() if n not in later or v != later[n]}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name, tensor in sorted(self.fusion.state_dict().items()):
            if name == "center" and not bool(tensor.any()):
                continue
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        for name, tensor in sorted(self.match.state_dict().items() if self.match is not None else ()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        if self.factors is not None:
            digest.update("\n".join(self.factors.ids).encode() + np.ascontiguousarray(self.factors.values).tobytes())
        if self.lora:
            for file in sorted(self.lora.glob("*.safetensors")):
                digest.update(file_sha256(file).encode())
        return digest.hexdigest()[:16]


def untrained(config: FusionConfig, *, lm: str, lm_fingerprint: str, encoders: Mapping[str, str], seed: int = 0) -> Adapter:
    """The harmless adapter: gate 0, no LoRA, candidates as text, so that the LM scores as the base model does."""
    return Adapter(AdapterConfig("untrained", lm, lm_fingerprint, dict(encoders)), build(config, seed=seed))


def save(adapter: Adapter, folder: Path, *, lora_from: Any = None) -> None:
    """Write the folder; `lora_from` is a PEFT model whose adapter is saved with it."""
    from safetensors.torch import save_file

    (folder / "fusion").mkdir(parents=True, exist_ok=True)
    if adapter.config.fusion_trained:
        save_file(adapter.fusion.state_dict(), folder / "fusion" / "model.safetensors")
    (folder / "fusion" / "config.json").write_text(json.dumps(adapter.fusion.config.to_dict(), indent=1))
    if adapter.factors is not None:
        tensors = {"values": torch.from_numpy(np.ascontiguousarray(adapter.factors.values))}
        save_file(tensors, folder / FACTORS, metadata={"ids": json.dumps(adapter.factors.ids)})
    if adapter.match is not None:
        save_file(adapter.match.state_dict(), folder / MATCH)
    if lora_from is not None:
        for own in lora_from.peft_config.values():
            own.base_model_name_or_path = adapter.config.lm  # its name: PEFT would write the folder on this machine
        lora_from.save_pretrained(folder / "adapter", save_embedding_layers=False)
        (folder / "adapter" / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours lies above
    elif adapter.lora and adapter.lora.resolve() != (folder / "adapter").resolve():
        shutil.copytree(adapter.lora, folder / "adapter", dirs_exist_ok=True)
    row = asdict(adapter.config) | {"lora": lora_from is not None or adapter.config.lora}
    part = folder / "mmllm.json.part"
    part.write_text(json.dumps(row, indent=1))
    os.replace(part, folder / "mmllm.json")


def find(asked: Path) -> Path:
    """The folder of an adapter, by its path or by the name of a shipped one; AdapterError where there is neither."""
    shipped = {f.name: f for f in sorted(settings.data_folder("adapters").glob("*")) if _is_adapter(f)}
    if _is_adapter(asked):
        return asked
    if str(asked) in shipped:
        return shipped[str(asked)]
    names = ", ".join(shipped) or "none here"
    raise AdapterError(f"no adapter {str(asked)!r}", expected=f"a folder with mmllm.json and fusion, or a shipped one ({names})")


def _is_adapter(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("mmllm.json", "fusion/config.json"))  # one for words has the first alone


def read_config(folder: Path) -> AdapterConfig:
    """The mmllm.json of a folder; AdapterError where there is none, or one of another schema."""
    file = folder / "mmllm.json"
    if not _is_adapter(folder):
        raise AdapterError(f"no adapter in {folder}", expected="a folder with mmllm.json and fusion", do="check --adapter")
    row = json.loads(file.read_text())
    if row.get("schema") != SCHEMA:
        raise AdapterError(f"{file} has schema {row.get('schema')}", expected=str(SCHEMA), do="train it with this version")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return AdapterConfig(**values)


def load(folder: Path, *, lm_fingerprint: str, encoders: Mapping[str, str]) -> Adapter:
    """Read a folder and refuse it if it was trained over other weights than those given."""
    from safetensors.torch import load_file

    config = read_config(folder)
    if config.lm_fingerprint != lm_fingerprint:
        raise AdapterError(
            f"adapter {config.name!r} was trained over language model {config.lm} ({config.lm_fingerprint})",
            expected=lm_fingerprint,
            do="load it with the preset it was trained for",
        )
    for role, want in config.encoders.items():
        have, what = encoders.get(role), role if role == "projections" else f"{role} encoder"
        if have != want:
            raise AdapterError(
                f"adapter {config.name!r} was trained over {what} {want or '(the own ones of the CLIP)'}, this index has {have or 'none'}",
                do="build an index with the encoders of the adapter, and without `mmllm adapt`",
            )
    sizes = json.loads((folder / "fusion" / "config.json").read_text())
    fusion = build(FusionConfig.of_dict(sizes))
    if config.fusion_trained:
        # A fusion that was trained before soft tokens had a center has none.
        fusion.load_state_dict({"center": fusion.center} | load_file(folder / "fusion" / "model.safetensors"), strict=True)
    if config.lora and not (folder / "adapter" / "adapter_model.safetensors").is_file():
        raise AdapterError(f"{folder}/adapter has no adapter_model.safetensors", expected="the LoRA that mmllm.json names")
    return Adapter(config, fusion, folder, _factors(folder / FACTORS), _match(folder / MATCH, fusion.config))


def _match(file: Path, sizes: FusionConfig) -> Match | None:
    from safetensors.torch import load_file

    if not file.is_file():
        return None
    tensors = load_file(file)
    if "recent.weight" not in tensors:
        raise AdapterError(f"{file} has no 'recent.weight'", expected="a match of this version", do="train the adapter again")
    match = Match(sizes.soft_tokens, sizes.lm_width, len(tensors["item.weight"]))
    match.load_state_dict(tensors, strict=True)
    return match.eval()


def _factors(file: Path) -> Factors | None:
    from safetensors import safe_open

    if not file.is_file():
        return None
    with safe_open(file, framework="numpy") as opened:
        return Factors(tuple(json.loads(opened.metadata()["ids"])), opened.get_tensor("values"))
