"""Open Clip Art Library (Debian `openclipart-png` and `openclipart-svg`, public domain) -> catalog.

Pictures come from the PNG package, titles and keywords from the Dublin Core metadata of the SVG package. What shows no thing with a
name (shapes, logos, playing cards, gradients) is left out, and of pictures with one title in one folder the first few are kept.
"""

from __future__ import annotations

import html
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmllm import catalog, media
from mmllm.errors import CatalogError, MediaError
from mmllm.importers import fetch
from mmllm.types import Item

log = logging.getLogger(__name__)
SVG, PNG = Path("usr/share/openclipart/svg"), Path("usr/share/openclipart/png")
SIDE = 224
SAME_TITLE = 4
LEFT_OUT = {
    "shapes",
    "special",
    "logos",
    "cards",
    "duplicates",
    "flags",
    "icons",
    "etiquette-theme",
    "patterns",
    "dice",
    "decorations",
}
EMPTY_WORDS = {
    "hash",
    "unsorted",
    "clip art",
    "clipart",
    "image",
    "media",
    "public domain",
    "png",
    "svg",
    "unknown",
    "none",
    "openclipart",
    "appicon",
}
# Titles carry the uploader's name and a counter: "Clipart by NAME - jigsaw_red_10", "apple 02".
NOISE = re.compile(r"clip ?art by [^-]*-|\b(clip ?art|icons?|svg|png|vector|version|remix)\b|[\d#()\[\]{}\"]+|\b[a-z]\b")


def import_openclipart(out: Path, *, cache: Path | None = None) -> int:
    """Write the catalog and return the number of items; packages are kept in `cache`."""
    with tempfile.TemporaryDirectory(prefix="mmllm-openclipart-") as scratch:
        for package in ("openclipart-png", "openclipart-svg"):
            fetch.debian(package, Path(scratch), keep=cache)
        catalog.make_folder(out / "media")
        count = catalog.write(_items(Path(scratch), out), out)
    if not count:
        raise CatalogError("the openclipart packages hold no picture with a title", expected="the layout of release 0.18")
    return count


def _items(root: Path, out: Path) -> Iterator[Item]:
    seen: Counter[tuple[str, str]] = Counter()
    for file in sorted((root / SVG).rglob("*.svg")):
        relative = file.relative_to(root / SVG)
        parts = relative.parts[:-1]
        picture = (root / PNG / relative).with_suffix(".png")
        if LEFT_OUT & set(parts) or not picture.is_file():
            continue
        title, keywords = describe(file.read_text(encoding="utf-8", errors="replace"))
        seen[(title, parts[-1])] += 1
        if not title or seen[(title, parts[-1])] > SAME_TITLE:
            continue
        try:
            image = media.load_image(picture)
        except MediaError as error:
            log.warning("left out: %s", error)  # a few of the package's pictures are larger than what is decoded here
            continue
        id_ = str(relative.with_suffix("")).replace("/", "-")
        image.thumbnail((SIDE, SIDE))
        image.save(out / "media" / f"{id_}.png")
        kind = parts[-1].replace("_", " ")
        attributes = {"kind": kind} if kind not in EMPTY_WORDS else {}
        words = [k for k in keywords if k not in (title, kind)]
        yield Item(id_, title[0].upper() + title[1:], ", ".join(words), attributes, f"media/{id_}.png")


def describe(svg: str) -> tuple[str, list[str]]:
    """Title and keywords out of an SVG's Dublin Core, in lower case and without what says nothing of the picture.

    >>> describe("<dc:title>Clipart by A. B - red_apple_02</dc:title><rdf:li>hash</rdf:li><rdf:li>fruit</rdf:li>")
    ('red apple', ['fruit'])
    """
    found = re.search(r"<dc:title>(.*?)</dc:title>", svg, re.DOTALL)
    title = html.unescape(html.unescape(found[1])).casefold().replace("_", " ") if found else ""
    title = " ".join(NOISE.sub(" ", title).split()).strip(" -.,:'")
    found_words = (html.unescape(k).strip().casefold() for k in re.findall(r"<rdf:li>(.*?)</rdf:li>", svg))
    keywords = [k.replace("_", " ") for k in dict.fromkeys(found_words) if not re.search(r"\d", k)]
    return title if re.search(r"[a-z]{3}", title) else "", [k for k in keywords if k and k not in EMPTY_WORDS]
