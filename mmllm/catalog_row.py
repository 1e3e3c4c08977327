"""One line of a catalog: JSON <-> Item, and what may be wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmllm.types import CatalogProblem, Item

FIELDS = ("id", "title", "text", "attributes", "image", "audio")


def read_row(raw: bytes) -> dict[str, Any] | CatalogProblem:
    """The JSON object of a line, or why it is none. Problems of this module have line 0: their reader knows the number."""
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return CatalogProblem(0, "line", f"not UTF-8 text (byte {error.start})")
    except json.JSONDecodeError as error:
        return CatalogProblem(0, "line", f"not JSON: {error.msg} at column {error.colno}")
    return row if isinstance(row, dict) else CatalogProblem(0, "line", f"a JSON {type(row).__name__}, expected an object")


def row_problems(row: Mapping[str, Any]) -> Iterator[CatalogProblem]:
    """What is wrong with an object's fields; whether its media are there is asked elsewhere."""
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
                if not isinstance(single, (str, int, float, bool)):
                    yield CatalogProblem(0, f"attributes.{name}", f"{single!r}, expected a text, a number or a flag")


def media_paths(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(field, value) of everything that should be a path."""
    audio = row.get("audio") or []
    named = [("image", row.get("image"))] + [("audio", a) for a in (audio if isinstance(audio, list) else [audio])]
    return [(name, value) for name, value in named if value is not None]


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
