"""What was encoded of a catalog, and encoding the rest: by content hash, from the index that is there and from chunks kept under `.partial/`.

After a crash, as after an edit, only what is new is encoded.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmllm import catalog, settings
from mmllm.encoders import Encoders
from mmllm.media import load_audio, load_image
from mmllm.store import Manifest, Store, read_payloads
from mmllm.types import MODALITIES, Caption, Item, Progress, Segment, Transcript

log = logging.getLogger(__name__)
WORDED = ("text", "audio")
"""The modalities that hold words for CLIP's text tower: what is written and what was said."""
PARTIAL = ".partial"
CHUNK = {"text": 256, "image": 64, "audio": 16}


@dataclass(frozen=True)
class Encoded:
    """One modality of one item: named vectors, a transcript where it is a sound, a caption where a model wrote one."""

    vectors: Mapping[str, np.ndarray]
    transcript: Transcript = Transcript()
    caption: Caption = Caption()


def content_hashes(item: Item, source: Path, language: str | None) -> dict[str, str]:
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


def kept(out: Path, old: Manifest | None, fingerprints: Mapping[str, str]) -> dict[str, dict[str, Encoded]]:
    """Modality -> content hash -> vectors, from the index that is there, where the encoder is still the same."""
    found: dict[str, dict[str, Encoded]] = {m: {} for m in MODALITIES}
    if old is None or dict(old.encoders) != dict(fingerprints):
        return found
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
                found[modality][payload.hashes[modality]] = Encoded(vectors, transcript, caption)
    except (OSError, SafetensorError, KeyError) as error:
        log.warning("the index in %s cannot be read (%s): everything is encoded again", out, error)
        return {m: {} for m in MODALITIES}
    return found


def with_partial(
    known: Mapping[str, Mapping[str, Encoded]], out: Path, fingerprints: Mapping[str, str]
) -> dict[str, dict[str, Encoded]]:
    """The same, with what a build that did not end left under `.partial/`."""
    return {m: {**known[m], **_read_partial(out, m, fingerprints)} for m in MODALITIES}


def put_aside(
    out: Path,
    held: Mapping[str, Mapping[str, Encoded]],
    hashes: Sequence[Mapping[str, str]],
    fingerprints: Mapping[str, str],
) -> None:
    """Before an index is unmade: what it alone holds of these items goes under `.partial/`, so that a crash loses no encoding."""
    for modality in MODALITIES:
        used = {own[modality] for own in hashes if modality in own}
        if spare := {h: e for h, e in held[modality].items() if h in used}:
            _write_partial(out, modality, fingerprints, spare)


def _partial_key(fingerprints: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(fingerprints), sort_keys=True).encode()).hexdigest()[:16]


def _read_partial(out: Path, modality: str, fingerprints: Mapping[str, str]) -> dict[str, Encoded]:
    found: dict[str, Encoded] = {}
    for file in sorted((out / PARTIAL / _partial_key(fingerprints)).glob(f"{modality}-*.safetensors")):
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
    folder = out / PARTIAL / _partial_key(fingerprints)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{h}/{n}": np.ascontiguousarray(v) for h, e in chunk.items() for n, v in e.vectors.items()}
    said = {h: asdict(e.transcript) | {"caption": asdict(e.caption)} for h, e in chunk.items()}
    file = folder / f"{modality}-{hashlib.sha256(''.join(chunk).encode()).hexdigest()[:12]}.safetensors"
    part = file.with_suffix(".part")
    save_file(tensors, part, metadata={"said": json.dumps(said)})
    part.rename(file)


def encode_missing(
    cat: catalog.Catalog,
    hashes: Sequence[Mapping[str, str]],
    known: dict[str, dict[str, Encoded]],
    encoders: Encoders,
    fingerprints: Mapping[str, str],
    out: Path,
    *,
    language: str | None,
    progress: Progress,
) -> dict[str, int]:
    """Encode what is not known, chunk by chunk, into `known` and into files under `.partial/`; how many items a modality took."""
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
