"""The commands about an index: build, verify, stats, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmllm import settings
from mmllm.errors import CatalogError, MmllmError
from mmllm.terminal import Index, ProgressBars, guarded

index = typer.Typer(no_args_is_help=True, help="Indexes: build, verify, search.")


@index.command("build")
@guarded
def index_build(
    source: Annotated[Path, typer.Argument(help="A catalog folder, or a plain folder of pictures and sounds.")],
    out: Annotated[Path, typer.Option(help="Folder of the index.")],
    preset: Annotated[str, typer.Option(help="mini, base or large.")] = "mini",
    adapter: Annotated[Path | None, typer.Option(help="A trained adapter: its folder, or general; otherwise untrained.")] = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave out lines with problems.")] = False,
    speech_language: Annotated[str | None, typer.Option(help="Language of the catalog's recordings, e.g. en.")] = None,
    blend: Annotated[
        bool, typer.Option(help="Choose the LM's weight on requests made from the catalog, unless the adapter brings its own.")
    ] = True,
) -> None:
    """Encode what is new, fuse, write; nothing is encoded twice."""
    from mmllm import adapter as adapters
    from mmllm import backbones, catalog, store, weights
    from mmllm.build import build_index
    from mmllm.validate import weight_line

    # What is quickly seen to be wrong is said before weights are fetched.
    wanted = backbones.of_preset(preset)
    adapter = adapters.find(adapter) if adapter else None
    if not source.is_dir():
        raise CatalogError(f"{source} is not a folder", expected="a folder", do=_instead(source))
    store.make_folder(out)
    if not (source / catalog.FILE).is_file():
        from mmllm.importers.folder import import_folder as run

        run(source, out / "catalog")
        source = out / "catalog"
    catalog.read(source, skip_bad=skip_bad)
    for name in wanted:
        weights.pull(name)
    done = build_index(
        source,
        out,
        preset=preset,
        adapter=adapter,
        skip_bad=skip_bad,
        speech_language=speech_language,
        progress=ProgressBars(),
    )
    counts = ", ".join(f"{n} {m}" for m, n in done.encoded.items())
    typer.echo(f"{out}: {done.items} items, encoded {counts}" + ("" if done.changed else " (nothing changed)"))
    if done.skipped:
        typer.echo(f"{done.skipped} problems were skipped; `mmllm data validate {source}` lists them", err=True)
    if blend:
        typer.echo(weight_line(out))


def _instead(source: Path) -> str:
    if not source.is_file():
        return "check the path"
    if source.suffix == ".jsonl":
        return f"pass the folder of a catalog.jsonl, such as {source.parent}"
    return f"make a catalog of it with `mmllm data import csv {source} -o CATALOG --id COLUMN --title COLUMN`"


@index.command("verify")
@guarded
def index_verify(folder: Index) -> None:
    """Hash every file of the index again, and compare its encoders with this machine's."""
    from mmllm.encoders import Encoders
    from mmllm.store import Store, check_encoders

    store = Store(folder)
    if problems := store.problems():
        raise MmllmError("; ".join(problems), do=f"mmllm index build {store.manifest.catalog} --out {folder}")
    check_encoders(store.manifest, Encoders(settings.preset(store.manifest.preset)).fingerprints())
    typer.echo(f"{folder}: {store.manifest.counts['items']} items, all files intact")


@index.command("stats")
@guarded
def index_stats(folder: Index) -> None:
    """The manifest in short."""
    from mmllm.derive import lm_weight
    from mmllm.store import read_manifest

    m = read_manifest(folder)
    weight = lm_weight(folder, m)
    sources = {"adapter": "the adapter's own", "requests": "chosen on made requests", "none": "none was chosen"}
    for name, value in {
        **m.counts,
        "preset": m.preset,
        **m.encoders,
        "adapter": m.adapter,
        "LM weight": f"{weight.value} ({sources[weight.source]})",
    }.items():
        typer.echo(f"{name:10} {value}")


@index.command("search")
@guarded
def index_search(folder: Index, words: str, k: Annotated[int, typer.Option("-k", min=1)] = 10) -> None:
    """Retrieval alone: no language model."""
    from mmllm.recommend import Recommender
    from mmllm.types import Query

    recommender = Recommender.load(folder)
    encoded = recommender.retriever.encode(Query(text=words))
    found, _ = recommender.retriever.retrieve(encoded, k=k)
    for n, c in enumerate(found, start=1):
        title = recommender.store.items[recommender.store.row[c.id]].title
        typer.echo(f"{n:3} {title:40.40} {c.id:40.40} " + " ".join(f"{s}={v:.3f}" for s, v in c.scores.items()))
