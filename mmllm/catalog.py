"""Read, validate, hash and write catalogs: a folder with `catalog.jsonl` and media beside it.

One JSON object a line: id, title, and optionally text, attributes {name: value or list}, image (path), audio (path or list).
An optional `interactions.csv` holds user,item,rating,timestamp.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, TextIO

from mmllm.catalog_row import finite, item_row, media_problems, parse_item, read_row, row_problems
from mmllm.errors import CatalogError, QueryError
from mmllm.texts import CJK
from mmllm.types import AttributeValue, CatalogProblem, Filter, Item, PathLike, Scalar

FILE = "catalog.jsonl"
EXAMPLES = "examples.txt"
"""An optional file beside the catalog: requests to show a newcomer, one a line."""
NAMES = "names"
"""A reserved attribute: other names of the item, in any language. Searched by words, never embedded, no filter."""
KANA = re.compile("[\u3040-\u30ff]")


@dataclass(frozen=True)
class Catalog:
    """Items in file order, the folder they came from, and what was wrong with the lines left out."""

    folder: Path
    items: tuple[Item, ...]
    problems: tuple[CatalogProblem, ...] = ()

    def schema(self) -> dict[str, str]:
        """Attribute name -> "number", "text", "flag" or "mixed"."""
        return attribute_types(self.items)


def read(folder: PathLike, *, skip_bad: bool = False) -> Catalog:
    """Read and validate a catalog folder; with `skip_bad`, lines with problems are left out and reported."""
    catalog = validate(folder)
    if catalog.problems and not skip_bad:
        first = catalog.problems[0]
        more = f" (and {len(catalog.problems) - 1} more)" if len(catalog.problems) > 1 else ""
        raise CatalogError(
            f"{Path(folder) / FILE}: {first}{more}",
            expected="a clean catalog",
            do="mend the lines (`mmllm data validate` lists all) or pass --skip-bad",
        )
    if not catalog.items:
        raise CatalogError(f"{Path(folder) / FILE} has no usable item", expected="at least one line", do="check the file")
    return catalog


def validate(folder: PathLike) -> Catalog:
    """Read everything that can be read, and list every problem by line and field."""
    root = Path(folder)
    file = root / FILE
    if not file.is_file():
        raise CatalogError(f"no {FILE} in {root}", expected=f"a folder holding {FILE}", do="make one with `mmllm data import`")
    items: list[Item] = []
    problems: list[CatalogProblem] = []
    seen: dict[str, int] = {}
    with file.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            if isinstance(row := read_row(raw), CatalogProblem):
                found = [row]
            elif not (found := [*row_problems(row), *media_problems(row, root)]):
                item = parse_item(row)
                if item.id in seen:
                    found = [CatalogProblem(0, "id", f"{item.id!r} is already on line {seen[item.id]}")]
                else:
                    seen[item.id] = number
                    items.append(item)
            problems += [CatalogProblem(number, p.field, p.message) for p in found]
    return Catalog(root, tuple(items), tuple(problems))


def write(items: Iterable[Item], folder: PathLike) -> int:
    """Write `catalog.jsonl`; returns the number of lines."""
    with by_rename(make_folder(folder) / FILE) as out:
        count = 0
        for count, item in enumerate(items, start=1):  # noqa: B007 - the number of the last is their count
            out.write(json.dumps(item_row(item), ensure_ascii=False) + "\n")
    return count


def write_interactions(rows: Iterable[tuple[str, str, float, int]], folder: PathLike) -> int:
    """Write `interactions.csv` (user,item,rating,timestamp in unix seconds); returns the number of rows."""
    with by_rename(make_folder(folder) / "interactions.csv") as out:
        writer = csv.writer(out)
        writer.writerow(["user", "item", "rating", "timestamp"])
        count = 0
        for count, row in enumerate(rows, start=1):  # noqa: B007
            writer.writerow(row)
    return count


def make_folder(folder: PathLike) -> Path:
    """The folder, made where it is not there; CatalogError where a file is in its way or it may not be written."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(f"{folder}: {error.strerror}", expected="a folder to write to", do="pass another -o") from None
    return Path(folder)


