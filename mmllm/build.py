"""Build an index: encode what is new, fuse, write files, then BM25 and Chroma. Incremental by content hash and resumable.

What was encoded is kept chunk by chunk under `.partial/`; after a crash, as after an edit, only the rest is encoded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.sparse import save_npz

from mmllm import adapter as adapters
from mmllm import catalog, interactions, projection, settings
from mmllm.caption import VERSION as CAPTIONS
from mmllm.collaborative import together
from mmllm.derive import OWN, anchors, derive, load_adapter, open_vectors
from mmllm.encoders import Encoders
from mmllm.errors import IndexStateError
from mmllm.fusion import AttentionFusion
from mmllm.media import load_audio, load_image
from mmllm.projection import Heads
from mmllm.retrieve import Bm25
from mmllm.store import (
    COLLABORATIVE,
    HEADS,
    MANIFEST,
    Manifest,
    Payload,
    Store,
    read_manifest,
    read_payloads,
    save_arrays,
    write_manifest,
    writer_lock,
)
from mmllm.types import MODALITIES, Caption, Item, Progress, Segment, Transcript

log = logging.getLogger(__name__)
WORDED = ("text", "audio")
"""The modalities that hold words for CLIP's text tower: what is written and what was said."""
CHUNK = {"text": 256, "image": 64, "audio": 16}


@dataclass(frozen=True)
class BuildReport:
    """What a build did: items in all, and how many were encoded per modality."""

    items: int
    encoded: Mapping[str, int]
    skipped: int
    changed: bool


@dataclass(frozen=True)
class Encoded:
    """One modality of one item: named vectors, a transcript where it is a sound, a caption where a model wrote one."""

    vectors: Mapping[str, np.ndarray]
    transcript: Transcript = Transcript()
    caption: Caption = Caption()


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
    chosen = settings.preset(preset)
    encoders = Encoders(chosen)
    fingerprints = encoders.fingerprints()
    with writer_lock(out):
        old = _old_manifest(out)
        if old is not None and Store(out).problems():
            log.warning("the index in %s is damaged: everything is encoded again", out)
            old = None
        kept = _kept(out, old, fingerprints)
        known = {m: dict(kept[m]) for m in MODALITIES}
        for modality in MODALITIES:
            known[modality].update(_read_partial(out, modality, fingerprints))
        hashes = [_hashes(item, source, speech_language) for item in cat.items]
        encoded = _encode_missing(cat, hashes, known, encoders, fingerprints, out, speech_language, progress)
        same = old is not None and dict(old.encoders) == dict(fingerprints)
        widths = old.widths if old is not None and same else encoders.widths()
        adapted = _kept_adaptation(out, old, same=same)
        heads = old.heads if old is not None and adapted else ""
        if adapter is None and old is not None and adapted and old.adapter == OWN:
            adapter = out / OWN
        trained = load_adapter(adapter, chosen, widths, fingerprints, heads=heads)
        current = _manifest_inputs(source, cat, preset, fingerprints, trained)
        current |= {"widths": dict(widths), "heads": heads, "captions": CAPTIONS, "interactions": _interactions_hash(source)}
        if old is not None and not any(encoded.values()) and all(getattr(old, k) == v for k, v in current.items()):
            Bm25.open(Store(out).payloads, out / "bm25")
            _open_chroma(out)
            shutil.rmtree(out / ".partial", ignore_errors=True)
            return BuildReport(len(cat.items), encoded, len(cat.problems), False)
        same_tastes = (
            old is not None
            and old.interactions == current["interactions"]
            and [i.id for i in Store(out).items] == [i.id for i in cat.items]
        )
        _put_aside(out, kept, hashes, fingerprints)
        base = encoders.clip.base
        used = projection.load(out / HEADS, clip=encoders.clip.fingerprint, like=base) if heads else base
        _write(out, cat.items, hashes, known, trained, used, encoders)
        if not same_tastes:
            _write_together(source, out, cat.items)
        # The LM's weight belongs to the language model and the adapter; another catalog does not unmake it.
        keep_blend = old is not None and old.adapter_fingerprint == current["adapter_fingerprint"]
        blend = dict(old.blend) if old is not None and keep_blend else {}
        write_manifest(out, Manifest(**current, files=_file_hashes(out), blend=blend))
        shutil.rmtree(out / ".partial", ignore_errors=True)
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
        _put_aside(out, _kept(out, old, old.encoders), [p.hashes for p in payloads], old.encoders)
        (out / MANIFEST).unlink()
        if own:
            projection.save(heads, out / HEADS, clip=encoders.clip.fingerprint)
        if fusion is not None:
            adapters.save(trained, out / OWN)
        derive(out, payloads, values, anchored, trained, heads, encoders)
        name, print_ = trained.config.name, trained.fingerprint
        write_manifest(out, replace(old, heads=own, adapter=name, adapter_fingerprint=print_, files=_file_hashes(out), blend={}))
        shutil.rmtree(out / ".partial", ignore_errors=True)
        _open_chroma(out)


