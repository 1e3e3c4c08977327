"""A folder of pictures and sounds -> catalog: one item per file name, its title from the name, its category from the folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from mmllm import catalog
from mmllm.errors import CatalogError
from mmllm.types import Item

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"}
SOUNDS = {".wav", ".flac", ".ogg", ".mp3"}


def import_folder(source: Path, out: Path) -> int:
    """`red_shoe.jpg`, `red_shoe.ogg` and `red_shoe.txt` beside each other become one item. Returns the item count."""
    if not source.is_dir():
        raise CatalogError(f"{source} is not a folder", expected="a folder of pictures or sounds")
    groups: dict[Path, list[Path]] = {}
    for file in sorted(source.rglob("*")):
        if file.is_file() and file.suffix.lower() in IMAGES | SOUNDS and not file.is_relative_to(out):
            groups.setdefault(file.relative_to(source).with_suffix(""), []).append(file)
    if not groups:
        raise CatalogError(f"no pictures or sounds in {source}", expected=" ".join(sorted(IMAGES | SOUNDS)))
    return catalog.write(_items(source, out, groups), out)


def _items(source: Path, out: Path, groups: dict[Path, list[Path]]) -> Iterator[Item]:
    for base, files in groups.items():
        copied: list[str] = []
        for file in files:
            target = out / "media" / file.relative_to(source)
            catalog.make_folder(target.parent)
            shutil.copyfile(file, target)
            copied.append(str(target.relative_to(out)))
        note = (source / base).with_name(base.name + ".txt")
        parts = [p.replace("_", " ").replace("-", " ") for p in base.parts]
        yield Item(
            id=str(base),
            title=parts[-1],
            text=note.read_text(encoding="utf-8", errors="replace").strip() if note.is_file() else "",
            attributes={"category": parts[-2]} if len(parts) > 1 else {},
            image=next((c for c in copied if Path(c).suffix.lower() in IMAGES), None),
            audio=tuple(c for c in copied if Path(c).suffix.lower() in SOUNDS),
        )
