"""Emoji in four drawing styles, with their Unicode CLDR names and keywords -> catalog. One item per emoji and style.

noto: the Debian font `fonts-noto-color-emoji` (OFL). openmoji (CC BY-SA 4.0), twemoji (CC BY 4.0) and fluent (MIT) are npm
packages of SVG files, as is emojibase-data (MIT), which carries CLDR's names. Skin tones and flags are left out.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image, ImageDraw, ImageFont

from mmllm import catalog, media
from mmllm.errors import CatalogError
from mmllm.importers import fetch
from mmllm.types import AttributeValue, Item

NAMES = ("emojibase-data", "17.0.0")
NPM = {"openmoji": ("openmoji", "17.0.0"), "twemoji": ("@twemoji/svg", "15.0.0"), "fluent": ("fluentui-emoji", "1.3.0")}
STYLES = ("noto", *NPM)
FONT = Path("usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SIDE = 176
LANGUAGES = ("zh", "fr", "de", "es")
LEFT_OUT = {"component", "flags"}  # a skin tone is no thing, and a flag is not to be read off its picture

Draw = Callable[[dict[str, Any]], Image.Image | None]


def import_emoji(out: Path, *, styles: Sequence[str] = STYLES, cache: Path | None = None) -> int:
    """Write the catalog and return the number of items; packages are kept in `cache`."""
    unknown = [s for s in styles if s not in STYLES]
    if unknown or not styles:
        raise CatalogError(f"unknown emoji style {unknown[:1]}", expected=" or ".join(STYLES), do="name some of these")
    with tempfile.TemporaryDirectory(prefix="mmllm-emoji-") as scratch:
        folder = Path(scratch)
        names = fetch.npm(*NAMES, folder, keep=cache)
        emoji = _read(names)
        catalog.make_folder(out / "media")
        return catalog.write((item for style in styles for item in _items(style, emoji, _drawer(style, folder, cache), out)), out)


def _read(package: Path) -> list[dict[str, Any]]:
    """CLDR's data with the words of groups, and names in other languages."""
    messages = json.loads((package / "en" / "messages.json").read_text())
    groups = {g["order"]: g for g in messages["groups"]}
    subgroups = {g["order"]: g["message"] for g in messages["subgroups"]}
    other: dict[str, list[str]] = {}
    for language in LANGUAGES:
        for row in json.loads((package / language / "data.json").read_text()):
            other.setdefault(row["hexcode"], []).append(row["label"])
    found = []
    for row in json.loads((package / "en" / "data.json").read_text()):
        group = groups.get(row.get("group", -1))
        if group is None or group["key"] in LEFT_OUT:
            continue
        words = {
            "group": group["message"],
            "kind": subgroups[row["subgroup"]],
            "names": tuple(dict.fromkeys(other[row["hexcode"]])),
        }
        found.append(row | words)
    return found


def _items(style: str, emoji: list[dict[str, Any]], draw: Draw, out: Path) -> Iterator[Item]:
    for row in emoji:
        picture = draw(row)
        if picture is None:
            continue
        id_ = f"{style}-{row['hexcode'].lower()}"
        media.to_rgb(picture).save(out / "media" / f"{id_}.png")
        tags = [t for t in row.get("tags", ()) if t.casefold() != row["label"].casefold()]
        attributes: dict[str, AttributeValue] = {"group": row["group"], "kind": row["kind"], "style": style}
        yield Item(
            id=id_,
            title=row["label"][0].upper() + row["label"][1:],
            text=", ".join(tags),
            attributes=attributes | {catalog.NAMES: row["names"]},
            image=f"media/{id_}.png",
        )


def _drawer(style: str, folder: Path, cache: Path | None) -> Draw:
    if style == "noto":
        font = folder / FONT
        fetch.debian("fonts-noto-color-emoji", folder, keep=cache, do="leave out the style noto")
        return _font(ImageFont.truetype(str(font), 109))  # the one size its bitmaps have
    where = fetch.npm(*NPM[style], folder, keep=cache)
    if style == "openmoji":
        return lambda row: _svg(where / "color" / "svg" / f"{row['hexcode']}.svg")
    if style == "twemoji":
        # Twemoji's file names leave out the variation selector unless the emoji is a joined sequence.
        return lambda row: _svg(where / f"{_short(row['hexcode']).lower()}.svg")
    return lambda row: _svg(where / "icons" / "flat" / f"{re.sub(r'[^a-z0-9]+', '-', row['label'].casefold()).strip('-')}.svg")


def _short(hexcode: str) -> str:
    return hexcode if "200D" in hexcode else hexcode.replace("-FE0F", "")


def _svg(file: Path) -> Image.Image | None:
    if not file.is_file():
        return None
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(file), width=SIDE, height=SIDE, dpi=96))))


def _font(font: ImageFont.FreeTypeFont) -> Draw:
    def draw(row: dict[str, Any]) -> Image.Image | None:
        left, top, right, bottom = font.getbbox(row["emoji"])
        # What the font lacks is drawn as nothing, as a narrow box, or as the parts of the sequence side by side.
        if not 100 <= right - left <= 150:
            return None
        image = Image.new("RGBA", (int(right - left), int(bottom - top)), (255, 255, 255, 0))
        ImageDraw.Draw(image).text((-left, -top), row["emoji"], font=font, embedded_color=True)
        return image if image.getbbox() else None

    return draw
