"""The command line. Heavy modules are imported inside the commands: `mmllm --help` loads neither torch nor gradio."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from mmllm import __version__, cli_chat, cli_data, cli_speech, cli_train, settings
from mmllm.errors import MmllmError, QueryError
from mmllm.terminal import ProgressBars, columns, guarded

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split(".")[0] + ".")
models = typer.Typer(no_args_is_help=True, help="Frozen weights: where they come from and whether they are intact.")
index = typer.Typer(no_args_is_help=True, help="Indexes: build, verify, search.")
app.add_typer(models, name="models")
app.add_typer(cli_data.data, name="data")
app.add_typer(index, name="index")
app.add_typer(cli_chat.users, name="users")

Index = Annotated[Path, typer.Argument(help="An index folder.")]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log what each stage does.")] = False,
) -> None:
    settings.quiet_libraries()
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:
        for name in ("httpx", "chromadb", "transformers", "bm25s"):
            logging.getLogger(name).setLevel(logging.ERROR)
    if version:
        typer.echo(__version__)
        raise typer.Exit


# ---- models ------------------------------------------------------------------------------------------------------


@models.command("list")
@guarded
def models_list() -> None:
    """All known weights, and which are on this machine."""
    from mmllm import backbones, weights

    for name, w in backbones.BACKBONES.items():
        try:
            state = weights.source_of(name).split("#")[0]
        except MmllmError:
            state = "-"
        presets = ",".join(p for p in settings.PRESETS if name in backbones.of_preset(p))
        typer.echo(f"{name:24} {w.role:12} {w.licence:14.14} {presets:12} {state}")


@models.command("pull")
@guarded
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Names; none means all of the preset.")] = None,
    preset: Annotated[str, typer.Option(help="mini, base or large.")] = "mini",
) -> None:
    """Fetch, check and convert weights; what is there already is left alone."""
    from mmllm import backbones, weights

    for name in names or backbones.of_preset(preset):
        folder = weights.pull(name)
        typer.echo(f"{name}: {weights.source_of(name).split('#')[0]} -> {folder}")


@models.command("verify")
@guarded
def models_verify(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    preset: Annotated[str, typer.Option(help="mini, base or large.")] = "mini",
) -> None:
    """Hash every file of the weights again."""
    from mmllm import backbones, weights

    problems = [p for n in names or backbones.of_preset(preset) for p in weights.verify(n)]
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise MmllmError(f"{len(problems)} files are not what was pulled", do="delete the folder and pull again")
    typer.echo("all files are intact")


@models.command("path")
@guarded
def models_path(name: str) -> None:
    """The folder of weights on this machine."""
    from mmllm import weights

    typer.echo(weights.path(name))


# ---- index -------------------------------------------------------------------------------------------------------


@index.command("build")
@guarded
def index_build(
    source: Annotated[Path, typer.Argument(help="A catalog folder, or a plain folder of pictures and sounds.")],
    out: Annotated[Path, typer.Option(help="Folder of the index.")],
    preset: Annotated[str, typer.Option(help="mini, base or large.")] = "mini",
    adapter: Annotated[Path | None, typer.Option(help="A trained adapter; otherwise untrained.")] = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave out lines with problems.")] = False,
    speech_language: Annotated[str | None, typer.Option(help="Language of the catalog's recordings, e.g. en.")] = None,
    blend: Annotated[bool, typer.Option(help="Choose the LM's weight on requests made from the catalog.")] = True,
) -> None:
    """Encode what is new, fuse, write; nothing is encoded twice."""
    from mmllm import backbones, catalog, weights
    from mmllm.build import build_index
    from mmllm.validate import weight_line

    for name in backbones.of_preset(preset):
        weights.pull(name)
    if not (source / catalog.FILE).is_file():
        from mmllm.importers.folder import import_folder as run

        run(source, out / "catalog")
        source = out / "catalog"
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
    from mmllm.store import read_manifest

    m = read_manifest(folder)
    for name, value in {
        **m.counts,
        "preset": m.preset,
        **m.encoders,
        "adapter": m.adapter,
        "LM weight": m.blend.get("weight"),
    }.items():
        typer.echo(f"{name:10} {value}")


@index.command("search")
@guarded
def index_search(folder: Index, words: str, k: Annotated[int, typer.Option("-k")] = 10) -> None:
    """Retrieval alone: no language model."""
    from mmllm.recommend import Recommender
    from mmllm.types import Query

    recommender = Recommender.load(folder)
    encoded = recommender.retriever.encode(Query(text=words))
    found, _ = recommender.retriever.retrieve(encoded, k=k)
    for n, c in enumerate(found, start=1):
        title = recommender.store.items[recommender.store.row[c.id]].title
        typer.echo(f"{n:3} {title:40.40} {c.id:40.40} " + " ".join(f"{s}={v:.3f}" for s, v in c.scores.items()))


# ---- using it ----------------------------------------------------------------------------------------------------


def parse_where(conditions: list[str]) -> dict[str, Any]:
    """`year>=1990`, `colour=red,blue`, `kind!=dogs` -> Query.where.

    >>> parse_where(["year>=1990", "year<2000", "colour=red,blue"])
    {'year': {'>=': 1990, '<': 2000}, 'colour': {'in': ['red', 'blue']}}
    """
    from mmllm.importers.csv_file import value_of

    where: dict[str, Any] = {}
    for condition in conditions:
        found = re.fullmatch(r"\s*([\w .-]+?)\s*(>=|<=|!=|=|>|<)\s*(.+?)\s*", condition)
        if not found:
            raise QueryError(f"--where {condition!r}", expected="name, operator and value", do='for example --where "year>=1990"')
        name, op, text = found.groups()
        values = [value_of(v.strip()) for v in text.split(",")]
        if op == "=" and len(values) > 1:
            where.setdefault(name, {})["in"] = values
        else:
            where.setdefault(name, {})[op] = values[0]
    return where


@app.command()
@guarded
def recommend(
    folder: Index,
    words: Annotated[str, typer.Argument(help="What you are looking for; may be empty with --image, --audio or --liked.")] = "",
    image: Annotated[Path | None, typer.Option(help="A picture to go by.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A spoken request, or a sound.")] = None,
    liked: Annotated[str, typer.Option(help="Ids, separated by commas.")] = "",
    disliked: Annotated[str, typer.Option(help="Ids, separated by commas.")] = "",
    where: Annotated[list[str] | None, typer.Option(help='A filter such as "year>=1990"; may be repeated.')] = None,
    k: Annotated[int, typer.Option("-k", help="How many.")] = 5,
    explain: Annotated[int, typer.Option(help="How many reasons the language model may reword.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The best items with reasons."""
    from mmllm.recommend import Recommender
    from mmllm.types import Query

    query = Query(
        text=words or None,
        image=image,
        audio=audio,
        liked=columns(liked),
        disliked=columns(disliked),
        where=parse_where(where or []),
    )
    response = Recommender.load(folder).recommend(query, k=k, lm_explanations=explain)
    if as_json:
        typer.echo(json.dumps(response.to_dict(), ensure_ascii=False, indent=1))
        return
    _print_response(response)


