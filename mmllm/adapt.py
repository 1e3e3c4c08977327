"""Adapt CLIP's two projections to one catalog, without labels: its own pictures, words and voices are the pairs.

Towers stay frozen, and what they made of the catalog lies in the index, so that nothing is encoded but the titles. A part of the catalog
is held out; the change is kept only if recall on it improves.
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
from mmllm.build import refit
from mmllm.contrast import Contrast, fit, ranks, recall
from mmllm.encoders import Encoders
from mmllm.errors import IndexStateError, QueryError
from mmllm.projection import Heads
from mmllm.store import Store, check_encoders
from mmllm.types import Item, Progress

LEAST = 60
"""Fewer items with a picture and words than this are no basis for training and holding out."""


@dataclass(frozen=True)
class AdaptReport:
    """Recall on the items held out, before and after; `kept` says whether the index was changed."""

    trained_on: int
    held_out: int
    before: dict[str, float]
    after: dict[str, float]
    kept: bool
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
    test: Sequence[str] | None = None,
    progress: Progress = lambda stage, done, of: None,
) -> AdaptReport:
    """Train projections on an index and write them into it if held-out recall improves.

    `share` of the items is held out, or the ids in `test`; no title of theirs is trained on. Kept if the mean of text-to-image and
    image-to-text recall@10 rises. IndexStateError for too few items, QueryError for a test item without picture or words.
    """
    started = time.monotonic()
    store = Store(index)
    encoders = Encoders(settings.preset(store.manifest.preset), heads=store.heads)
    check_encoders(store.manifest, encoders.fingerprints())
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
    titles = encoders.clip.text_features([store.items[r].title for r in rows])
    title = dict(zip(rows, titles, strict=True))
    progress("titles", len(rows), len(rows))
    start = encoders.clip.heads
    tested = pictures["values"][held], np.stack([title[r] for r in held])
    before = recall(ranks(start, *tested))
    found = _train(start, train, store, title, training or Contrast(learning_rate=3e-3), progress)
    after = recall(ranks(found, *tested))
    kept = _mean(after) > _mean(before)
    if kept:
        refit(index, found, encoders)
    return AdaptReport(len(train), len(held), before, after, kept, round(time.monotonic() - started, 1))


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
