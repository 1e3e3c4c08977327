"""MovieLens -> catalog with interactions: `items.csv`+`interactions.csv` with posters, ml-latest (movies.csv, ratings.csv),
ml-1m (movies.dat, ratings.dat), ml-100k (u.item, u.data), and RecBole's ml-100k (.item, .inter).
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmllm import catalog
from mmllm.carriers import download_member
from mmllm.errors import CatalogError
from mmllm.types import AttributeValue, Item

Interaction = tuple[str, str, float, int]
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def import_movielens(source: Path, out: Path) -> tuple[int, int]:
    """Detect the layout, write the catalog; returns (items, interactions)."""
    for marker, read in (
        ("items.csv", _ours),
        ("movies.csv", _latest),
        ("movies.dat", _ml1m),
        ("u.item", _ml100k),
        ("ml-100k.item", _recbole),
    ):
        if (source / marker).is_file():
            out.mkdir(parents=True, exist_ok=True)
            items, interactions = read(source, out)
            count = catalog.write(items, out)
            return count, catalog.write_interactions(interactions, out)
    raise CatalogError(f"no MovieLens files in {source}", expected="items.csv, movies.csv, movies.dat, u.item or ml-100k.item")


def import_ml100k(out: Path) -> tuple[int, int]:
    """MovieLens 100K as the RecBole wheel carries it: titles, genres, years, 100,000 ratings; no pictures. For research use only."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        download_member("recbole==1.2.1", "recbole/dataset_example/ml-100k/", Path(scratch))
        return import_movielens(Path(scratch), out)


def split_title(title: str) -> tuple[str, int | None]:
    """Title and year; a trailing article comes to the front.

    >>> split_title("Matrix, The (1999)")
    ('The Matrix', 1999)
    """
    year = None
    if found := re.search(r"\s*\((\d{4})\)\s*$", title):
        title, year = title[: found.start()], int(found[1])
    if found := re.fullmatch(r"(.+), (The|A|An|Les|Le|La|Der|Das|Die|El|Il)", title):
        title = f"{found[2]} {found[1]}"
    return title.strip() or "untitled", year


def _item(id_: str, title: str, genres: list[str], *, text: str = "", image: str | None = None, tags: str = "") -> Item:
    name, year = split_title(title)
    attributes: dict[str, AttributeValue] = {}
    if year:
        attributes["year"] = year
    if kept := [g for g in genres if g and g != "(no genres listed)"]:
        attributes["genre"] = tuple(kept)
    if tags:
        attributes["tags"] = tuple(t for t in tags.split("|") if t)
    return Item(id=id_, title=name, text=text, attributes=attributes, image=image)


def _rows(file: Path, separator: str, encoding: str = "utf-8") -> Iterator[list[str]]:
    with file.open(encoding=encoding, newline="") as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip("\r\n").split(separator)


def _ratings(rows: Iterator[list[str]]) -> Iterator[Interaction]:
    for user, item, rating, stamp in rows:
        yield user, item, float(rating), int(float(stamp))


def _csv(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _ours(source: Path, out: Path) -> tuple[Iterator[Item], Iterator[Interaction]]:
    def items() -> Iterator[Item]:
        for row in _csv(source / "items.csv"):
            image = _copied(source, row.get("image", ""), out)
            words = row.get("keywords", "").replace("|", ", ")
            text = "\n".join(t for t in (row.get("description", ""), f"Keywords: {words}." if words else "") if t)
            genres = row.get("genres", "").split("|")
            yield _item(row["item"], row["title"], genres, text=text, image=image, tags=row.get("tags", ""))

    rows = ([r["user"], r["item"], r["rating"], r["timestamp"]] for r in _csv(source / "interactions.csv"))
    return items(), _ratings(rows)


def _copied(source: Path, image: str, out: Path) -> str | None:
    if not image or not (source / image).is_file():
        return None
    target = out / "media" / Path(image).name
    target.parent.mkdir(exist_ok=True)
    if not target.is_file():
        shutil.copyfile(source / image, target)
    return f"media/{target.name}"


def _latest(source: Path, _: Path) -> tuple[Iterator[Item], Iterator[Interaction]]:
    items = (_item(r["movieId"], r["title"], r["genres"].split("|")) for r in _csv(source / "movies.csv"))
    rows = ([r["userId"], r["movieId"], r["rating"], r["timestamp"]] for r in _csv(source / "ratings.csv"))
    return items, _ratings(rows)


def _ml1m(source: Path, _: Path) -> tuple[Iterator[Item], Iterator[Interaction]]:
    items = (_item(i, t, g.split("|")) for i, t, g in _rows(source / "movies.dat", "::", "latin-1"))
    return items, _ratings(_rows(source / "ratings.dat", "::"))


def _ml100k(source: Path, _: Path) -> tuple[Iterator[Item], Iterator[Interaction]]:
    items = (
        _item(r[0], r[1], [g for g, flag in zip(GENRES_100K, r[5:], strict=False) if flag == "1"])
        for r in _rows(source / "u.item", "|", "latin-1")
    )
    return items, _ratings(_rows(source / "u.data", "\t"))


def _recbole(source: Path, _: Path) -> tuple[Iterator[Item], Iterator[Interaction]]:
    def body(file: Path) -> Iterator[list[str]]:
        rows = _rows(file, "\t")
        next(rows)  # the header names and types the columns
        return rows

    items = (_item(r[0], f"{r[1]} ({r[2]})" if r[2].isdigit() else r[1], r[3].split()) for r in body(source / "ml-100k.item"))
    return items, _ratings(body(source / "ml-100k.inter"))
