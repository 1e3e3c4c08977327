"""Tux Paint stamps (Debian package `tuxpaint-stamps-default`, GPL-2) -> catalog.

About 950 drawings and photos with names in 77 languages, English voices and sound effects. The package is fetched with
`apt-get download` and unpacked with `dpkg-deb -x`: no root, nothing installed.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mmllm import catalog, media
from mmllm.errors import CatalogError
from mmllm.importers import fetch
from mmllm.types import AttributeValue, Item

PACKAGE = "tuxpaint-stamps-default"
INSIDE = Path("usr/share/tuxpaint/stamps")
LANGUAGES = ("zh_CN", "zh_TW", "fr", "de", "es", "ja")
SIDE = 320
DO_INSTEAD = "use your own pictures: `mmllm data import folder DIR -o CATALOG`, then `mmllm index build CATALOG --out INDEX`"
EXAMPLES = ("an animal with a pouch", "something to eat that is yellow", "a vehicle with wings", "一只猫")
# Folder names that say how a thing is drawn or where it is filed, not what it is.
STYLES = {"cartoon", "toys", "plastic"}
KINDS = {"asl": "sign language letters", "auto": "cars", "masstransit": "public transport", "flight": "aircraft"}
# The folders are named by zoologists and band leaders; these are the words other people use.
PLAIN = {
    "amphibians": "animals of water and land",
    "apes": "monkeys without a tail",
    "aquatic": "animals that live in the sea",
    "armor": "protection worn in battle",
    "bovines": "cattle and their kin",
    "brass": "musical instruments that are blown",
    "cycle": "vehicles that are pedalled",
    "emergency": "vehicles of police, fire brigade and ambulance",
    "equines": "horses and their kin",
    "farming": "vehicles of a farm",
    "flight": "vehicles that fly",
    "locomotive": "trains on rails",
    "marsupials": "animals that carry their young in a pouch",
    "masstransit": "vehicles for many people",
    "percussion": "musical instruments that are struck",
    "rodents": "small gnawing animals",
    "ship": "boats that sail on water",
    "shellfish": "sea animals with a shell",
    "string": "musical instruments with strings",
    "utensils": "things to eat with",
    "wind": "musical instruments that are blown",
}


def import_stamps(out: Path, *, source: Path | None = None, cache: Path | None = None) -> int:
    """Write the catalog; `source` is an unpacked stamps folder, otherwise the package is fetched. Returns the item count."""
    if source is not None:
        root = source / INSIDE if (source / INSIDE).is_dir() else source
        if not any(root.rglob("*.txt")):
            raise CatalogError(f"no stamps in {source}", expected=f"a folder such as /{INSIDE}", do=DO_INSTEAD)
        return _write(root, out)
    with tempfile.TemporaryDirectory(prefix="mmllm-stamps-") as scratch:
        fetch.debian(PACKAGE, Path(scratch), keep=cache, do=DO_INSTEAD)
        return _write(Path(scratch) / INSIDE, out)


def _write(root: Path, out: Path) -> int:
    catalog.make_folder(out / "media")
    count = catalog.write(_items(root, out), out)
    (out / catalog.EXAMPLES).write_text("\n".join(EXAMPLES) + "\n", encoding="utf-8")
    return count


def _items(root: Path, out: Path) -> Iterator[Item]:
    for text in sorted(root.rglob("*.txt")):
        base = text.with_suffix("")
        picture = next((p for p in (base.with_suffix(".png"), base.with_suffix(".svg")) if p.is_file()), None)
        names = _names(text)
        if picture is None or "en" not in names:
            continue
        id_ = str(base.relative_to(root)).replace("/", "-")
        image = _picture(picture)
        target = out / "media" / f"{id_}.png"
        image.save(target)
        yield Item(
            id=id_,
            title=names["en"].rstrip(". "),
            text=_text(names["en"], base.relative_to(root).parts[:-1]),
            attributes=_attributes(base.relative_to(root).parts[:-1], picture, image, names),
            image=f"media/{target.name}",
            audio=tuple(_sounds(base, id_, out)),
        )


def _names(file: Path) -> dict[str, str]:
    """The first line is English, then `LOCALE.utf8=text`."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    names = {}
    if lines and lines[0].strip():
        names["en"] = lines[0].strip()
    for line in lines[1:]:
        found = re.match(r"([\w@]+)\.utf8=(.+)", line)
        if found:
            names[found[1]] = found[2].strip()
    return names


