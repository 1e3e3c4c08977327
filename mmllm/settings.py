"""Presets, paths and limits; the one place that reads the environment.

A preset is the one dial: `mini` runs on two CPU cores from package sources alone, `base` and `large` name models of the
Hugging Face hub.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from mmllm.errors import MmllmError


@dataclass(frozen=True)
class Preset:
    """Backbones by their name in `backbones.BACKBONES`, and the sizes that go with them."""

    name: str
    text: str
    clip: str
    whisper: str
    lm: str
    captioner: str = ""
    """A captioning model; without one, captions are phrases ranked by CLIP."""
    soft_tokens: int = 4
    candidates: int = 50
    """How many items retrieval hands to the reranker."""
    text_candidates: int = 20
    """How many of them the LM reads when candidates enter as text, which is slower than soft tokens."""


PRESETS: dict[str, Preset] = {
    "mini": Preset("mini", "all-minilm-l6-v2", "clip-mini", "whisper-base", "smollm2-135m-instruct"),
    "base": Preset("base", "multilingual-e5-small", "clip-vit-b-32", "whisper-small", "qwen2.5-0.5b-instruct", "blip-base"),
    "large": Preset("large", "multilingual-e5-large", "clip-vit-l-14", "whisper-large-v3", "qwen2.5-1.5b-instruct", "blip-large"),
}

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_IMAGE_PIXELS = 40_000_000
MAX_AUDIO_BYTES = 50 * 1024 * 1024
MAX_AUDIO_SECONDS = 600.0
MAX_QUERY_CHARS = 2_000
SAMPLE_RATE = 16_000
SEED = 17
WHISPER_ENGINES = ("faster-whisper", "openai-whisper")


def preset(name: str) -> Preset:
    """The preset of that name.

    >>> preset("mini").lm
    'smollm2-135m-instruct'
    """
    if name not in PRESETS:
        raise MmllmError(f"unknown preset {name!r}", expected=" or ".join(PRESETS), do="pass --preset mini")
    return PRESETS[name]


def home() -> Path:
    """Where weights are cached: `MMLLM_HOME`, or `mmllm` under the user's cache folder."""
    if value := os.environ.get("MMLLM_HOME"):
        return Path(value).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mmllm"


def weights_folders() -> list[Path]:
    """Extra folders that hold weights by name (`MMLLM_WEIGHTS`, separated as PATH is)."""
    return [Path(p).expanduser() for p in os.environ.get("MMLLM_WEIGHTS", "").split(os.pathsep) if p]


def offline() -> bool:
    """True when the hub must not be asked (`HF_HUB_OFFLINE`)."""
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}


def threads() -> int:
    """Threads for torch and CTranslate2 (`MMLLM_THREADS`, else the cores this process may use)."""
    if value := os.environ.get("MMLLM_THREADS"):
        if not value.isdigit() or int(value) < 1:
            raise MmllmError(f"MMLLM_THREADS={value!r}", expected="a whole number from 1", do="unset it")
        return int(value)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def whisper_engine(asked: str | None = None) -> str:
    """The program that runs Whisper's weights: the one asked for, else `MMLLM_WHISPER_ENGINE`, else faster-whisper.

    >>> whisper_engine("openai-whisper")
    'openai-whisper'
    """
    value = asked or os.environ.get("MMLLM_WHISPER_ENGINE") or WHISPER_ENGINES[0]
    if value not in WHISPER_ENGINES:
        where = "the Whisper engine" if asked else "MMLLM_WHISPER_ENGINE"
        raise MmllmError(f"{where} is {value!r}", expected=" or ".join(WHISPER_ENGINES))
    return value


def quiet_libraries() -> None:
    """Switch off the telemetry, the progress bars and what libraries say to each other; called by the entry points before they import them."""
    # peft 0.21 asks transformers 5.23 for a property by its old name.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def data_folder(kind: str) -> Path:
    """`prompts` or `adapters`: inside the installed package, or at the root of a source checkout."""
    inside = Path(__file__).parent / "data" / kind
    return inside if inside.is_dir() else Path(__file__).parent.parent / kind
