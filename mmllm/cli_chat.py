"""`mmllm chat` and `mmllm users`. Registered by `cli.py`."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmllm.errors import MmllmError, QueryError
from mmllm.terminal import Index, guarded

if TYPE_CHECKING:
    from rich.console import Console

    from mmllm.converse import Conversation
    from mmllm.types import Response

users = typer.Typer(no_args_is_help=True, help="Who is remembered: list, show, export, forget.")
Name = Annotated[str, typer.Argument(help="A name given to `mmllm chat --user`.")]
COMMANDS = {
    "/image FILE [WORDS]": "a picture to go by; may stand with /audio and words in one line",
    "/audio FILE [WORDS]": "a spoken request, or a sound",
    "/like N, /dislike N, /seen N": "mark an item of the list",
    "/why N, /compare N M": "the evidence for an item, two or more side by side",
    "/more, /undo, /forget ATTRIBUTE, /reset": "as “something else”, “undo”, “forget the colour”, “start over”",
    "/state, /help, /quit": "what is known of this talk; this table; the end",
}
# What is typed after a slash, in the words that the conversation understands.
SPOKEN = {"/why": "why {}", "/compare": "compare {}", "/forget": "forget the {}"}
ALONE = {"/more": "something else", "/undo": "undo", "/reset": "start over", "/state": "what do you know"}


def chat(
    folder: Index,
    user: Annotated[
        str | None, typer.Option(help="Remember likes and dislikes under this name; without it, for this talk only.")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="With --no-memory nothing is read or written.")] = True,
    k: Annotated[int, typer.Option("-k", help="How many items a turn shows.")] = 5,
) -> None:
    """Talk in the terminal: words, a picture, a voice, and commands such as `/like 2` (see `/help`)."""
    from rich.console import Console

    from mmllm.converse import Conversation
    from mmllm.profile import Profiles
    from mmllm.recommend import Recommender

    recommender = Recommender.load(folder)
    profile = Profiles().open(user, recommender.store.manifest.catalog) if user is not None and memory else None
    talk = Conversation(recommender, k=k, profile=profile)
    console = Console(highlight=False, soft_wrap=True)
    console.print("What are you looking for? /help tells what you can say.", markup=False)
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            return
        if line == "/quit":
            return
        if not line:
            continue
        try:
            _answer(talk, line, console)
        except MmllmError as error:
            typer.echo(f"error: {error}", err=True)


def _answer(talk: Conversation, line: str, console: Console) -> None:
    command, _, argument = line.partition(" ")
    argument = argument.strip()
    if command in ("/like", "/dislike", "/seen"):
        id_ = _item(talk, command, argument)
        {"/like": talk.like, "/dislike": talk.dislike, "/seen": talk.know}[command](id_)
        console.print("noted; it counts from the next turn", markup=False)
        return
    if command == "/help":
        console.print(_table(("say", "what it does"), COMMANDS.items()))
        return
    if command in ("/image", "/audio"):
        parts = _parts(line)
    elif command in SPOKEN:
        if not argument:
            raise QueryError(f"{command} alone", expected=f"{command} and what it is about", do=f"for example {command} 1")
        parts = {"text": SPOKEN[command].format(argument), "lang": talk.state.lang}
    elif command in ALONE:
        parts = {"text": ALONE[command], "lang": talk.state.lang}
    elif command.startswith("/"):
        raise QueryError(f"unknown command {command}", expected=", ".join(_names()), do="say /help")
    else:
        parts = {"text": line}
    response = talk.turn(**parts)
    for piece in talk.reply(response):
        console.print(piece, end="", markup=False)
    console.print()
    if response.recommendations and not response.said:
        console.print(_items(response))


def _names() -> list[str]:
    return ["/image", "/audio", "/like", "/dislike", "/seen", *SPOKEN, *ALONE, "/help", "/quit"]


def _item(talk: Conversation, command: str, argument: str) -> str:
    listed = talk.state.listed
    if not argument.isdigit() or not 1 <= int(argument) <= len(listed):
        expected = f"a number from 1 to {len(listed)}" if listed else "a list to choose from"
        raise QueryError(f"{command} {argument}".strip(), expected=expected, do="ask for something first" if not listed else "")
    return listed[int(argument) - 1]


def _parts(line: str) -> dict[str, Any]:
    """`/image FILE /audio FILE WORDS` -> the arguments of one turn.

    >>> _parts("/image a.png /audio 'my voice.wav' but red")
    {'image': 'a.png', 'audio': 'my voice.wav', 'text': 'but red'}
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise QueryError(f"{line!r}: {error}", expected="quotation marks in pairs") from error
    out: dict[str, Any] = {}
    while words and words[0] in ("/image", "/audio"):
        if len(words) < 2:
            raise QueryError(f"{words[0]} alone", expected="a file behind it", do=f"for example {words[0]} FILE")
        out[words[0][1:]] = words[1]
        words = words[2:]
    return out | {"text": " ".join(words)}


def _items(response: Response) -> Any:
    from mmllm.catalog import NAMES, as_text, title_in

    rows = []
    for n, r in enumerate(response.recommendations, start=1):
        told = " · ".join(f"{name} {as_text(v)}" for name, v in r.item.attributes.items() if name != NAMES)
        title = title_in(r.item, response.lang)
        why = r.explanation.text.removeprefix(f"{title}: ").removeprefix(f"{title}：")
        rows.append((str(n), title, told, why))
    return _table(("", "title", "what the catalog says", "why"), rows)


def _table(head: tuple[str, ...], rows: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, show_lines=False, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # catalog text is shown as it is: no markup of its own
    return table


@users.command("list")
@guarded
def users_list() -> None:
    """All names."""
    from mmllm.profile import Profiles

    for name in Profiles().names():
        typer.echo(name)


@users.command("show")
@guarded
def users_show(name: Name) -> None:
    """What is remembered of one visitor."""
    from rich.console import Console

    from mmllm.profile import Profiles

    known = Profiles().export(name)
    console = Console(highlight=False)
    rows = [(m["kind"], m["item"], m["catalog"], _day(m["at"])) for m in known["marks"]]
    console.print(f"{name}, since {_day(known['since'])}, {len(known['sessions'])} sessions", markup=False)
    console.print(_table(("", "item", "catalog", "since"), rows))


@users.command("export")
@guarded
def users_export(name: Name) -> None:
    """Everything about one visitor, as JSON on stdout."""
    from mmllm.profile import Profiles

    typer.echo(json.dumps(Profiles().export(name), ensure_ascii=False, indent=1))


@users.command("forget")
@guarded
def users_forget(name: Name) -> None:
    """Delete one visitor and everything about them."""
    from mmllm.profile import Profiles

    Profiles().forget(name)
    typer.echo(f"{name} is forgotten")


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
