"""Build an index: encode what is new, fuse, write files, then BM25 and Chroma. Incremental and resumable (`encodings`)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import save_npz

from mmllm import adapter as adapters
from mmllm import catalog, encodings, interactions, projection, settings
from mmllm.caption import VERSION as CAPTIONS
from mmllm.collaborative import together
from mmllm.derive import OWN, anchors, derive, load_adapter, open_vectors
from mmllm.encoders import Encoders
from mmllm.encodings import PARTIAL, WORDED, Encoded
from mmllm.errors import IndexStateError
from mmllm.fusion import AttentionFusion
from mmllm.lexical import Bm25
from mmllm.projection import Heads
from mmllm.store import (
    COLLABORATIVE,
    HEADS,
    MANIFEST,
    Manifest,
    Payload,
    Store,
    read_manifest,
    save_arrays,
    write_manifest,
    writer_lock,
)
from mmllm.types import MODALITIES, Caption, Item, Progress, Transcript

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildReport:
    """What a build did: items in all, and how many were encoded per modality."""

    items: int
    encoded: Mapping[str, int]
    skipped: int
    changed: bool


def build_index(
    source: Path,
    out: Path,
    *,
    preset: str = "mini",
    adapter: Path | None = None,
    skip_bad: bool = False,
    speech_language: str | None = None,
    progress: Progress = lambda stage, done, of: None,
) -> BuildReport:
    """Build or bring up to date the index `out` of the catalog folder `source`."""
    source = source.resolve()  # kept in the manifest: the index may be opened from another folder
    adapter = adapter.resolve() if adapter else None
    cat = catalog.read(source, skip_bad=skip_bad)
    # Before anything is encoded or removed: a bad file costs no index.
    rated = interactions.read(source) if _interactions_hash(source) else None
    chosen = settings.preset(preset)
    encoders = Encoders(chosen)
    fingerprints = encoders.fingerprints()
    with writer_lock(out):
        old = _old_manifest(out)
        if old is not None and Store(out).problems():
            log.warning("the index in %s is damaged: everything is encoded again", out)
            old = None
        kept = encodings.kept(out, old, fingerprints)
        known = encodings.with_partial(kept, out, fingerprints)
        same = old is not None and dict(old.encoders) == dict(fingerprints)
        adapted = old is not None and same and bool(old.heads or old.adapter == OWN)
        widths = old.widths if old is not None and same else encoders.widths()
        heads = old.heads if old is not None and adapted else ""
        if adapter is None and old is not None and adapted and old.adapter == OWN:
            adapter = out / OWN
        # Before anything is encoded: an adapter that does not fit costs no hour.
        trained = load_adapter(adapter, chosen, widths, fingerprints, heads=heads)
        hashes = [encodings.content_hashes(item, source, speech_language) for item in cat.items]
        encoded = encodings.encode_missing(
            cat, hashes, known, encoders, fingerprints, out, language=speech_language, progress=progress
        )
        if not adapted:
            _remove_adaptation(out, old)
        current = _manifest_inputs(source, cat, preset, fingerprints, trained)
        current |= {"widths": dict(widths), "heads": heads, "captions": CAPTIONS, "interactions": _interactions_hash(source)}
        if old is not None and not any(encoded.values()) and all(getattr(old, k) == v for k, v in current.items()):
            Bm25.open(Store(out).payloads, out / "bm25")
            _open_chroma(out)
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
            return BuildReport(len(cat.items), encoded, len(cat.problems), False)
        same_tastes = (
            old is not None
            and old.interactions == current["interactions"]
            and [i.id for i in Store(out).items] == [i.id for i in cat.items]
        )
        encodings.put_aside(out, kept, hashes, fingerprints)
        base = encoders.clip.base
        used = projection.load(out / HEADS, clip=encoders.clip.fingerprint, like=base) if heads else base
        _write(out, cat.items, hashes, known, trained, used, encoders)
        if not same_tastes:
            _write_together(rated, out, cat.items)
        # The LM's weight belongs to the language model and the adapter; another catalog does not unmake it.
        keep_blend = old is not None and old.adapter_fingerprint == current["adapter_fingerprint"]
        blend = dict(old.blend) if old is not None and keep_blend else {}
        write_manifest(out, Manifest(**current, files=_file_hashes(out), blend=blend))
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        _open_chroma(out)
        return BuildReport(len(cat.items), encoded, len(cat.problems), True)


def refit(out: Path, heads: Heads, fusion: AttentionFusion | None, encoders: Encoders) -> None:
    """Put projections and a fusion trained on this index into it: what follows from them is computed again, nothing is encoded.

    Without a fusion the index has the untrained one. The LM's weight was chosen for another order of retrieval and is dropped.
    """
    with writer_lock(out):
        store = Store(out)
        old, payloads = store.manifest, store.payloads
        values = {m: store.features[m]["values"] for m in MODALITIES}
        pictured, words = store.features["image"]["present"], store.features["words"]
        own = "" if heads.fingerprint() == encoders.clip.base.fingerprint() else heads.fingerprint()
        trained = load_adapter(None, encoders.preset, old.widths, old.encoders, heads=own)
        if fusion is not None:
            config = replace(trained.config, name=OWN, encoders={**old.encoders, "projections": own})
            trained = replace(trained, config=config, fusion=fusion, folder=out / OWN)
        anchored = anchors(heads, values["image"], pictured, words["values"], words["present"].astype(bool))
        kept = encodings.kept(out, old, old.encoders)
        encodings.put_aside(out, kept, [p.hashes for p in payloads], old.encoders)
        (out / MANIFEST).unlink()
        if own:
            projection.save(heads, out / HEADS, clip=encoders.clip.fingerprint)
        if fusion is not None:
            adapters.save(trained, out / OWN)
        derive(out, payloads, values, anchored, trained, heads, encoders)
        name, print_ = trained.config.name, trained.fingerprint
        write_manifest(out, replace(old, heads=own, adapter=name, adapter_fingerprint=print_, files=_file_hashes(out), blend={}))
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        _open_chroma(out)


def _old_manifest(out: Path) -> Manifest | None:
    """The manifest that is there; one of another schema counts as none, and says so."""
    if not (out / MANIFEST).is_file():
        return None
    try:
        return read_manifest(out)
    except IndexStateError as error:
        log.warning("%s: everything is encoded again", error)
        return None


def _remove_adaptation(out: Path, old: Manifest | None) -> None:
    """What `mmllm adapt` put into the index and no longer holds is removed, and that is said."""
    for left in (out / HEADS, out / OWN):
        if left.exists():
            why = "it belongs to other encoders" if old is not None else "no finished index names it"
            log.warning("%s is removed (%s): run `mmllm adapt %s` again", left, why, out)
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _manifest_inputs(
    source: Path, cat: catalog.Catalog, preset: str, fingerprints: Mapping[str, str], trained: adapters.Adapter
) -> dict[str, Any]:
    counts = {"items": len(cat.items), "image": sum(bool(i.image) for i in cat.items)}
    counts["audio"] = sum(bool(i.audio) for i in cat.items)
    return {
        "catalog": str(source),
        "catalog_hash": catalog.catalog_hash(cat.items),
        "preset": preset,
        "encoders": dict(fingerprints),
        "adapter": OWN if trained.folder and trained.folder.name == OWN else str(trained.folder or trained.config.name),
        "adapter_fingerprint": trained.fingerprint,
        "counts": counts,
    }


def _open_chroma(out: Path) -> None:
    open_vectors(Store(out)).close()


def _write(
    out: Path,
    items: Sequence[Item],
    hashes: Sequence[Mapping[str, str]],
    known: Mapping[str, Mapping[str, Encoded]],
    trained: adapters.Adapter,
    heads: Heads,
    encoders: Encoders,
) -> None:
    (out / MANIFEST).unlink(missing_ok=True)  # from here until the new one is written, the index says it is unfinished
    n, sizes = len(items), trained.fusion.config.widths
    values = {m: np.zeros((n, w), dtype=np.float32) for m, w in zip(MODALITIES, sizes, strict=False)}
    present = np.zeros((n, len(MODALITIES)), dtype=bool)
    words = np.zeros((n, len(WORDED), heads.text.shape[1]), dtype=np.float32)
    worded = np.zeros((n, len(WORDED)), dtype=bool)
    payloads = []
    for row, (item, own) in enumerate(zip(items, hashes, strict=True)):
        for m, modality in enumerate(MODALITIES):
            if modality in own:
                encoded = known[modality][own[modality]]
                values[modality][row], present[row, m] = encoded.vectors["values"], True
                if "words" in encoded.vectors:
                    w = WORDED.index(modality)
                    words[row, w], worded[row, w] = encoded.vectors["words"], True
        transcript = known["audio"][own["audio"]].transcript if "audio" in own else Transcript()
        caption = known["image"][own["image"]].caption if "image" in own else Caption()
        payloads.append(Payload(item, transcript, caption, own))
    for m, modality in enumerate(MODALITIES):
        save_arrays(out / "features" / f"{modality}.safetensors", {"values": values[modality], "present": present[:, m]})
    save_arrays(out / "features" / "words.safetensors", {"values": words, "present": worded})
    derive(out, payloads, values, anchors(heads, values["image"], present[:, 1], words, worded), trained, heads, encoders)


def _interactions_hash(source: Path) -> str:
    file = source / interactions.FILE
    return catalog.file_sha256(file) if file.is_file() else ""


def _write_together(rated: interactions.Interactions | None, out: Path, items: Sequence[Item]) -> None:
    (out / COLLABORATIVE).unlink(missing_ok=True)
    if rated is not None:
        save_npz(out / COLLABORATIVE, together(rated, [i.id for i in items]))


def _file_hashes(out: Path) -> dict[str, str]:
    files = [out / "items.parquet", out / "fused.safetensors", *sorted((out / "features").glob("*.safetensors"))]
    files += [
        f
        for f in (out / HEADS, out / COLLABORATIVE, out / OWN / "mmllm.json", out / OWN / "fusion" / "model.safetensors")
        if f.is_file()
    ]
    return {str(f.relative_to(out)): catalog.file_sha256(f) for f in files}
