"""One CSV file with named columns -> catalog. Nothing is guessed from a column's name: the caller says which is which."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmllm import catalog
from mmllm.catalog_row import inside
from mmllm.errors import CatalogError
from mmllm.types import Item, Scalar


def import_csv(
    file: Path,
    out: Path,
    *,
    id: str,
    title: str,
    text: Sequence[str] = (),
    image: str | None = None,
    audio: str | None = None,
    attributes: Sequence[str] = (),
    media_root: Path | None = None,
    interactions: Path | None = None,
) -> tuple[int, int]:
    """Write the catalog; attribute values split at `|`, numbers become numbers. Returns (items, interactions)."""
    if not file.is_file():
        raise CatalogError(f"{file} is not a file", expected="a CSV file with a header")
    out.mkdir(parents=True, exist_ok=True)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        named = [id, title, *text, *(c for c in (image, audio) if c), *attributes]
        missing = [c for c in named if c not in (reader.fieldnames or [])]
        if missing:
            have = ", ".join(reader.fieldnames or [])
            raise CatalogError(f"{file} has no column {missing[0]!r}", expected=f"one of {have}")
        root = media_root or file.parent
        count = catalog.write(_items(reader, out, root, id, title, text, image, audio, attributes), out)
    return count, catalog.write_interactions(_interactions(interactions), out) if interactions else 0


def _items(
    reader: csv.DictReader[str],
    out: Path,
    root: Path,
    id: str,
    title: str,
    text: Sequence[str],
    image: str | None,
    audio: str | None,
    attributes: Sequence[str],
) -> Iterator[Item]:
    for row in reader:
        where = f"line {reader.line_num}"
        if not (row[id] or "").strip() or not (row[title] or "").strip():
            raise CatalogError(f"{where}: {id!r} or {title!r} is empty", expected="an id and a title in every row")
        values = {name: value_of(row[name]) for name in attributes if (row[name] or "").strip()}
        sound = _media(row.get(audio or ""), root, out, where)
        yield Item(
            id=row[id].strip(),
            title=row[title].strip(),
            text="\n".join(row[c].strip() for c in text if (row[c] or "").strip()),
            attributes=values,
            image=_media(row.get(image or ""), root, out, where),
            audio=(sound,) if sound else (),
        )


def value_of(cell: str) -> Scalar | tuple[Scalar, ...]:
    """A cell as an attribute value.

    >>> value_of("1999"), value_of("Red|Blue"), value_of("4.50")
    (1999, ('Red', 'Blue'), 4.5)
    """
    parts = [_scalar(p.strip()) for p in cell.split("|") if p.strip()]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _scalar(text: str) -> Scalar:
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    # "007" and "+49" are codes, not quantities.
    if text == "0" or not text.lstrip("-").startswith("0") or text.lstrip("-").startswith("0."):
        for kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            return number if number == number and abs(number) != float("inf") and "_" not in text else text
    return text


def _media(cell: str | None, root: Path, out: Path, where: str) -> str | None:
    if not cell or not cell.strip():
        return None
    source = root / cell.strip()
    if not inside(root, cell.strip()):
        raise CatalogError(f"{where}: {cell!r} leaves {root}", expected="a path inside the media root")
    if not source.is_file():
        raise CatalogError(f"{where}: {source} does not exist", expected="a file", do="pass --media-root DIR")
    target = out / "media" / cell.strip()
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)
    return str(target.relative_to(out))


def _interactions(file: Path) -> Iterator[tuple[str, str, float, int]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        if missing := [c for c in ("user", "item", "rating", "timestamp") if c not in (reader.fieldnames or [])]:
            raise CatalogError(f"{file} has no column {missing[0]!r}", expected="user,item,rating,timestamp")
        for row in reader:
            try:
                yield row["user"], row["item"], float(row["rating"]), int(float(row["timestamp"]))
            except ValueError:
                raise CatalogError(
                    f"{file} line {reader.line_num}: rating {row['rating']!r} or timestamp {row['timestamp']!r}",
                    expected="numbers",
                ) from None