@contextmanager
def by_rename(file: Path) -> Iterator[TextIO]:
    """Written beside its place and renamed at the end: a reader never sees half of it, and an error leaves what was there and nothing else."""
    part = file.with_name(file.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            yield out
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def document(item: Item) -> str:
    """What the encoders read of an item: title, text, and what its text does not say already of its attributes."""
    said = f"{item.title} {item.text}".casefold()
    extra = [
        f"{name}: {values}"
        for name, values in ((n, as_text(v)) for n, v in item.attributes.items() if n != NAMES)
        if values.casefold() not in said
    ]
    return "\n".join(t for t in (item.title if item.title not in item.text else "", item.text, "; ".join(extra)) if t)


def title_in(item: Item, lang: str) -> str:
    """The title as it is called in a language: in Chinese its first name of Chinese signs alone, where the catalog has names (`NAMES`).

    >>> frog = Item("frog", "A frog", attributes={"names": ("Une grenouille", "カエル", "青蛙")})
    >>> title_in(frog, "zh"), title_in(frog, "en"), title_in(Item("sun", "A sun"), "zh")
    ('青蛙', 'A frog', 'A sun')
    """
    names = item.attributes.get(NAMES, ()) if lang == "zh" else ()
    chinese = (
        n
        for n in (names if isinstance(names, tuple) else (names,))
        if isinstance(n, str) and CJK.search(n) and not KANA.search(n)
    )
    return next(chinese, item.title)


def as_text(value: AttributeValue) -> str:
    """An attribute value in words.

    >>> as_text(("red", "blue")), as_text(1999)
    ('red, blue', '1999')
    """
    return ", ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def file_sha256(path: PathLike) -> str:
    """sha256 of a file, in hex, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def catalog_hash(items: Iterable[Item]) -> str:
    """sha256 over all lines, so that two catalogs with the same items have the same hash."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item_row(item), ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()


def attribute_types(items: Iterable[Item]) -> dict[str, str]:
    """Attribute name -> "number", "flag", "text" or "mixed", read off the values."""
    kinds: dict[str, set[str]] = {}
    for item in items:
        for name, value in item.attributes.items():
            for single in value if isinstance(value, tuple) else (value,):
                kinds.setdefault(name, set()).add(_kind(single))
    return {name: next(iter(k)) if len(k) == 1 else "mixed" for name, k in sorted(kinds.items())}


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "flag"
    return "number" if isinstance(value, (int, float)) else "text"


def attribute_values(items: Iterable[Item], name: str) -> Counter[Scalar]:
    """How often each value of an attribute occurs."""
    counts: Counter[Scalar] = Counter()
    for item in items:
        value = item.attributes.get(name)
        if value is not None:
            counts.update(value if isinstance(value, tuple) else (value,))
    return counts


def matches(item: Item, filters: Iterable[Filter]) -> bool:
    """True if the item meets every filter; an item without the attribute meets only `!=`.

    >>> matches(Item("1", "Alien", attributes={"year": 1979}), [Filter("year", "<", 1980)])
    True
    """
    for f in filters:
        value = item.attributes.get(f.attribute)
        values: tuple[Scalar, ...] = value if isinstance(value, tuple) else () if value is None else (value,)
        wanted = f.value if isinstance(f.value, tuple) else (f.value,)
        if f.op == "!=":
            if any(_same(v, w) for v in values for w in wanted):
                return False
        elif f.op == "all":
            if not all(any(_same(v, w) for v in values) for w in wanted):
                return False
        elif not any(_holds(v, f) for v in values):
            return False
    return True


def _same(a: Scalar, b: AttributeValue) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return a.casefold() == b.casefold()
    return isinstance(a, bool) == isinstance(b, bool) and a == b  # Python holds True for 1; a flag is no number


def _holds(value: Scalar, f: Filter) -> bool:
    if f.op == "=":
        return _same(value, f.value)
    if f.op == "in":
        return any(_same(value, v) for v in (f.value if isinstance(f.value, tuple) else (f.value,)))
    if isinstance(value, (str, bool)) or isinstance(f.value, (str, tuple)):
        return False
    return {">=": value >= f.value, "<=": value <= f.value, ">": value > f.value, "<": value < f.value}[f.op]


def resolve_filters(where: Mapping[str, Any], items: Iterable[Item]) -> tuple[Filter, ...]:
    """`Query.where` -> filters checked against the catalog: attribute exists, operator fits its type, value occurs."""
    if not where:
        return ()  # the common turn has no filter and need not look through the catalog
    if not isinstance(where, Mapping):
        raise QueryError(f"where is {where!r}", expected="attribute -> condition", do='for example {"year": {">=": 1990}}')
    items = tuple(items)
    types = {name: kind for name, kind in attribute_types(items).items() if name != NAMES}
    filters: list[Filter] = []
    for name, wanted in where.items():
        if name not in types:
            raise QueryError(f"unknown attribute {name!r}", expected=" or ".join(types) or "no attribute", do="use one of these")
        conditions = wanted if isinstance(wanted, Mapping) else {"=": wanted}
        if not conditions:
            raise QueryError(f"no condition on {name!r}", expected="{operator: value}", do="leave it out")
        for op, value in conditions.items():
            several = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            filters.append(_checked(name, op, several, isinstance(value, (list, tuple)), types[name], items))
    return tuple(filters)


def _checked(name: str, op: str, values: tuple[Any, ...], many: bool, kind: str, items: tuple[Item, ...]) -> Filter:
    if op not in ("=", "!=", ">=", "<=", ">", "<", "in", "all"):
        raise QueryError(f"unknown operator {op!r} on {name!r}", expected="one of = != >= <= > < in all")
    bound = op in (">=", "<=", ">", "<")
    if not values or (bound and len(values) > 1):
        raise QueryError(f"{name} {op} {list(values)!r}", expected="one value" if bound else "at least one value")
    if kind == "number":
        bad = [v for v in values if not isinstance(v, Real) or isinstance(v, bool) or not finite(v)]  # type: ignore[arg-type]
        if bad:
            raise QueryError(f"{name} {op} {bad[0]!r}", expected="a number", do=f"for example {name}>=1")
    elif bound:
        raise QueryError(f"{name} {op} {values[0]!r}", expected=f"= or != , because {name} is a {kind}")
    else:
        values = _as_they_occur(name, values, items)
    op = "in" if op == "=" and many else op
    return Filter(name, op, values if many and not bound else values[0])  # type: ignore[arg-type]


def _as_they_occur(name: str, values: tuple[Any, ...], items: tuple[Item, ...]) -> tuple[Scalar, ...]:
    known = attribute_values(items, name)
    exact = {str(v).casefold(): v for v in known}
    for v in values:
        if str(v).casefold() not in exact:
            common = ", ".join(str(k) for k, _ in known.most_common(8))
            raise QueryError(f"no item has {name} = {v!r}", expected=f"for example {common}")
    return tuple(exact[str(v).casefold()] for v in values)