def _put_aside(
    out: Path,
    kept: Mapping[str, Mapping[str, Encoded]],
    hashes: Sequence[Mapping[str, str]],
    fingerprints: Mapping[str, str],
) -> None:
    """What follows unmakes the old index: what it alone holds of these items is put aside, so that a crash loses no encoding."""
    for modality in MODALITIES:
        used = {own[modality] for own in hashes if modality in own}
        if spare := {h: e for h, e in kept[modality].items() if h in used}:
            _write_partial(out, modality, fingerprints, spare)


def _old_manifest(out: Path) -> Manifest | None:
    """The manifest that is there; one of another schema counts as none, and says so."""
    if not (out / MANIFEST).is_file():
        return None
    try:
        return read_manifest(out)
    except IndexStateError as error:
        log.warning("%s: everything is encoded again", error)
        return None


def _kept_adaptation(out: Path, old: Manifest | None, *, same: bool) -> bool:
    """Whether what `mmllm adapt` put into the index still holds; it is removed, and that is said, where it does not."""
    if old is not None and (old.heads or old.adapter == OWN) and same:
        return True
    for left in (out / HEADS, out / OWN):
        if left.exists():
            why = "it belongs to other encoders" if old is not None else "no finished index names it"
            log.warning("%s is removed (%s): run `mmllm adapt %s` again", left, why, out)
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return False


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


# ---- content hashes and what is known already --------------------------------------------------------------------


def _hashes(item: Item, source: Path, language: str | None) -> dict[str, str]:
    """Modality -> hash of what its encoder would read; a modality the item lacks has none."""
    out = {"text": hashlib.sha256(catalog.document(item).encode()).hexdigest()}
    if item.image:
        out["image"] = catalog.file_sha256(source / item.image)
    if item.audio:
        digest = hashlib.sha256(str(language).encode())
        for file in item.audio:
            digest.update(file.encode() + catalog.file_sha256(source / file).encode())
        out["audio"] = digest.hexdigest()
    return out


def _kept(out: Path, old: Manifest | None, fingerprints: Mapping[str, str]) -> dict[str, dict[str, Encoded]]:
    """Modality -> content hash -> vectors, from the index that is there, where the encoder is still the same."""
    kept: dict[str, dict[str, Encoded]] = {m: {} for m in MODALITIES}
    if old is None or dict(old.encoders) != dict(fingerprints):
        return kept
    try:
        store = Store(out)
        words = store.features["words"]
        for row, payload in enumerate(read_payloads(out / "items.parquet")):
            for modality in MODALITIES:
                if modality not in payload.hashes:
                    continue
                vectors = {"values": store.features[modality]["values"][row]}
                if modality in WORDED and words["present"][row, WORDED.index(modality)]:
                    vectors["words"] = words["values"][row, WORDED.index(modality)]
                transcript = payload.transcript if modality == "audio" else Transcript()
                caption = payload.caption if modality == "image" else Caption()
                kept[modality][payload.hashes[modality]] = Encoded(vectors, transcript, caption)
    except (OSError, SafetensorError, KeyError) as error:
        log.warning("the index in %s cannot be read (%s): everything is encoded again", out, error)
        return {m: {} for m in MODALITIES}
    return kept


def _partial_key(fingerprints: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(fingerprints), sort_keys=True).encode()).hexdigest()[:16]


