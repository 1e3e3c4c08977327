"""What all commands share: the index they are about, one clear line for an error, progress, lists in options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mmllm.errors import MmllmError

Index = Annotated[Path, typer.Argument(help="An index folder.")]


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """One clear line on stderr and exit code 1 for every error raised on purpose."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except MmllmError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            raise typer.Exit(130) from None

    return run


class ProgressBars:
    """One bar per stage with the time left, on stderr when that is a terminal; otherwise a line per stage.

    A stage is its name up to " (": what stands in brackets, such as a loss, may change from call to call.
    """

    def __init__(self) -> None:
        self.bar: Any = None
        self.stage = ""

    def __call__(self, stage: str, done: int, of: int) -> None:
        if not sys.stderr.isatty():
            if done >= of:
                typer.echo(f"{stage}: {of} done", err=True)
            return
        name = stage.partition(" (")[0]
        if name != self.stage:
            self.bar, self.stage = typer.progressbar(length=of, file=sys.stderr), name
        self.bar.label = f"{stage:>6}"
        self.bar.update(done - self.bar.pos)
        if done >= of:
            self.bar.render_finish()
            self.stage = ""  # the next of the same name is another


def columns(text: str) -> tuple[str, ...]:
    """Names out of one option, separated by commas."""
    return tuple(c.strip() for c in text.split(",") if c.strip())
