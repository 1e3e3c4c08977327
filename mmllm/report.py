"""The quality of a catalog: what an encoder could not read, would read wrongly, or would read twice.

`examine` decodes every picture and sound once and returns a `Report`: counts, the mix of languages, and one `Finding` for each
item and rule that it breaks, with what was measured and the limit. Nothing is changed or left out; `report_page.py` draws it.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmllm import catalog, near_duplicates, settings
from mmllm.errors import CatalogError, MediaError, MediaTooLongError
from mmllm.media import decode_audio, load_image
from mmllm.quality import BLANK, CLIP_RUN, CLIPPED, FULL_SCALE, LANGUAGES, RULES, SILENT, SURE, TINY, UNSURE, Finding, Report
from mmllm.types import MODALITIES, Item, PathLike, Progress


def examine(folder: PathLike, *, progress: Progress = lambda stage, done, of: None) -> Report:
    """Read a whole catalog. Raises CatalogError where there is no catalog or no usable item in it."""
    cat = catalog.validate(folder)
    if not cat.items:
        raise CatalogError(
            f"{cat.folder / catalog.FILE} has no usable item", expected="at least one", do="see `mmllm data validate`"
        )
    findings = [Finding("unusable_line", f"line {p.line}", f"{p.field}: {p.message}", "none") for p in cat.problems]
    findings += _titles(cat.items)
    findings += [
        Finding("empty_text", i.id, 0, RULES["empty_text"].limit) for i in cat.items if not any(c.isalnum() for c in i.text)
    ]
    findings += _pictures(cat, progress)
    findings += _sounds(cat, progress)
    languages = [language(f"{i.title}. {i.text}") for i in cat.items]
    examples: dict[str, list[str]] = {}
    for item, code in zip(cat.items, languages, strict=True):
        if len(own := examples.setdefault(code, [])) < 3:
            own.append(item.title)
    has = [{"text": bool(i.text), "image": bool(i.image), "audio": bool(i.audio)} for i in cat.items]
    order = {kind: n for n, kind in enumerate(RULES)}
    return Report(
        catalog=str(cat.folder),
        catalog_hash=catalog.catalog_hash(cat.items),
        items=len(cat.items),
        modalities={m: sum(h[m] for h in has) for m in MODALITIES},
        combinations=dict(Counter("+".join(m for m in MODALITIES if h[m]) or "title alone" for h in has).most_common()),
        languages=dict(Counter(languages).most_common()),
        examples={code: tuple(titles) for code, titles in examples.items()},
        findings=tuple(sorted(findings, key=lambda f: order[f.kind])),
    )


# ---- words -------------------------------------------------------------------------------------------------------


def _titles(items: Sequence[Item]) -> Iterator[Finding]:
    same: dict[str, list[Item]] = {}
    for item in items:
        same.setdefault(" ".join(item.title.casefold().split()), []).append(item)
    for number, group in enumerate((g for g in same.values() if len(g) > 1), start=1):
        for item in group:
            yield Finding("duplicate_title", item.id, len(group), RULES["duplicate_title"].limit, item.image, number)


def language(text: str) -> str:
    """ISO code of the text's language, or "unsure".

    >>> language("Una chaqueta de cuero negra para hombre"), language("Nike Air Max 90"), language("12345")
    ('es', 'unsure', 'unsure')
    """
    code, confidence = _identifier().classify(text)
    return code if confidence >= SURE and any(c.isalpha() for c in text) else UNSURE


@cache
def _identifier() -> Any:
    """py3langid's own model, kept: loading it takes a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES.split())
    return identifier


# ---- pictures and sounds -----------------------------------------------------------------------------------------


def _each(work: Callable[[Path], Any], files: Sequence[Path], stage: str, progress: Progress) -> Iterator[Any]:
    """`work` on every file, in order, in as many threads as there are cores (PIL and libsndfile let go of Python's lock)."""
    threads = settings.threads()
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        rest = iter(files)
        for done in range(1, len(files) + 1):
            while len(waiting) < 4 * threads and (file := next(rest, None)) is not None:
                waiting.append(pool.submit(work, file))
            yield waiting.popleft().result()
            if done % 32 == 0 or done == len(files):
                progress(stage, done, len(files))


