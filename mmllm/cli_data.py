"""`mmllm data`: import, validate, report. Registered by `cli.py`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmllm.errors import MmllmError
from mmllm.terminal import ProgressBars, columns, guarded

if TYPE_CHECKING:
    from mmllm.quality import Report
    from mmllm.types import Scalar

data = typer.Typer(no_args_is_help=True, help="Catalogs: import, validate, report.")
importers = typer.Typer(no_args_is_help=True, help="Something that exists -> a catalog folder.")
data.add_typer(importers, name="import")

Out = Annotated[Path, typer.Option("-o", "--out", help="Folder to write the catalog to.")]


@importers.command("stamps")
@guarded
def import_stamps(
    out: Out,
    source: Annotated[
        Path | None, typer.Option(help="An unpacked stamps folder; otherwise the Debian package is fetched.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep the downloaded package here.")] = None,
) -> None:
    """Tux Paint stamps: drawings with names in many languages, voices and sounds (Debian, GPL-2)."""
    from mmllm.importers.stamps import import_stamps as run

    typer.echo(f"{run(out, source=source, cache=cache)} items in {out}")


@importers.command("emoji")
@guarded
def import_emoji(
    out: Out,
    style: Annotated[str, typer.Option(help="noto, openmoji, twemoji, fluent, separated by commas; none means all.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Keep the downloaded packages here.")] = None,
) -> None:
    """Emoji with Unicode CLDR names and keywords, in four drawing styles (Debian and npm; needs npm)."""
    from mmllm.importers.emoji import STYLES
    from mmllm.importers.emoji import import_emoji as run

    typer.echo(f"{run(out, styles=columns(style) or STYLES, cache=cache)} items in {out}")


@importers.command("openclipart")
@guarded
def import_openclipart(
    out: Out, cache: Annotated[Path | None, typer.Option(help="Keep the downloaded packages here.")] = None
) -> None:
    """Open Clip Art Library: drawings with titles and keywords (Debian, public domain)."""
    from mmllm.importers.openclipart import import_openclipart as run

    typer.echo(f"{run(out, cache=cache)} items in {out}")


@importers.command("movielens")
@guarded
def import_movielens(source: Path, out: Out) -> None:
    """MovieLens in any of its layouts, with posters and descriptions where they are."""
    from mmllm.importers.movielens import import_movielens as run

    items, interactions = run(source, out)
    typer.echo(f"{items} items and {interactions} interactions in {out}")


@importers.command("ml-100k")
@guarded
def import_ml100k(out: Out) -> None:
    """MovieLens 100K from the RecBole package: titles, genres and ratings, for research."""
    from mmllm.importers.movielens import import_ml100k as run

    items, interactions = run(out)
    typer.echo(f"{items} items and {interactions} interactions in {out}")


@importers.command("folder")
@guarded
def import_folder(source: Path, out: Out) -> None:
    """A folder of pictures and sounds; titles from file names."""
    from mmllm.importers.folder import import_folder as run

    typer.echo(f"{run(source, out)} items in {out}")


@importers.command("csv")
@guarded
def import_csv(
    file: Path,
    out: Out,
    id: Annotated[str, typer.Option(help="Column of the id.")],
    title: Annotated[str, typer.Option(help="Column of the title.")],
    text: Annotated[str, typer.Option(help="Columns of the text, separated by commas.")] = "",
    image: Annotated[str | None, typer.Option(help="Column of the picture's path.")] = None,
    audio: Annotated[str | None, typer.Option(help="Column of the sound's path.")] = None,
    attributes: Annotated[str, typer.Option(help="Columns of attributes, separated by commas.")] = "",
    media_root: Annotated[Path | None, typer.Option(help="Where the paths start; default: beside the CSV.")] = None,
    interactions: Annotated[Path | None, typer.Option(help="A CSV with user,item,rating,timestamp.")] = None,
    encoding: Annotated[str, typer.Option(help="What the file was saved in, e.g. cp1252 or utf-16.")] = "utf-8",
    delimiter: Annotated[str, typer.Option(help="What stands between cells: one character, or tab.")] = ",",
    decimal: Annotated[
        str, typer.Option(help='"," or ".": read prices as shops write them, such as 1.234,50 € ; the currency is left out.')
    ] = "",
    skip_bad: Annotated[bool, typer.Option(help="Leave out rows with problems, and name them.")] = False,
) -> None:
    """One CSV with a header; you say which column is which. Several values of one attribute stand in a cell as A|B."""
    from mmllm.importers.csv_file import import_csv as run

    done = run(
        file,
        out,
        id=id,
        title=title,
        text=columns(text),
        image=image,
        audio=audio,
        attributes=columns(attributes),
        media_root=media_root,
        interactions=interactions,
        encoding=encoding,
        delimiter=delimiter,
        decimal=decimal,
        skip_bad=skip_bad,
    )
    for problem in done.left_out:
        typer.echo(f"left out: {problem}", err=True)
    if done.left_out:
        typer.echo(f"{len(done.left_out)} rows were left out", err=True)
    if done.strangers:
        typer.echo(f"{done.strangers} interactions are with items that are not in the catalog", err=True)
    typer.echo(f"{done.items} items and {done.interactions} interactions in {out}")


@importers.command("hf")
@guarded
def import_hf(
    name: Annotated[str, typer.Argument(help="A dataset's name, or imagefolder, audiofolder, csv, json, parquet.")],
    out: Out,
    data_dir: Annotated[str | None, typer.Option(help="Folder for imagefolder and its kin.")] = None,
    split: str = "train",
    id: Annotated[str | None, typer.Option()] = None,
    title: Annotated[str | None, typer.Option()] = None,
    text: str = "",
    image: Annotated[str | None, typer.Option()] = None,
    audio: Annotated[str | None, typer.Option()] = None,
    attributes: str = "",
) -> None:
    """A Hugging Face dataset, through `datasets`."""
    from mmllm.importers.hf import import_hf as run

    count = run(
        name,
        out,
        split=split,
        data_dir=data_dir,
        id=id,
        title=title,
        text=columns(text),
        image=image,
        audio=audio,
        attributes=columns(attributes),
    )
    typer.echo(f"{count} items in {out}")


@data.command("validate")
@guarded
def data_validate(folder: Path) -> None:
    """Every problem of a catalog and of its interactions by line and field, and counts."""
    from mmllm import catalog, interactions

    found = catalog.validate(folder)
    for problem in found.problems:
        typer.echo(str(problem), err=True)
    problems = len(found.problems)
    file = folder / interactions.FILE
    checked = interactions.check(file, (i.id for i in found.items)) if file.is_file() else None
    counts = {
        "items": len(found.items),
        "problems": len(found.problems),
        "with picture": sum(bool(i.image) for i in found.items),
        "with sound": sum(bool(i.audio) for i in found.items),
        "duplicate titles": len(found.items) - len({i.title.casefold() for i in found.items}),
    }
    typer.echo(", ".join(f"{v} {k}" for k, v in counts.items()))
    for name, kind in found.schema().items():
        values = catalog.attribute_values(found.items, name)
        typer.echo(f"attribute {name}: {kind}, {len(values)} values{_no_numbers(values)}")
    if checked is not None:
        for problem in checked.problems:
            typer.echo(f"{interactions.FILE}: {problem}", err=True)
        typer.echo(str(checked))
        problems += len(checked.problems)
    if problems:
        do = "mend them, or build with --skip-bad" if found.problems else "mend them: a build reads the whole file or none of it"
        raise MmllmError(f"{problems} problems in {folder}", do=do)


def _no_numbers(values: Counter[Scalar]) -> str:
    """What keeps an attribute of numbers from being asked by >= and <=; nothing where it has none, or nothing else."""
    from mmllm.importers.csv_file import is_number, value_of

    odd = {v: n for v, n in values.items() if not is_number(v)}
    prices = [v for v in odd if any(is_number(p) for d in ",." for p in [value_of(str(v), d)] if not isinstance(p, tuple))]
    if not odd or 2 * (len(values) - len(odd) + len(prices)) < len(values):
        return ""
    hint = "; `mmllm data import csv --decimal` reads prices" if prices else ""
    count = sum(odd.values())
    return f"; {count} of {values.total()} {'is' if count == 1 else 'are'} no number: {', '.join(map(repr, list(odd)[:3]))}{hint}"


@data.command("report")
@guarded
def data_report(
    folder: Path,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Also write a page with pictures: one HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Data quality: near-duplicate, blank and tiny pictures, silent and clipped sounds, empty texts, languages, modalities."""
    from mmllm import catalog
    from mmllm.report import examine

    report = examine(folder, progress=ProgressBars())
    if out is not None:
        from mmllm.report_page import write_page

        write_page(report, catalog.validate(folder).items, out)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False, indent=1))
    else:
        _print_report(report)
    if out is not None:
        typer.echo(f"the page is {out}", err=True)


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from mmllm.quality import RULES

    console = Console()
    counts = Table("modality", "items", "%", title=f"{report.items:,} items in {escape(report.catalog)}", title_justify="left")
    for name, n in report.modalities.items():
        counts.add_row(name, f"{n:,}", f"{100 * n / report.items:.1f}")
    languages = Table("language", "items", "%", "for example", title="language of title and text", title_justify="left")
    for code, n in report.languages.items():
        languages.add_row(code, f"{n:,}", f"{100 * n / report.items:.1f}", escape("; ".join(report.examples[code])[:60]))
    found = Table("finding", "items", "right is", "for example", title="findings", title_justify="left")
    for kind, n in report.counts().items():
        examples = ", ".join(dict.fromkeys(f.item for f in report.of(kind)))
        found.add_row(RULES[kind].title, f"{n:,}", RULES[kind].limit, escape(examples[:60]))
    for table in (counts, languages, found):
        console.print(table)
