"""How far a long command is, for people."""

from __future__ import annotations

import sys
from typing import Any

import typer


class Progress:
    """One bar per stage on stderr, when that is a terminal; otherwise a line per stage."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.stage = ""

    def __call__(self, stage: str, done: int, of: int) -> None:
        if not sys.stderr.isatty():
            if done >= of:
                typer.echo(f"{stage}: {of} done", err=True)
            return
        if stage != self.stage:
            self.bar, self.stage = typer.progressbar(length=of, label=f"{stage:>6}", file=sys.stderr), stage
        self.bar.update(done - self.bar.pos)
        if done >= of:
            self.bar.render_finish()
