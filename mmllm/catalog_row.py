"""One line of a catalog: JSON <-> Item, and what may be wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmllm.types import CatalogProblem, Item, Scalar

FIELDS = ("id", "title", "text", "attributes", "image", "audio")


def read_row(raw: bytes) -> dict[str, Any] | CatalogProblem:
    """The JSON object of a line, or why it is none. Problems of this module have line 0: their reader knows the number.

    null and NaN, which other programs write where there is no value, count as absent: as a field, as an attribute and within a list.

    >>> read_row(b'{"id": "1", "text": null, "attributes": {"price": NaN, "size": [null, 38]}}')
    {'id': '1', 'attributes': {'size': [38]}}
    """
    try:
        row = json.loads(raw.decode("utf-8-sig"), parse_constant=lambda name: None if name == "NaN" else float(name))
    except UnicodeDecodeError as error:
        return CatalogProblem(0, "line", f"not UTF-8 text (byte {error.start})")
    except json.JSONDecodeError as error:
        return CatalogProblem(0, "line", f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return CatalogProblem(0, "line", f"not JSON that can be read: {error}")
    if not isinstance(row, dict):
        return CatalogProblem(0, "line", f"a JSON {type(row).__name__}, expected an object")
    row = {k: _present(v) for k, v in row.items() if v is not None or k not in FIELDS}
    if isinstance(row.get("attributes"), dict):
        row["attributes"] = {k: _present(v) for k, v in row["attributes"].items() if v is not None}
    return row


def _present(value: Any) -> Any:
    return [v for v in value if v is not None] if isinstance(value, list) else value


def row_problems(row: Mapping[str, Any]) -> Iterator[CatalogProblem]:
    """What is wrong with an object's fields; whether its media are there is asked by `media_problems`."""
    for name in ("id", "title"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            yield CatalogProblem(0, name, f"{row.get(name)!r}, expected a text that is not empty")
    if not isinstance(row.get("text", ""), str):
        yield CatalogProblem(0, "text", f"{row['text']!r}, expected a text")
    for name in row.keys() - set(FIELDS):
        yield CatalogProblem(0, name, f"unknown field, expected {', '.join(FIELDS)}")
    attributes = row.get("attributes", {})
    if not isinstance(attributes, dict):
        yield CatalogProblem(0, "attributes", f"{attributes!r}, expected an object")
    else:
        for name, value in attributes.items():
            for single in value if isinstance(value, list) else [value]:
                if not isinstance(single, (str, int, float, bool)) or not finite(single):
                    yield CatalogProblem(0, f"attributes.{name}", f"{single!r}, expected a text, a number or a flag")


def finite(value: Scalar) -> bool:
    """False for a number that is none: NaN, an infinity, or a whole number beyond what a float holds."""
    try:
        return isinstance(value, str) or math.isfinite(value)
    except OverflowError:
        return False


def media_paths(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(field, value) of everything that should be a path."""
    audio = row.get("audio") or []
    named = [("image", row.get("image"))] + [("audio", a) for a in (audio if isinstance(audio, list) else [audio])]
    return [(name, value) for name, value in named if value is not None]


def media_problems(row: Mapping[str, Any], root: Path) -> Iterator[CatalogProblem]:
    """Which of its media are no files within the folder `root`."""
    for name, value in media_paths(row):
        if not isinstance(value, str):
            yield CatalogProblem(0, name, f"{value!r}, expected a path relative to the catalog folder")
        elif value.startswith(("http://", "https://")):
            yield CatalogProblem(0, name, f"{value!r} is an address: pictures and sounds are not fetched, download them first")
        elif not inside(root, value):
            yield CatalogProblem(0, name, f"{value!r} leaves {root}")
        elif not (root / value).is_file():
            yield CatalogProblem(0, name, f"{value!r} does not exist in {root}")
        elif (root / value).stat().st_size == 0:
            yield CatalogProblem(0, name, f"{value!r} is an empty file")


def inside(root: Path, relative: str) -> bool:
    """True if the path stays within the folder, links followed."""
    return (root / relative).resolve().is_relative_to(root.resolve()) and not Path(relative).is_absolute()


def parse_item(row: Mapping[str, Any]) -> Item:
    """One validated JSON object -> Item."""
    audio = row.get("audio") or []
    attributes = {
        str(k): tuple(v) if isinstance(v, list) else v for k, v in row.get("attributes", {}).items() if v not in ("", [])
    }
    return Item(
        id=row["id"].strip(),
        title=row["title"].strip(),
        text=row.get("text", "").strip(),
        attributes=attributes,
        image=row.get("image"),
        audio=tuple(audio) if isinstance(audio, list) else (audio,),
    )


def item_row(item: Item) -> dict[str, Any]:
    """Item -> the JSON object of its line; the inverse of `parse_item`."""
    row: dict[str, Any] = {"id": item.id, "title": item.title}
    if item.text:
        row["text"] = item.text
    if item.attributes:
        row["attributes"] = {k: list(v) if isinstance(v, tuple) else v for k, v in item.attributes.items()}
    if item.image:
        row["image"] = item.image
    if item.audio:
        row["audio"] = item.audio[0] if len(item.audio) == 1 else list(item.audio)
    return row