@dataclass(frozen=True)
class _Picture:
    error: str = ""
    size: tuple[int, int] = (0, 0)
    spread: float = 0.0
    signature: near_duplicates.Signature | None = None


def _look(file: Path) -> _Picture:
    try:
        image = load_image(file)
    except MediaError as error:
        return _Picture(error=str(error))
    spread = float(np.asarray(image).std(axis=(0, 1)).max())
    return _Picture("", image.size, spread, near_duplicates.signature(image) if spread >= BLANK else None)


def _pictures(cat: catalog.Catalog, progress: Progress) -> Iterator[Finding]:
    items = [i for i in cat.items if i.image]
    shown: list[Item] = []
    signatures: list[near_duplicates.Signature] = []
    for item, seen in zip(items, _each(_look, [cat.folder / str(i.image) for i in items], "image", progress), strict=True):
        if seen.error:
            yield Finding("unreadable_image", item.id, _short(seen.error, cat.folder), "none", item.image)
            continue
        if seen.signature is None:
            yield Finding("blank_image", item.id, round(seen.spread, 2), RULES["blank_image"].limit, item.image)
        else:
            shown.append(item)
            signatures.append(seen.signature)
        if max(seen.size) < TINY:
            yield Finding("tiny_image", item.id, max(seen.size), RULES["tiny_image"].limit, item.image)
    for number, group in enumerate(near_duplicates.groups(signatures), start=1):
        kind = "near_duplicate_image" if group.same_colours else "other_colours"
        for row, difference in zip(group.rows, group.differences, strict=True):
            yield Finding(kind, shown[row].id, round(difference, 3), RULES[kind].limit, shown[row].image, number)


def _sounds(cat: catalog.Catalog, progress: Progress) -> Iterator[Finding]:
    pairs = [(item, file) for item in cat.items for file in item.audio]
    for (item, file), found in zip(pairs, _each(_listen, [cat.folder / f for _, f in pairs], "audio", progress), strict=True):
        for kind, measured in found:
            value = _short(measured, cat.folder) if isinstance(measured, str) else measured
            yield Finding(kind, item.id, value, RULES[kind].limit, file)


def _listen(file: Path) -> list[tuple[str, float | str]]:
    try:
        rate, samples, _ = decode_audio(file)
    except MediaTooLongError as error:
        return [("long_audio", str(error))]
    except MediaError as error:
        return [("unreadable_audio", str(error))]
    if samples.size == 0 or not np.isfinite(samples).all():
        return [("unreadable_audio", "no sample, or samples that are not numbers")]
    found: list[tuple[str, float | str]] = []
    channels = samples.reshape(len(samples), -1)
    if (loudest := loudest_db(channels, rate)) < SILENT:
        found.append(("silent_audio", round(loudest, 1)))
    if (clipped := clipped_percent(channels)) >= CLIPPED:
        found.append(("clipped_audio", round(clipped, 2)))
    return found


def loudest_db(samples: np.ndarray, rate: int) -> float:
    """RMS of the loudest 50 ms of any channel, dB of full scale, at least -120: samples [n, channels] in [-1, 1].

    >>> round(loudest_db(np.full((800, 1), 0.1), 16000), 1)
    -20.0
    """
    size = max(1, min(len(samples), rate // 20))
    whole = samples[: len(samples) // size * size].reshape(-1, size, samples.shape[1])
    power = float(np.square(whole, dtype=np.float64).mean(axis=1).max())
    return 10 * float(np.log10(max(power, 1e-12)))


def clipped_percent(samples: np.ndarray) -> float:
    """% of samples that stand in runs of 3 or more at full scale, in the worst channel: [n, channels].

    >>> clipped_percent(np.array([[0.0], [1.0], [1.0], [1.0], [0.5], [-1.0], [-1.0], [0.2], [0.1], [0.0]]))
    30.0
    """
    worst = 0.0
    for channel in samples.T:
        at = np.concatenate([[0], np.abs(channel) >= FULL_SCALE, [0]]).astype(np.int8)
        edges = np.diff(at)
        runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        worst = max(worst, 100 * float(runs[runs >= CLIP_RUN].sum()) / len(channel))
    return worst


def _short(message: str, folder: Path) -> str:
    """The message without the folder in front of every file name."""
    return message.replace(f"{folder}{os.sep}", "")
