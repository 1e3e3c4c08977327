"""Rows of a CSV file with a header. What may be wrong with such a file is said in words: encoding, separator, columns, cells."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmllm.errors import CatalogError
from mmllm.types import CatalogProblem

LONGEST = 2**31 - 1
"""Python's csv stops at cells of 131,072 characters; descriptions with pictures in them are longer."""
Row = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Table:
    """A CSV file as it was saved. `delimiter` is one character, or "tab"."""

    file: Path
    encoding: str = "utf-8"
    delimiter: str = ","

    def rows(self, needed: Sequence[str]) -> Iterator[Row | CatalogProblem]:
        """(line, cell by column) of every row, or what is wrong with it; a short row has empty cells.

        CatalogError where the file cannot be read, is no such CSV or lacks a column of `needed`.
        """
        if not self.file.is_file():
            raise CatalogError(f"{self.file} is not a file", expected="a CSV file with a header")
        csv.field_size_limit(LONGEST)
        number = 1
        try:
            with self.file.open(encoding=self._codec(), newline="") as lines:
                reader = csv.reader(lines, delimiter=self._separator())
                names = self._names(next(reader, []), needed)
                for cells in reader:
                    number = reader.line_num
                    if not any(cell.strip() for cell in cells):
                        continue
                    if any(cell.strip() for cell in cells[len(names) :]):
                        yield CatalogProblem(
                            number, "line", f"{len(cells)} cells, expected {len(names)}: a cell with a comma needs quotes"
                        )
                        continue
                    cells += [""] * (len(names) - len(cells))
                    yield number, dict(zip(names, cells, strict=False))
        except UnicodeError:
            raise CatalogError(f"{self.file} is not {self.encoding} text", do=self._other_encoding()) from None
        except csv.Error as error:
            raise CatalogError(f"{self.file} line {number + 1}: {error}", expected="a CSV file with a header") from None

    def _codec(self) -> str:
        try:
            name = codecs.lookup(self.encoding).name
            "".encode(name)
        except LookupError:
            raise CatalogError(
                f"unknown encoding {self.encoding!r}", expected="utf-8, cp1252, latin-1, utf-16 or the like"
            ) from None
        return "utf-8-sig" if name == "utf-8" else name  # a byte order mark, which Excel writes, is no part of the first name

    def _separator(self) -> str:
        separator = "\t" if self.delimiter in ("tab", "\\t") else self.delimiter
        if len(separator) != 1 or separator in '"\r\n':
            raise CatalogError(f"--delimiter {self.delimiter!r}", expected="one character such as ; or the word tab")
        return separator

    def _names(self, header: Sequence[str], needed: Sequence[str]) -> list[str]:
        names = [name.strip() for name in header]
        if not any(names):
            raise CatalogError(f"{self.file} has no header", expected="the names of the columns in its first line")
        for name in needed:
            if names.count(name) == 1:
                continue
            if name in names:
                raise CatalogError(
                    f"{self.file} has {names.count(name)} columns {name!r}", expected="one", do="rename the others"
                )
            other = next((d for d in (";", "\t", ",", "|") if len(names) == 1 and d in names[0]), "")
            do = f"pass --delimiter {'tab' if other == chr(9) else repr(other)}" if other else ""
            raise CatalogError(f"{self.file} has no column {name!r}", expected=f"one of {', '.join(names)}", do=do)
        return names

    def _other_encoding(self) -> str:
        start = self.file.open("rb").read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "pass --encoding utf-16"
        return "save it as UTF-8, or pass --encoding cp1252 (Windows in Western Europe), latin-1 or what it was saved in"
