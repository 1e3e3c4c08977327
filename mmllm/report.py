"""`mmllm data report`: what is wrong with a catalog's content, though its lines are valid. Values first, then a table and a page.

Near-duplicate pictures are found by perceptual hash (ImageHash's phash, 64 bits) and by colour: two pictures are near duplicates when
their hashes differ in at most `SAME_BITS` bits and their 8 x 8 colour thumbnails by at most `SAME_COLOUR` of 255 on average. Blank
pictures, whose hash says nothing, are not compared.
"""

from __future__ import annotations

import base64
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmllm import catalog, settings
from mmllm.errors import MediaError
from mmllm.media import load_audio, load_image
from mmllm.types import CatalogProblem, Item, Progress

SAME_BITS, SAME_COLOUR = 6, 10.0
TINY_SIDE, BLANK_DEVIATION = 64, 3.0
SILENT_PEAK, CLIPPED_LEVEL, CLIPPED_SHARE = 10 ** (-50 / 20), 0.999, 0.001
SURE_LANGUAGE, LETTERS = 0.8, 12
TEMPLATE = Path(__file__).parent / "report.html"
THUMBNAIL = 96

RULES = {
    "near-duplicate picture": f"hashes differ in at most {SAME_BITS} of 64 bits, colours by at most {SAME_COLOUR:.0f} of 255",
    "tiny picture": f"the shorter side has fewer than {TINY_SIDE} pixels",
    "blank picture": f"grey values deviate by less than {BLANK_DEVIATION:.0f} of 255",
    "unreadable picture": "it cannot be decoded",
    "silent sound": "its peak is below -50 dB of full scale",
    "clipped sound": f"{CLIPPED_SHARE:.1%} or more of its samples are at full scale",
    "unreadable sound": "it cannot be decoded",
    "empty text": "there is a title and nothing else to read",
    "duplicate title": "another item has the same title",
    "bad line": "`mmllm data validate` tells more",
}


@dataclass(frozen=True)
class Finding:
    """One thing to look at: `kind` is a key of RULES, `measured` what was seen; `group` joins what belongs together."""

    item: str
    kind: str
    measured: str
    image: str | None = None
    group: int | None = None


@dataclass(frozen=True)
class Report:
    """What `report` found. `shares` is modality -> share of items that have it; `languages` is code -> count ("unsure" for short)."""

    folder: str
    items: int
    shares: dict[str, float]
    languages: dict[str, int]
    findings: tuple[Finding, ...]

    def counts(self) -> dict[str, int]:
        """Findings by kind, in the order of RULES; kinds without one are 0."""
        found = Counter(f.kind for f in self.findings)
        return {kind: found[kind] for kind in RULES}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"counts": self.counts(), "rules": RULES}


def report(folder: Path, *, progress: Progress = lambda stage, done, of: None) -> Report:
    """Look at every text, picture and sound of a catalog folder; lines with problems are findings too."""
    found = catalog.validate(folder)
    items = found.items
    findings = [_bad_line(p) for p in found.problems]
    findings += _texts(items)
    findings += _pictures(folder, [i for i in items if i.image], partial(progress, "pictures"))
    findings += _sounds(folder, [i for i in items if i.audio], partial(progress, "sounds"))
    n = max(1, len(items))
    shares = {
        "text": sum(bool(i.text) for i in items) / n,
        "image": sum(bool(i.image) for i in items) / n,
        "audio": sum(bool(i.audio) for i in items) / n,
        "attributes": sum(bool(i.attributes) for i in items) / n,
    }
    order = list(RULES)
    ranked = sorted(findings, key=lambda f: (order.index(f.kind), -1 if f.group is None else f.group, f.item))
    languages = Counter(language(f"{i.title}. {i.text}") for i in items)
    return Report(
        str(folder), len(items), {k: round(v, 4) for k, v in shares.items()}, dict(languages.most_common()), tuple(ranked)
    )


def _bad_line(problem: CatalogProblem) -> Finding:
    return Finding(f"line {problem.line}", "bad line", f"{problem.field}: {problem.message}")


# ---- text --------------------------------------------------------------------------------------------------------


def _texts(items: Iterable[Item]) -> list[Finding]:
    items = tuple(items)
    titles = Counter(i.title.casefold() for i in items)
    out = [Finding(i.id, "empty text", f"title {i.title!r}", i.image) for i in items if not i.text and not i.attributes]
    for item in items:
        if (times := titles[item.title.casefold()]) > 1:
            out.append(Finding(item.id, "duplicate title", f"{item.title!r} stands {times} times", item.image))
    return out


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    logging.getLogger("py3langid").setLevel(logging.ERROR)
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language(text: str) -> str:
    """ISO 639-1 code by py3langid; "unsure" for a few letters, or where it is not sure itself.

    >>> language("A small animal that carries its young in a pouch."), language("Ok")
    ('en', 'unsure')
    """
    if sum(c.isalpha() for c in text) < LETTERS and text.isascii():
        return "unsure"
    code, probability = _identifier().classify(text)
    return code if probability >= SURE_LANGUAGE else "unsure"


