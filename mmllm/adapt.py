"""Adapt CLIP's two projections and the fusion to one catalog, without labels: its own pictures, words and voices are the pairs.

Towers stay frozen, and what they made of the catalog lies in the index, so that nothing is encoded but the titles. A part of the catalog
is held out; each change is kept only if recall on it improves.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mmllm import settings
from mmllm.align import Reading, Views, fit_fusion, gain, view_ranks
from mmllm.build import refit
from mmllm.contrast import Contrast, fit, ranks, recall
from mmllm.derive import OWN, adapter_folder, anchors, load_adapter
from mmllm.encoders import Encoders
from mmllm.errors import IndexStateError, QueryError
from mmllm.projection import Heads
from mmllm.store import Store, check_encoders
from mmllm.types import MODALITIES, Item, Progress

LEAST = 60
"""Fewer items with a picture and words than this are no basis for training and holding out."""


@dataclass(frozen=True)
class AdaptReport:
    """Recall on the items held out, before and after, of the projections alone and of the fusion over those that were taken.

    `kept` and `fusion_kept` say what of it the index now uses.
    """

    trained_on: int
    held_out: int
    before: dict[str, float]
    after: dict[str, float]
    kept: bool
    fusion_before: dict[str, float]
    fusion_after: dict[str, float]
    fusion_kept: bool
    seconds: float


def hold_out(items: Sequence[Item], rows: Sequence[int], share: float) -> tuple[list[int], list[int]]:
    """Rows to train on and rows held out: titles in the order of their sha256, so that no title stands on both sides."""
    key = {r: hashlib.sha256(items[r].title.casefold().encode()).hexdigest() for r in rows}
    order = sorted(rows, key=lambda r: (key[r], items[r].id))
    held = {key[r] for r in order[: max(1, round(len(rows) * share))]}
    return [r for r in rows if key[r] not in held], [r for r in rows if key[r] in held]


def adapt(
    index: Path,
    *,
    share: float = 0.1,
    training: Contrast | None = None,
    views: Views | None = None,
    test: Sequence[str] | None = None,
    progress: Progress = lambda stage, done, of: None,
) -> AdaptReport:
    """Train projections, then the fusion over them, on an index, and write into it what improves held-out recall.

    `share` of the items is held out, or the ids in `test`; no title of theirs is trained on. Kept if the mean of text-to-image and
    image-to-text recall@10 rises: for the fusion, of its pooled vectors of words alone and picture alone, and by more than a standard
    error, for without a gain the plain mean of the modalities is the safer choice. IndexStateError for too few
    items or an index with an adapter from elsewhere, QueryError for a test item without picture or words.
    """
    started = time.monotonic()
    store = Store(index)
    encoders = Encoders(settings.preset(store.manifest.preset), heads=store.heads)
    check_encoders(store.manifest, encoders.fingerprints())
    if store.manifest.adapter not in ("untrained", OWN):
        raise IndexStateError(
            f"{index} was built with adapter {store.manifest.adapter}, which was trained over the projections it has",
            do="build an index without --adapter and adapt that",
        )
    words, pictures = store.features["words"], store.features["image"]
    rows = np.flatnonzero(words["present"][:, 0].astype(bool) & pictures["present"].astype(bool)).tolist()
    if len(rows) < LEAST:
        raise IndexStateError(
            f"{index} has {len(rows)} items with a picture and words", expected=f"at least {LEAST}", do="adapt a larger catalog"
        )
    if test is None:
        train, held = hold_out(store.items, rows, share)
    else:
        held = store.rows(list(dict.fromkeys(test)))
        unfit = [store.items[r].id for r in held if r not in set(rows)]
        if unfit or not held:
            raise QueryError(f"test item {unfit[0]!r} has no picture or no words" if unfit else "no test item is named")
        titles_held = {store.items[r].title.casefold() for r in held}
        train = [r for r in rows if store.items[r].title.casefold() not in titles_held]
    if len(train) < LEAST // 2:
        raise IndexStateError(f"{len(train)} items are left to train on", expected=f"at least {LEAST // 2}", do="hold out fewer")
    named = [store.items[r].title for r in rows]
    title = dict(zip(rows, encoders.clip.text_features(named), strict=True))
    progress("titles", len(rows), len(rows))
    start = encoders.clip.heads
    tested = pictures["values"][held], np.stack([title[r] for r in held])
    before = recall(ranks(start, *tested))
    found = _train(start, train, store, title, training or Contrast(learning_rate=3e-3), progress)
    after = recall(ranks(found, *tested))
    kept = _mean(after) > _mean(before)
    heads = found if kept else start
    current = load_adapter(
        adapter_folder(index, store.manifest.adapter), encoders.preset, store.manifest.widths, store.manifest.encoders,
        heads=store.manifest.heads,
    ).fusion  # fmt: skip
    names = dict(zip(rows, encoders.text.encode(named, query=True), strict=True))
    by_title = _reading(store, heads, held, np.stack([names[r] for r in held]), tested[1])
    ranks_before = view_ranks(current, by_title)
    readings = [
        _reading(store, heads, train),
        _reading(store, heads, train, *(np.stack([d[r] for r in train]) for d in (names, title))),
    ]
    fused = fit_fusion(current, readings, views or Views(), progress=partial(progress, "fusion"))
    ranks_after = view_ranks(fused, by_title)
    more, noise = gain(ranks_before, ranks_after)
    fusion_kept = more > noise
    if kept or fusion_kept:
        own = fused if fusion_kept else current if store.manifest.adapter == OWN else None
        refit(index, heads, own, encoders)
    seconds = round(time.monotonic() - started, 1)
    return AdaptReport(
        len(train), len(held), before, after, kept, recall(ranks_before), recall(ranks_after), fusion_kept, seconds
    )  # fmt: skip


def _reading(
    store: Store, heads: Heads, rows: list[int], text: np.ndarray | None = None, words: np.ndarray | None = None
) -> Reading:
    """These rows as the fusion reads them; with another wording in place of their text: its text features and CLIP's of it."""
    values = {m: store.features[m]["values"][rows] for m in MODALITIES}
    spoken = store.features["words"]
    said, worded = spoken["values"][rows].copy(), spoken["present"][rows].astype(bool)
    if text is not None and words is not None:
        values["text"], said[:, 0] = text, words
    anchor, present = anchors(heads, values["image"], store.features["image"]["present"][rows], said, worded)
    return Reading({m: torch.from_numpy(v) for m, v in values.items()}, torch.from_numpy(anchor), torch.from_numpy(present))


def _mean(found: dict[str, float]) -> float:
    return (found["text_to_image_recall@10"] + found["image_to_text_recall@10"]) / 2


def _train(
    start: Heads, train: list[int], store: Store, title: dict[int, np.ndarray], training: Contrast, progress: Progress
) -> Heads:
    """Every item is a picture with several wordings: its title, its whole text, and what is said of it where there is a voice."""
    words = store.features["words"]
    wordings = np.stack([np.stack([title[r] for r in train]), words["values"][train, 0]], axis=1)
    spoken = words["present"][train, 1].astype(bool)
    third = np.where(spoken[:, None], words["values"][train, 1], wordings[:, 0])
    wordings = np.concatenate([wordings, third[:, None]], axis=1) if spoken.any() else wordings
    views = torch.from_numpy(store.features["image"]["values"][train][:, None])
    return fit(start, views, torch.from_numpy(wordings), training, progress=partial(progress, "train"))
