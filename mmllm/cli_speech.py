"""`mmllm transcribe`: recordings -> words with times. Registered by `cli.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmllm import settings
from mmllm.errors import MediaError, MmllmError


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings: WAV, FLAC, Ogg, MP3, WebM or M4A.")],
    engine: Annotated[str | None, typer.Option(help="faster-whisper (the default) or openai-whisper.")] = None,
    language: Annotated[str | None, typer.Option(help="A code such as en or zh; otherwise it is detected.")] = None,
    denoise: Annotated[
        bool, typer.Option("--denoise", help="Gate steady noise away first; seldom helps (extra denoise).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list: file, text, language, segments.")] = False,
    preset: Annotated[str, typer.Option(help="Whose Whisper: mini, base or large.")] = "mini",
) -> None:
    """What is said in recordings, with times; nothing for a sound without speech."""
    from mmllm import weights
    from mmllm.media import denoise as gate
    from mmllm.media import load_audio, normalise_loudness
    from mmllm.speech import open_transcriber, voices

    engine = settings.whisper_engine(engine)
    name = settings.preset(preset).whisper
    weights.pull(name)
    whisper = open_transcriber(name, engine=engine)
    answers: list[dict[str, Any]] = []
    failed: list[MediaError] = []
    for file in files:
        try:
            audio = load_audio(file)
        except MediaError as error:
            failed.append(error)
            continue
        # A lion's roar that was gated sounds like a voice: what has none before is left as it is.
        if denoise and voices(normalise_loudness(audio)):
            audio = gate(audio)
        heard = whisper.hear(audio, language=language).transcript
        segments = [{"start": s.start, "end": s.end, "text": s.text} for s in heard.segments]
        answers.append({"file": str(file), "text": heard.text, "language": heard.language, "segments": segments})
        if not as_json:
            _print(answers[-1], many=len(files) > 1)
    if as_json:
        typer.echo(json.dumps(answers, ensure_ascii=False, indent=1))
    if len(files) == 1 and failed:
        raise failed[0]
    for problem in failed:
        typer.echo(str(problem), err=True)
    if failed:
        raise MmllmError(f"{len(failed)} of {len(files)} files could not be read", do="see the lines above")


def _print(answer: dict[str, Any], *, many: bool) -> None:
    if many or not answer["segments"]:
        typer.echo(f"{answer['file']}: {answer['language'] or 'no speech was heard'}")
    for s in answer["segments"]:
        typer.echo(f"{s['start']:7.2f} {s['end']:7.2f}  {s['text']}")
