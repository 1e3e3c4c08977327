"""The commands about frozen weights, and `mmllm doctor`: what this machine has and what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from mmllm import __version__, settings
from mmllm.errors import MmllmError
from mmllm.terminal import guarded

models = typer.Typer(no_args_is_help=True, help="Frozen weights: where they come from and whether they are intact.")


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