def _read_partial(out: Path, modality: str, fingerprints: Mapping[str, str]) -> dict[str, Encoded]:
    found: dict[str, Encoded] = {}
    for file in sorted((out / ".partial" / _partial_key(fingerprints)).glob(f"{modality}-*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name, text in json.loads(tensors.metadata()["said"]).items():
                    segments = tuple(Segment(**s) for s in text["segments"])
                    caption = Caption(**(text["caption"] | {"phrases": tuple(text["caption"]["phrases"])}))
                    vectors = {"values": tensors.get_tensor(f"{name}/values")}
                    if f"{name}/words" in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                        vectors["words"] = tensors.get_tensor(f"{name}/words")
                    found[name] = Encoded(vectors, Transcript(text["language"], segments), caption)
        except SafetensorError as error:
            log.warning("%s is damaged (%s): its items are encoded again", file, error)
    return found


def _write_partial(out: Path, modality: str, fingerprints: Mapping[str, str], chunk: Mapping[str, Encoded]) -> None:
    folder = out / ".partial" / _partial_key(fingerprints)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{h}/{n}": np.ascontiguousarray(v) for h, e in chunk.items() for n, v in e.vectors.items()}
    said = {h: asdict(e.transcript) | {"caption": asdict(e.caption)} for h, e in chunk.items()}
    file = folder / f"{modality}-{hashlib.sha256(''.join(chunk).encode()).hexdigest()[:12]}.safetensors"
    part = file.with_suffix(".part")
    save_file(tensors, part, metadata={"said": json.dumps(said)})
    part.rename(file)


# ---- encoding ----------------------------------------------------------------------------------------------------


def _encode_missing(
    cat: catalog.Catalog,
    hashes: Sequence[Mapping[str, str]],
    known: dict[str, dict[str, Encoded]],
    encoders: Encoders,
    fingerprints: Mapping[str, str],
    out: Path,
    language: str | None,
    progress: Progress,
) -> dict[str, int]:
    counts = {}
    for modality in MODALITIES:
        todo: dict[str, Item] = {}
        for item, own in zip(cat.items, hashes, strict=True):
            if modality in own and own[modality] not in known[modality]:
                todo.setdefault(own[modality], item)
        pending = list(todo.items())
        for start in range(0, len(pending), CHUNK[modality]):
            part = pending[start : start + CHUNK[modality]]
            chunk = dict(zip((h for h, _ in part), _encode(modality, [i for _, i in part], cat, encoders, language), strict=True))
            _write_partial(out, modality, fingerprints, chunk)
            known[modality].update(chunk)
            progress(modality, start + len(part), len(pending))
        counts[modality] = len(pending)
    return counts


def _encode(
    modality: str, items: Sequence[Item], cat: catalog.Catalog, encoders: Encoders, language: str | None
) -> list[Encoded]:
    if modality == "text":
        texts = [catalog.document(i) for i in items]
        rows = zip(encoders.text.encode(texts), encoders.clip.text_features(texts), strict=True)
        return [Encoded({"values": v, "words": w}) for v, w in rows]
    if modality == "image":
        with ThreadPoolExecutor(settings.threads()) as pool:
            pictures = list(pool.map(lambda i: load_image(cat.folder / str(i.image)), items))
        writer = encoders.captioner
        captions = writer.caption(pictures) if writer else [Caption()] * len(pictures)
        rows = zip(encoders.clip.image_features(pictures), captions, strict=True)
        return [Encoded({"values": v}, caption=c) for v, c in rows]
    return [_encode_sounds(item, cat.folder, encoders, language) for item in items]


def _encode_sounds(item: Item, folder: Path, encoders: Encoders, language: str | None) -> Encoded:
    """All recordings of an item: the mean state, and what was said in any of them."""
    states, segments, heard_language = [], list[Segment](), None
    for file in item.audio:
        heard = encoders.whisper.hear(load_audio(folder / file), language=language)
        states.append(heard.state)
        heard_language = heard_language or heard.transcript.language
        segments += [Segment(s.start, s.end, s.text, file) for s in heard.transcript.segments]
    transcript = Transcript(heard_language, tuple(segments))
    mean = np.mean(states, axis=0)
    vectors = {"values": (mean / np.linalg.norm(mean)).astype(np.float32)}
    if transcript.text and encoders.reads(transcript.text):
        vectors["words"] = encoders.clip.text_features([transcript.text])[0]
    return Encoded(vectors, transcript)


# ---- fusing and writing ------------------------------------------------------------------------------------------


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
    file = source / "interactions.csv"
    return catalog.file_sha256(file) if file.is_file() else ""


def _write_together(source: Path, out: Path, items: Sequence[Item]) -> None:
    (out / COLLABORATIVE).unlink(missing_ok=True)
    if _interactions_hash(source):
        save_npz(out / COLLABORATIVE, together(interactions.read(source), [i.id for i in items]))


def _file_hashes(out: Path) -> dict[str, str]:
    files = [out / "items.parquet", out / "fused.safetensors", *sorted((out / "features").glob("*.safetensors"))]
    files += [
        f
        for f in (out / HEADS, out / COLLABORATIVE, out / OWN / "mmllm.json", out / OWN / "fusion" / "model.safetensors")
        if f.is_file()
    ]
    return {str(f.relative_to(out)): catalog.file_sha256(f) for f in files}