def _print_response(response: Any) -> None:
    if response.transcript is not None and response.transcript.text:
        typer.echo(f"heard: {response.transcript.text}")
    for r in response.recommendations:
        typer.echo(f"{r.rank}. {r.title}  [{r.id}]\n   {r.explanation.text}")
    for note in response.notes:
        typer.echo(f"note: {note}", err=True)


@app.command()
@guarded
def rerank(
    folder: Index,
    words: str,
    candidates: Annotated[str, typer.Option(help="Ids, separated by commas.")],
    liked: Annotated[str, typer.Option(help="Ids, separated by commas.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """The language model's order of the candidates you name."""
    from dataclasses import asdict

    from mmllm.rerank import Reranker
    from mmllm.types import Query

    reranker = Reranker.load(folder)
    ranked = reranker.rank(Query(text=words, liked=columns(liked)), columns(candidates))
    if as_json:
        typer.echo(json.dumps([asdict(r) for r in ranked], ensure_ascii=False, indent=1))
        return
    for r in ranked:
        typer.echo(f"{r.rank}. {r.id}  {r.score:.3f}")


app.command()(guarded(cli_chat.chat))
app.command()(guarded(cli_speech.transcribe))


@app.command()
@guarded
def serve(
    folder: Index,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 7860,
) -> None:
    """The chat page at http://127.0.0.1:7860."""
    from mmllm.ui import serve as run

    run(folder, host=host, port=port)


@app.command()
@guarded
def doctor() -> None:
    """What this machine has, and what is missing."""
    import importlib.metadata
    import platform
    import shutil

    from mmllm import backbones, weights

    typer.echo(f"mmllm {__version__}, Python {platform.python_version()}, {settings.threads()} threads, home {settings.home()}")
    for package in (
        "torch",
        "transformers",
        "peft",
        "open_clip_torch",
        "faster-whisper",
        "openai-whisper",
        "noisereduce",
        "chromadb",
        "gradio",
        "langchain-core",
    ):
        try:
            typer.echo(f"{package:18} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            typer.echo(f"{package:18} not installed")
    for name in backbones.of_preset("mini"):
        try:
            typer.echo(f"{name:24} {weights.path(name)}")
        except MmllmError as error:
            typer.echo(f"{name:24} {error.do or error}")
    for program in ("apt-get", "dpkg-deb"):
        typer.echo(f"{program:18} {shutil.which(program) or 'missing (only the stamps demo needs it)'}")


app.command()(guarded(cli_train.adapt))
app.command()(guarded(cli_train.train))


if __name__ == "__main__":
    app()
