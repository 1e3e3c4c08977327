"""What follows from an index's features without encoding an item: anchors, fused vectors, phrase captions, word index, Chroma.

A new projection or adapter changes all of it and nothing below it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmllm import adapter as adapters
from mmllm import settings, weights
from mmllm.caption import PhraseCaptioner
from mmllm.encoders import Encoders
from mmllm.fusion import FusionConfig
from mmllm.lexical import Bm25
from mmllm.projection import Heads
from mmllm.retrieve import spaces
from mmllm.store import Manifest, Payload, Store, save_arrays, write_payloads
from mmllm.types import MODALITIES, Caption
from mmllm.vector_store import VectorStore

log = logging.getLogger(__name__)
OWN = "adapted"
"""The name of an index's own adapter, and of its folder there."""


def adapter_folder(index: Path, name: str) -> Path | None:
    """Where the adapter that a manifest names lies: beside the index's files if `mmllm adapt` made it; None for the untrained one."""
    return {"untrained": None, OWN: index / OWN}.get(name, Path(name))


def load_adapter(
    folder: Path | None, preset: settings.Preset, widths: Mapping[str, int], fingerprints: Mapping[str, str], *, heads: str
) -> adapters.Adapter:
    """The adapter in that folder, or the untrained one of the preset; `widths` and `heads` as in the manifest.

    AdapterError for one that was trained over other projections: its anchors were others.
    """
    lm_fingerprint = weights.fingerprint(weights.path(preset.lm))
    if folder is not None:
        return adapters.load(folder, lm_fingerprint=lm_fingerprint, encoders={**fingerprints, "projections": heads})
    width, norm = weights.embedding_shape(preset.lm)
    config = FusionConfig(
        widths=tuple(widths[m] for m in MODALITIES),
        width=widths["shared"],
        soft_tokens=preset.soft_tokens,
        lm_width=width,
        soft_norm=round(norm, 6),
    )
    return adapters.untrained(config, lm=preset.lm, lm_fingerprint=lm_fingerprint, encoders=fingerprints)


@dataclass(frozen=True)
class Weight:
    """The LM's weight w, and where it is from."""

    value: float
    source: Literal["adapter", "requests", "none"]
    """The adapter brings its own; it was chosen on requests made from the catalog; nobody chose one, and the LM does not rank."""


def lm_weight(index: Path, manifest: Manifest) -> Weight:
    """The weight that an index is opened with, unless the caller says another."""
    folder = adapter_folder(index, manifest.adapter)
    own = adapters.read_config(folder).blend if folder is not None else None
    if own is not None:
        return Weight(float(own), "adapter")
    chosen = manifest.blend.get("weight")
    return Weight(0.0, "none") if chosen is None else Weight(float(chosen), "requests")


def derive(
    out: Path,
    payloads: Sequence[Payload],
    values: Mapping[str, np.ndarray],
    anchored: tuple[np.ndarray, np.ndarray],
    trained: adapters.Adapter,
    heads: Heads,
    encoders: Encoders,
) -> None:
    """What follows from features and projections without encoding an item: anchors, fused vectors, phrase captions, BM25."""
    anchor, present = anchored
    save_arrays(out / "features" / "anchor.safetensors", {"values": anchor, "present": present})
    save_arrays(out / "fused.safetensors", fuse_all(trained, [p.item.id for p in payloads], values, anchor, present))
    if not encoders.preset.captioner:
        payloads = phrase_captions(out, payloads, values["image"], present[:, 1], heads, encoders)
    write_payloads(out / "items.parquet", payloads)
    Bm25.build(payloads, out / "bm25")


def phrase_captions(
    out: Path, payloads: Sequence[Payload], features: np.ndarray, pictured: np.ndarray, heads: Heads, encoders: Encoders
) -> list[Payload]:
    """Payloads with captions by PhraseCaptioner; the phrases' features are kept beside, for they change with the attributes only."""

    def encode_texts(texts: Sequence[str]) -> np.ndarray:
        key = hashlib.sha256("\n".join([encoders.clip.fingerprint, *texts]).encode()).hexdigest()
        file = out / "phrases.safetensors"
        if file.is_file():
            try:
                with safe_open(file, framework="numpy") as kept:
                    if kept.metadata().get("key") == key:
                        return heads.project(kept.get_tensor("features"), "text")
            except SafetensorError as error:
                log.warning("%s is damaged (%s): the phrases are encoded again", file, error)
        features = encoders.clip.text_features(texts)
        save_file({"features": features}, file, metadata={"key": key})
        return heads.project(features, "text")

    captioner = PhraseCaptioner(
        [p.item for p in payloads],
        features,
        pictured,
        encode_images=lambda pictures: encoders.clip.image_features(pictures),  # loads the CLIP only when asked
        project=lambda rows: heads.project(rows, "image"),
        encode_texts=encode_texts,
        name=encoders.preset.clip,
    )
    captions = captioner.known_captions()
    return [replace(p, caption=captions.get(n, Caption())) for n, p in enumerate(payloads)]


def anchors(
    heads: Heads, image: np.ndarray, pictured: np.ndarray, words: np.ndarray, worded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features of CLIP's towers -> every modality in the shared space: values [N, M, D] and present [N, M].

    image: [N, D_image], pictured: [N]; words: [N, 2, D_clip_text] of text and transcript, worded: [N, 2].
    """
    values = np.zeros((len(image), len(MODALITIES), heads.image.shape[0]), dtype=np.float32)
    present = np.stack([worded[:, 0], pictured.astype(bool), worded[:, 1]], axis=1)
    values[:, 0], values[:, 2] = heads.project(words[:, 0], "text"), heads.project(words[:, 1], "text")
    values[:, 1] = heads.project(image, "image")
    return values * present[..., None], present


def fuse_all(
    trained: adapters.Adapter, ids: Sequence[str], values: Mapping[str, np.ndarray], anchor: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """All items through the fusion: pooled [N, D], soft [N, K, H], shares [N, inputs of the fusion].

    A modality takes part when it has an anchor: a sound without speech has none in the shared space, and until a fusion is trained
    on it, it is searched by its own states alone.
    """
    values, mask = dict(values), present
    if trained.factors is not None:
        values["collaborative"], known = trained.factors.of(ids)
        mask = np.concatenate([present, known[:, None]], axis=1)
    parts: dict[str, list[np.ndarray]] = {"pooled": [], "soft": [], "shares": []}
    with torch.inference_mode():
        for start in range(0, len(anchor), 1024):
            rows = slice(start, start + 1024)
            features = {m: torch.from_numpy(v[rows]) for m, v in values.items()}
            fused = trained.fusion(features, torch.from_numpy(anchor[rows]), torch.from_numpy(mask[rows]))
            for name, tensor in (("pooled", fused.pooled), ("soft", fused.soft), ("shares", fused.shares)):
                parts[name].append(tensor.numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def chroma_fingerprint(manifest: Manifest) -> str:
    """What Chroma's copy has to match: the vectors and the attributes."""
    return hashlib.sha256(json.dumps(dict(manifest.files), sort_keys=True).encode()).hexdigest()


def open_vectors(store: Store) -> VectorStore:
    """The index's Chroma, rebuilt if it has to be."""
    return VectorStore.open(
        store.folder / "chroma",
        fingerprint=chroma_fingerprint(store.manifest),
        spaces=spaces(store),
        items={i.id: i for i in store.items},
    )
