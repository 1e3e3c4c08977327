"""One CSV file with named columns -> catalog. Nothing is guessed from a column's name: the caller says which is which."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mmllm import catalog
from mmllm import interactions as rated
from mmllm.catalog_row import finite, media_problems
from mmllm.errors import CatalogError
from mmllm.importers.tables import Table
from mmllm.types import AttributeValue, CatalogProblem, Item, Scalar

MISSING = {"n/a", "#n/a", "na", "nan", "null", "none", "-", "\u2013", "\u2014"}
"""What programs write where a number is not known."""
CURRENCY = "[$\u00a2\u00a3\u00a4\u00a5\u20a0-\u20c0]|EUR|USD|GBP|CHF|JPY|CNY"
T = TypeVar("T")


@dataclass(frozen=True)
class Imported:
    """What an import did: items and interactions written, what was left out and why, interactions with items that the catalog lacks."""

    items: int
    interactions: int
    left_out: tuple[str, ...]
    strangers: int


@dataclass(frozen=True)
class Columns:
    """Which column is what."""

    id: str
    title: str
    text: Sequence[str]
    image: str | None
    audio: str | None
    attributes: Sequence[str]

    @property
    def named(self) -> list[str]:
        """All of them."""
        return [self.id, self.title, *self.text, *(c for c in (self.image, self.audio) if c), *self.attributes]


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
    encoding: str = "utf-8",
    delimiter: str = ",",
    decimal: str = "",
    skip_bad: bool = False,
) -> Imported:
    """Write the catalog; attribute values split at `|`, numbers become numbers (`value_of` tells of `decimal`).

    A cell of MISSING counts as empty where all other cells of its column are numbers, and only there: in a column of words "NA" is Namibia
    and "-" may be a blood group. With `skip_bad`, rows that make no item or no interaction are left out and named; otherwise the first of
    them is an error, and the catalog that is there stays as it was.
    """
    if decimal not in ("", ".", ","):
        raise CatalogError(f"--decimal {decimal!r}", expected=". or ,")
    table, columns = Table(file, encoding, delimiter), Columns(id, title, text, image, audio, attributes)
    numeric = _numeric(table, columns, decimal)
    reading = _Reading(columns, numeric, decimal, media_root or file.parent, catalog.make_folder(out))
    left = _LeftOut(skip_bad)
    ratings: list[rated.Row] = []
    if interactions:
        lines = Table(interactions, encoding, delimiter).rows(rated.COLUMNS)
        found = (one if isinstance(one, CatalogProblem) else rated.parsed(*one) for one in lines)
        ratings = [row for _, row in left.out(interactions, found)]
    rows = table.rows(columns.named)
    items = left.out(file, (one if isinstance(one, CatalogProblem) else reading.item(*one) for one in rows))
    count = catalog.write(_some(items, file), out)
    if interactions:
        catalog.write_interactions(ratings, out)
    return Imported(count, len(ratings), tuple(left.named), sum(item not in reading.seen for _, item, _, _ in ratings))


@dataclass
class _LeftOut:
    """Problems are errors, or with `skip_bad` are named and left out."""

    skip_bad: bool
    named: list[str] = field(default_factory=list)

    def out(self, file: Path, found: Iterable[T | CatalogProblem]) -> Iterator[T]:
        for one in found:
            if not isinstance(one, CatalogProblem):
                yield one
            elif self.skip_bad:
                self.named.append(f"{file.name} {one}")
            else:
                raise CatalogError(f"{file} {one}", do="mend it, or pass --skip-bad to leave it out")


def _some(items: Iterable[Item], file: Path) -> Iterator[Item]:
    empty = True
    for item in items:
        empty = False
        yield item
    if empty:
        raise CatalogError(f"{file} has no row that makes an item", expected="at least one below its header")


@dataclass
class _Reading:
    """Rows of one file -> items; `seen` is id -> line."""

    columns: Columns
    numeric: Collection[str]
    decimal: str
    root: Path
    out: Path
    seen: dict[str, int] = field(default_factory=dict)

    def item(self, line: int, cells: Mapping[str, str]) -> Item | CatalogProblem:
        """The item of a row, its media copied; or what is wrong with it."""
        columns, cells = self.columns, {name: cell.strip() for name, cell in cells.items()}
        for name in (columns.id, columns.title):
            if not cells[name]:
                return CatalogProblem(line, name, "empty, expected an id and a title in every row")
        key = cells[columns.id]
        if key in self.seen:
            return CatalogProblem(line, columns.id, f"{key!r} is already on line {self.seen[key]}")
        media = {n: cells[c] for n, c in (("image", columns.image), ("audio", columns.audio)) if c and cells[c]}
        for problem in media_problems(media, self.root):
            return CatalogProblem(line, str(getattr(columns, problem.field)), problem.message)
        self.seen[key] = line
        copied = {name: self._copied(path) for name, path in media.items()}
        return Item(
            id=key,
            title=cells[columns.title],
            text="\n".join(cells[c] for c in columns.text if cells[c]),
            attributes={n: v for n in columns.attributes if (v := self._value(n, cells[n])) != ()},
            image=copied.get("image"),
            audio=(copied["audio"],) if "audio" in copied else (),
        )

    def _value(self, name: str, cell: str) -> AttributeValue:
        return () if name in self.numeric and cell.casefold() in MISSING else value_of(cell, self.decimal)

    def _copied(self, cell: str) -> str:
        source, target = self.root / cell, self.out / "media" / cell
        catalog.make_folder(target.parent)
        if source.resolve() != target.resolve():
            shutil.copyfile(source, target)
        return str(target.relative_to(self.out))


def _numeric(table: Table, columns: Columns, decimal: str) -> set[str]:
    """The attributes whose cells are all numbers, or say that there is none."""
    words, numbers = set[str](), set[str]()
    signs: dict[str, set[str]] = {name: set() for name in columns.attributes}
    for row in table.rows(columns.named):
        if isinstance(row, CatalogProblem):
            continue
        line, cells = row
        for name in columns.attributes:
            cell = cells[name].strip()
            if cell.casefold() in MISSING or (value := value_of(cell, decimal)) == ():
                continue
            plain = all(is_number(v) for v in (value if isinstance(value, tuple) else (value,)))
            (numbers if plain else words).add(name)
            if plain and decimal:
                signs[name].update(re.findall(CURRENCY, cell))
                if len(signs[name]) > 1:
                    several = " and ".join(sorted(signs[name]))
                    raise CatalogError(
                        f"{table.file} line {line}: {name!r} is in {several}", expected="one currency with --decimal"
                    )
    return numbers - words


def is_number(value: Scalar) -> bool:
    """True for a number; a flag is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_of(cell: str, decimal: str = "") -> AttributeValue:
    """A cell as an attribute value; () where it is empty. With a `decimal` sign, numbers may have a currency and their thousands apart.

    >>> value_of("1999"), value_of("Red|Blue"), value_of("4.50")
    (1999, ('Red', 'Blue'), 4.5)
    >>> value_of("1.234,50 €", ","), value_of("$1,234", "."), value_of("19,90"), value_of("007", ",")
    (1234.5, 1234, '19,90', '007')
    """
    parts = [_shop_number(p.strip(), decimal) if decimal else _scalar(p.strip()) for p in cell.split("|") if p.strip()]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _shop_number(text: str, decimal: str) -> Scalar:
    """`1.234,50 €` -> 1234.5. What is no number of this form is read as a word or a flag: "4.5" is none where decimals stand after a comma."""
    apart = r"[ '\u2019\u00a0\u202f" + ("." if decimal == "," else ",") + "]"
    whole = rf"[1-9]\d{{0,2}}(?:{apart}\d{{3}})+|0|[1-9]\d*"
    found = re.fullmatch(rf"(-?)\s*(?:{CURRENCY})?\s*(-?)({whole})(?:{re.escape(decimal)}(\d+))?\s*(?:{CURRENCY})?", text)
    if found is None:
        value = _scalar(text)
        return value if isinstance(value, bool) else text
    digits = re.sub(r"\D", "", found[3])
    return _scalar(f"{'-' if found[1] or found[2] else ''}{digits}{'.' + found[4] if found[4] else ''}")


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
            return number if finite(number) and "_" not in text else text
    return text