# ---- pictures ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    findings: tuple[Finding, ...]
    hash: int | None = None
    colour: np.ndarray | None = None


def _pictures(folder: Path, items: list[Item], progress: Callable[[int, int], None]) -> list[Finding]:
    seen: list[_Seen] = []
    with ThreadPoolExecutor(settings.threads()) as pool:
        for n, one in enumerate(pool.map(partial(_picture, folder), items), start=1):
            seen.append(one)
            if n % 100 == 0 or n == len(items):
                progress(n, len(items))
    out = [f for one in seen for f in one.findings]
    hashed = [(i, s) for i, s in zip(items, seen, strict=True) if s.hash is not None and s.colour is not None]
    clusters = near(np.array([s.hash for _, s in hashed], dtype=np.uint64), np.array([s.colour for _, s in hashed]))
    for group, rows in enumerate(clusters):
        for r in rows:
            out.append(Finding(hashed[r][0].id, "near-duplicate picture", f"one of {len(rows)}", hashed[r][0].image, group))
    return out


def _picture(folder: Path, item: Item) -> _Seen:
    import imagehash

    try:
        image = load_image(folder / str(item.image))
    except MediaError as error:
        return _Seen((Finding(item.id, "unreadable picture", str(error)),))
    findings = []
    if min(image.size) < TINY_SIDE:
        findings.append(Finding(item.id, "tiny picture", f"{image.width}x{image.height}", item.image))
    deviation = float(np.asarray(image.convert("L"), dtype=np.float32).std())
    if deviation < BLANK_DEVIATION:
        findings.append(Finding(item.id, "blank picture", f"deviation {deviation:.1f}", item.image))
        return _Seen(tuple(findings))
    bits = imagehash.phash(image).hash.flatten()
    colour = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=np.float32).reshape(-1)
    return _Seen(tuple(findings), int("".join("1" if b else "0" for b in bits), 2), colour)


def near(hashes: np.ndarray, colours: np.ndarray) -> list[list[int]]:
    """Clusters of rows that are near duplicates, directly or through others. hashes: [n] uint64; colours: [n, 192]."""
    parent = list(range(len(hashes)))

    def root(r: int) -> int:
        while parent[r] != r:
            parent[r] = parent[parent[r]]
            r = parent[r]
        return r

    for start in range(0, len(hashes), 1024):  # a block of rows against all later ones: 80 MB at 10,000 pictures
        block = hashes[start : start + 1024, None] ^ hashes[None, start:]
        for a, b in np.argwhere(np.bitwise_count(block) <= SAME_BITS):
            if a < b and np.abs(colours[start + a] - colours[start + b]).mean() <= SAME_COLOUR:
                parent[root(start + int(b))] = root(start + int(a))
    groups: dict[int, list[int]] = {}
    for r in range(len(hashes)):
        groups.setdefault(root(r), []).append(r)
    return [rows for rows in groups.values() if len(rows) > 1]


# ---- sounds ------------------------------------------------------------------------------------------------------


def _sounds(folder: Path, items: list[Item], progress: Callable[[int, int], None]) -> list[Finding]:
    out: list[Finding] = []
    with ThreadPoolExecutor(settings.threads()) as pool:
        for n, found in enumerate(pool.map(partial(_sound, folder), items), start=1):
            out += found
            if n % 100 == 0 or n == len(items):
                progress(n, len(items))
    return out


def _sound(folder: Path, item: Item) -> list[Finding]:
    out = []
    for file in item.audio:
        try:
            samples = np.abs(load_audio(folder / file))
        except MediaError as error:
            out.append(Finding(item.id, "unreadable sound", str(error)))
            continue
        if samples.max() < SILENT_PEAK:
            out.append(Finding(item.id, "silent sound", f"{file}: peak {20 * np.log10(max(samples.max(), 1e-6)):.0f} dB"))
        clipped = float((samples >= CLIPPED_LEVEL).mean())
        if clipped >= CLIPPED_SHARE:
            out.append(Finding(item.id, "clipped sound", f"{file}: {clipped:.1%} of the samples"))
    return out


# ---- the page ----------------------------------------------------------------------------------------------------


def page(found: Report, folder: Path, *, most: int = 60) -> str:
    """One HTML file that needs nothing beside it; of each kind the first `most` findings are shown with their pictures."""
    import jinja2

    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    kinds = []
    for kind, count in found.counts().items():
        rows = [f for f in found.findings if f.kind == kind][:most]
        if rows:
            shown = [asdict(f) | {"picture": _thumbnail(folder, f.image)} for f in rows]
            kinds.append({"name": kind, "rule": RULES[kind], "count": count, "rows": shown})
    return template.render(report=found, kinds=kinds, counts=found.counts(), rules=RULES)


def _thumbnail(folder: Path, file: str | None) -> str | None:
    if file is None:
        return None
    try:
        image = load_image(folder / file)
    except MediaError:
        return None  # the finding itself says that it cannot be read
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