def _kind(parts: tuple[str, ...]) -> str:
    kinds = [p for p in parts if p not in STYLES and not p[0].isdigit()]
    last = kinds[-1] if kinds else parts[0]
    return KINDS.get(last, last.replace("_", " "))


def _text(english: str, parts: tuple[str, ...]) -> str:
    """The English sentence and the folder's words, the narrowest first."""
    path = ", ".join(dict.fromkeys(p.replace("_", " ") for p in reversed(parts) if not p[0].isdigit()))
    plain = [PLAIN[p] for p in reversed(parts) if p in PLAIN]
    return f"{english} {path.capitalize()}." + (f" {plain[0].capitalize()}." if plain else "")


def _attributes(parts: tuple[str, ...], picture: Path, image: Image.Image, names: dict[str, str]) -> dict[str, AttributeValue]:
    values: dict[str, AttributeValue] = {"category": parts[0], "kind": _kind(parts)}
    if "cartoon" in parts or picture.suffix == ".svg":
        values["style"] = "cartoon" if "cartoon" in parts else "drawing"
    if colours := dominant_colours(image):
        values["colour"] = colours
    others = [names[code].rstrip("。. ") for code in LANGUAGES if code in names]
    values[catalog.NAMES] = tuple(dict.fromkeys(others))
    return values


def _picture(file: Path) -> Image.Image:
    """RGB on white, at most SIDE pixels; SVG of this trusted package is rasterised by resvg."""
    if file.suffix == ".svg":
        import resvg_py

        png = bytes(resvg_py.svg_to_bytes(svg_path=str(file), width=SIDE, dpi=90))
        image = media.to_rgb(Image.open(io.BytesIO(png)))
    else:
        image = media.load_image(file)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _sounds(base: Path, id_: str, out: Path) -> Iterator[str]:
    """The English voice first, then the sound effect."""
    for source, name in (
        (base.with_name(base.name + "_desc.ogg"), f"{id_}_voice.ogg"),
        (base.with_suffix(".ogg"), f"{id_}_sound.ogg"),
        (base.with_suffix(".wav"), f"{id_}_sound.wav"),
    ):
        if source.is_file() and source.stat().st_size:
            shutil.copyfile(source, out / "media" / name)
            yield f"media/{name}"


HUES = ((15, "red"), (40, "orange"), (68, "yellow"), (165, "green"), (255, "blue"), (295, "purple"), (340, "pink"), (361, "red"))


def dominant_colours(image: Image.Image, *, share: float = 0.25) -> tuple[str, ...]:
    """Names of the colours that cover at least `share` of what is not white background, the largest first."""
    pixels = np.asarray(image.resize((48, 48), Image.Resampling.BOX).convert("HSV"), dtype=float).reshape(-1, 3)
    hue, saturation, value = pixels[:, 0] * 360 / 255, pixels[:, 1] / 255, pixels[:, 2] / 255
    inside = ~((value > 0.93) & (saturation < 0.07))
    if inside.sum() < 20:
        return ()
    names = np.empty(len(pixels), dtype=object)
    low = 0.0
    for high, name in HUES:
        names[(hue >= low) & (hue < high)] = name
        low = high
    names[(names == "orange") & (value < 0.65)] = "brown"
    names[(names == "red") & (value < 0.4)] = "brown"
    grey = (saturation < 0.18) | (saturation * value < 0.16)  # a dark tint reads as grey
    names[grey] = np.where(value[grey] > 0.85, "white", np.where(value[grey] < 0.3, "black", "grey"))
    names[value < 0.15] = "black"
    found, counts = np.unique(names[inside].astype(str), return_counts=True)
    ranked = sorted(zip(counts / inside.sum(), found, strict=True), reverse=True)
    return tuple(str(name) for part, name in ranked if part >= share)
