"""The command line. Heavy modules are imported inside the commands: `mmllm --help` loads neither torch nor gradio."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from mmllm import __version__, cli_chat, cli_data, cli_index, cli_models, cli_speech, cli_train, settings
from mmllm.errors import QueryError
from mmllm.terminal import Index, columns, guarded

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split(".")[0] + ".")
app.add_typer(cli_models.models, name="models")
app.add_typer(cli_data.data, name="data")
app.add_typer(cli_index.index, name="index")
app.add_typer(cli_chat.users, name="users")


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


def parse_where(conditions: list[str]) -> dict[str, Any]:
    """`year>=1990`, `colour=red,blue`, `kind!=dogs,cats` -> Query.where. The name is all that stands before the operator.

    >>> parse_where(["year>=1990", "year<2000", "colour=red,blue", "kind!=dogs", "kind!=cats"])
    {'year': {'>=': 1990, '<': 2000}, 'colour': {'in': ['red', 'blue']}, 'kind': {'!=': ['dogs', 'cats']}}
    """
    from mmllm.importers.csv_file import value_of

    where: dict[str, Any] = {}
    for condition in conditions:
        found = re.fullmatch(r"\s*([^<>=!]+?)\s*(>=|<=|!=|==?|>|<)\s*([^<>=!\s].*?)\s*", condition)
        read = [value_of(v) for v in found[3].split(",") if v.strip(" |")] if found else []
        values = [v for one in read for v in (one if isinstance(one, tuple) else (one,))]
        if not found or not values:
            raise QueryError(f"--where {condition!r}", expected="name, operator and value", do='for example --where "year>=1990"')
        name, op = found[1], found[2].replace("==", "=")
        own = where.setdefault(name, {})
        if op in (">=", "<=", ">", "<") and len(values) > 1:
            raise QueryError(f"--where {condition!r}", expected=f"one value after {op}")
        if op == "!=":
            values = [*own.get(op, []), *values]  # none of these and none of those is none of them all
        elif op in own or (op == "=" and "in" in own):
            do = f'--where "{name}=A,B" asks for any of several' if op == "=" else ""
            raise QueryError(f"{name}{op} is asked for twice", expected="each operator of an attribute once", do=do)
        own["in" if op == "=" and len(values) > 1 else op] = values if op == "!=" or len(values) > 1 else values[0]
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

    if not (named := columns(candidates)):
        raise QueryError(f"--candidates {candidates!r}", expected="ids, separated by commas")
    ranked = Reranker.load(folder).rank(Query(text=words, liked=columns(liked)), named)
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
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
) -> None:
    """The chat page at http://127.0.0.1:7860."""
    from mmllm.ui import serve as run

    run(folder, host=host, port=port)


app.command()(guarded(cli_models.doctor))
app.command()(guarded(cli_train.adapt))
app.command()(guarded(cli_train.train))


if __name__ == "__main__":
    app()
