"""An index on disk: features, items and manifest, the source of truth; the manifest is written last, by rename.

manifest.json  items.parquet  features/{text,image,audio,words}.safetensors, what frozen towers made of the items
heads.safetensors  adapted/  CLIP's projections and a fusion, where they were adapted to this catalog (`mmllm adapt`)
features/anchor.safetensors  fused.safetensors, computed from the above
cf.npz                   what is liked by the same people, where the catalog has interactions
bm25/  chroma/           rebuilt from the above without encoding anything again
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, load_npz

from mmllm.catalog import file_sha256
from mmllm.catalog_row import item_row, parse_item
from mmllm.errors import IndexStateError, QueryError
from mmllm.types import MODALITIES, Caption, Item, Segment, Transcript

SCHEMA = 2
HEADS = "heads.safetensors"
COLLABORATIVE = "cf.npz"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What an index was made of.

    `encoders` is role -> "name:fingerprint"; `widths` is {"text": D_text, "image": D_image, "audio": D_audio, "shared": D};
    `captions` the version of the phrases;
    `heads` is the fingerprint of the CLIP projections adapted to this catalog, "" for the CLIP's own; `interactions` the
    sha256 of interactions.csv, "" without one; `files` is path -> sha256.
    """

    catalog: str
    catalog_hash: str
    preset: str
    encoders: Mapping[str, str]
    adapter: str
    adapter_fingerprint: str
    widths: Mapping[str, int]
    heads: str
    counts: Mapping[str, int]
    files: Mapping[str, str]
    blend: Mapping[str, Any] = field(default_factory=dict)
    captions: int = 0
    interactions: str = ""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Payload:
    """One item as the index keeps it: with what was heard and seen in it, and the hash of each of its modalities' content."""

    item: Item
    transcript: Transcript = Transcript()
    caption: Caption = Caption()
    hashes: Mapping[str, str] = field(default_factory=dict)


class Store:
    """A finished index, opened for reading. Arrays are loaded on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)

    @cached_property
    def payloads(self) -> tuple[Payload, ...]:
        """One per row, in the order of every [N, ..] array."""
        return tuple(read_payloads(self.folder / "items.parquet"))

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The items alone."""
        return tuple(p.item for p in self.payloads)

    @cached_property
    def row(self) -> dict[str, int]:
        """Item id -> row."""
        return {item.id: n for n, item in enumerate(self.items)}

    @cached_property
    def features(self) -> dict[str, dict[str, np.ndarray]]:
        """Modality -> {"values": [N, D_m], "present": [N]}; "anchor" -> {"values": [N, M, D], "present": [N, M]}; and "words" ->
        {"values": [N, 2, D_clip_text], "present": [N, 2]}, what CLIP's text tower made of text and transcript."""
        return {name: load_file(self.folder / "features" / f"{name}.safetensors") for name in (*MODALITIES, "words", "anchor")}

    @cached_property
    def fused(self) -> dict[str, np.ndarray]:
        """{"pooled": [N, D], "soft": [N, K, H], "shares": [N, M]}."""
        return load_file(self.folder / "fused.safetensors")

    @cached_property
    def together(self) -> csr_matrix | None:
        """[N, N], how much liking one item says for another (`collaborative.together`); None without interactions."""
        return load_npz(self.folder / COLLABORATIVE) if self.manifest.interactions else None

    @property
    def heads(self) -> Path | None:
        """The file of the CLIP projections adapted to this catalog, if there is one."""
        return self.folder / HEADS if self.manifest.heads else None

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Rows of ids; an unknown id is an error that names it."""
        unknown = [i for i in ids if i not in self.row]
        if unknown:
            near = next((k for k in self.row if unknown[0].casefold() in k.casefold()), next(iter(self.row)))
            raise QueryError(f"unknown item id {unknown[0]!r}", expected=f"an id of the catalog, such as {near!r}")
        return [self.row[i] for i in ids]

    def problems(self) -> list[str]:
        """Files that are missing or whose sha256 is not the manifest's."""
        found = []
        for name, digest in self.manifest.files.items():
            file = self.folder / name
            if not file.is_file():
                found.append(f"{name} is missing")
            elif file_sha256(file) != digest:
                found.append(f"{name} has another sha256 than the manifest says")
        return found


def read_manifest(folder: Path) -> Manifest:
    """The manifest, or an error that says how to build the index."""
    file = folder / MANIFEST
    build = f"mmllm index build CATALOG --out {folder}"
    if not file.is_file():
        raise IndexStateError(f"no finished index in {folder}", expected=f"a file {MANIFEST}", do=build)
    try:
        row = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise IndexStateError(f"{file} is damaged ({error})", do=build) from None
    if row.get("schema") != SCHEMA:
        raise IndexStateError(f"{file} has schema {row.get('schema')}", expected=str(SCHEMA), do=build)
    return Manifest(**row)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Written to a part file, flushed, then renamed: it is there whole or not at all."""
    part = folder / (MANIFEST + ".part")
    with part.open("w") as out:
        json.dump(asdict(manifest), out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, folder / MANIFEST)


def check_encoders(manifest: Manifest, fingerprints: Mapping[str, str]) -> None:
    """Refuse an index whose features were made by other encoders than those at hand."""
    for role, have in fingerprints.items():
        made = manifest.encoders.get(role)
        if made != have:
            raise IndexStateError(
                f"the index was built with {role} encoder {made}, this machine has {have}",
                expected="the same",
                do=f"mmllm index build {manifest.catalog} --out INDEX",
            )


def save_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A safetensors file by rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, part)
    os.replace(part, file)


def write_payloads(file: Path, payloads: Sequence[Payload]) -> None:
    """items.parquet: nested values as JSON text, so that a catalog with mixed attribute types still fits one schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": p.item.id,
            "title": p.item.title,
            "item": json.dumps(item_row(p.item), ensure_ascii=False),
            "caption": json.dumps(asdict(p.caption), ensure_ascii=False),
            "language": p.transcript.language,
            "segments": json.dumps([asdict(s) for s in p.transcript.segments], ensure_ascii=False),
            "hashes": json.dumps(dict(p.hashes)),
        }
        for p in payloads
    ]
    names = ("id", "title", "item", "caption", "language", "segments", "hashes")
    schema = pa.schema([(n, pa.string()) for n in names])
    part = file.with_name(file.name + ".part")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
    os.replace(part, file)


def read_payloads(file: Path) -> Iterator[Payload]:
    """The inverse of `write_payloads`."""
    import pyarrow.parquet as pq

    for row in pq.read_table(file).to_pylist():
        segments = tuple(Segment(**s) for s in json.loads(row["segments"]))
        yield Payload(
            parse_item(json.loads(row["item"])),
            Transcript(row["language"], segments),
            _caption(row["caption"]),
            json.loads(row["hashes"]),
        )


def _caption(text: str) -> Caption:
    row = json.loads(text)
    return Caption(tuple(row["phrases"]), row["source"], row["confidence"])


def make_folder(folder: Path) -> None:
    """Make the folder of an index where it is not there; IndexStateError where a file is in its way or it may not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexStateError(f"{folder}: {error.strerror}", expected="a folder for the index", do="pass another --out") from None


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with the process, so a killed build leaves none behind."""
    make_folder(folder)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise IndexStateError(
                f"another process is writing {folder}", expected="one writer", do="wait for it to end, or build elsewhere"
            ) from None
        yield
