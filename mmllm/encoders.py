"""Frozen encoders of text and pictures. Every output row is L2-normalised float32, in the order of the input.

`TextEncoder` reads words for words; `ClipEncoder` holds the shared space of words and pictures (open_clip), in which a
query meets an item across modalities. Speech and sound are in `speech.py`.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmllm import projection, settings, weights
from mmllm.errors import WeightsError

if TYPE_CHECKING:
    from mmllm.caption_model import ModelCaptioner
    from mmllm.speech import Transcriber


log = logging.getLogger(__name__)


class Encoder(Protocol):
    """What every encoder tells about itself, so that an index can refuse features made by another one."""

    name: str
    fingerprint: str
    width: int


def in_batches(
    values: Sequence[Any],
    size: int,
    run: Callable[[list[Any]], torch.Tensor],
    width: int,
    key: Callable[[Any], int] | None = None,
) -> np.ndarray:
    """Run in batches, longest first when `key` gives a length, and return the rows in the order given: [n, width]."""
    out = np.zeros((len(values), width), dtype=np.float32)
    order = sorted(range(len(values)), key=lambda i: -key(values[i])) if key else list(range(len(values)))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        with torch.inference_mode():
            got = torch.nn.functional.normalize(run([values[i] for i in rows]).float(), dim=-1)
        out[rows] = got.cpu().numpy()
    return out


class TextEncoder:
    """Mean-pooled transformer (MiniLM, E5 and their kin) -> [n, D_text]."""

    def __init__(self, folder: Path, *, name: str, max_tokens: int = 256, prefixes: tuple[str, str] = ("", "")) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.name, self.fingerprint, self.max_tokens = name, weights.fingerprint(folder), max_tokens
        self.prefixes = prefixes  # (for a query, for a document): E5 was trained with them
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.width: int = self.model.config.hidden_size

    def encode(self, texts: Sequence[str], *, query: bool = False, batch: int = 32) -> np.ndarray:
        """[n, D_text], L2-normalised."""
        prefix = self.prefixes[0 if query else 1]
        return in_batches([prefix + t for t in texts], batch, self._run, self.width, key=len)

    def _run(self, texts: list[str]) -> torch.Tensor:
        inputs = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        hidden = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)


class ClipEncoder:
    """An open_clip model from a local folder: pictures and texts into one space -> [n, D].

    Its two projections stand apart from the towers (`heads`): a tower's output is a feature, [n, D_image] or [n, D_clip_text], and
    `project` takes it into the shared space. `heads` may name a file with projections adapted to a catalog.
    """

    def __init__(self, folder: Path, *, name: str, heads: Path | None = None) -> None:
        import open_clip

        self.name, self.fingerprint = name, weights.fingerprint(folder)
        where = f"local-dir:{folder}"
        # require_pretrained: without it open_clip only warns when weights are missing.
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(where, require_pretrained=True)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(where)
        self.width: int = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"]
        self.base = projection.take(self.model, self.width)
        self.model.visual = quicker(self.model.visual, image_size(self.model.visual))
        self._pool = ThreadPoolExecutor(settings.threads())
        self.heads = projection.load(heads, clip=self.fingerprint, like=self.base) if heads else self.base

    def encode_images(self, images: Sequence[Image.Image], *, batch: int = 32) -> np.ndarray:
        """RGB pictures -> [n, D], L2-normalised."""
        return self.heads.project(self.image_features(images, batch=batch), "image")

    def encode_texts(self, texts: Sequence[str], *, batch: int = 32) -> np.ndarray:
        """Texts -> [n, D], L2-normalised."""
        return self.heads.project(self.text_features(texts, batch=batch), "text")

    def image_features(self, images: Sequence[Image.Image], *, batch: int = 32) -> np.ndarray:
        """RGB pictures -> [n, D_image], L2-normalised, before the projection."""
        return in_batches(images, batch, self._run_images, self.base.image.shape[1])

    def text_features(self, texts: Sequence[str], *, batch: int = 32) -> np.ndarray:
        """Texts -> [n, D_clip_text], L2-normalised, before the projection."""
        return in_batches(texts, batch, self._run_texts, self.base.text.shape[1], key=len)

    def _run_images(self, images: list[Image.Image]) -> torch.Tensor:
        # Pillow lets go of the interpreter while it resizes, so that the pictures of a batch are prepared side by side.
        batch = torch.stack(list(self._pool.map(self.preprocess, images)))
        return self.model.encode_image(batch.contiguous(memory_format=torch.channels_last))

    def _run_texts(self, texts: list[str]) -> torch.Tensor:
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None and hasattr(self.model, "text"):
            # A transformers tower masks its padding, so padding to the longest text gives the same rows for less work.
            limit = self.tokenizer.context_length
            tokens = inner(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")["input_ids"]
        else:
            tokens = self.tokenizer(texts)
        return self.model.encode_text(tokens)


def image_size(visual: Any) -> tuple[int, int]:
    """(height, width) that the tower reads."""
    size = visual.image_size
    return tuple(size) if isinstance(size, (tuple, list)) else (size, size)


def quicker(visual: Any, size: tuple[int, int]) -> Any:
    """The same image tower for fewer operations: batch norms folded into their convolutions, channels last in memory.

    Two to three times the pictures per second on a CPU for EfficientNet-lite0; a tower without batch norms comes back as it is, and so
    does one whose output would change, which is tried on noise.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in visual.modules()):
        return visual
    folded, count = copy.deepcopy(visual), 0
    for module in list(folded.modules()):
        last: Any = None
        for name, child in list(module.named_children()):
            if isinstance(last, nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
                if child.running_mean is None or child.running_var is None:
                    return visual  # it normalises by the batch at hand, which cannot be folded
                last.weight, last.bias = fuse_conv_bn_weights(
                    last.weight, last.bias, child.running_mean, child.running_var, child.eps, child.weight, child.bias
                )
                setattr(module, name, getattr(child, "act", nn.Identity()))  # timm keeps the activation inside the norm
                count += 1
            last = child
    if not count:
        return visual
    folded = folded.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        near = nn.functional.cosine_similarity(visual(noise), folded(noise)).min()
    if near < 1 - 1e-5:
        log.warning("folding the batch norms of the image tower changes its output (cosine %.6f): it runs as it is", near)
        return visual
    return folded


class Encoders:
    """The encoders of a preset, each loaded when first used; safe to share between threads."""

    def __init__(self, preset: settings.Preset, *, heads: Path | None = None) -> None:
        self.preset, self.heads = preset, heads
        self._lock = threading.RLock()
        torch.set_num_threads(settings.threads())

    @cached_property
    def text(self) -> TextEncoder:
        """The text encoder."""
        with self._lock:
            name = self.preset.text
            prefixes = ("query: ", "passage: ") if "e5" in name else ("", "")
            return TextEncoder(weights.path(name), name=name, prefixes=prefixes)

    @cached_property
    def clip(self) -> ClipEncoder:
        """The shared space of words and pictures."""
        with self._lock:
            return ClipEncoder(weights.path(self.preset.clip), name=self.preset.clip, heads=self.heads)

    @cached_property
    def whisper(self) -> Transcriber:
        """Speech to text, and sound to a vector, in the engine that `settings.whisper_engine()` names."""
        from mmllm.speech import open_transcriber

        with self._lock:
            return open_transcriber(self.preset.whisper)

    @cached_property
    def captioner(self) -> ModelCaptioner | None:
        """The captioning model; None where captions are phrases, which need no model of their own."""
        from mmllm.caption_model import ModelCaptioner

        name = self.preset.captioner
        with self._lock:
            return ModelCaptioner(weights.path(name), name=name) if name else None

    def fingerprints(self) -> dict[str, str]:
        """Encoder role -> "name:fingerprint", without loading any of them.

        Whisper's also counts what is done to the sound. The engine is no part of it: both give the same states (cosine 0.9999).
        """
        from mmllm.speech import PREPROCESSING

        names = {"text": self.preset.text, "clip": self.preset.clip, "whisper": self.preset.whisper}
        if self.preset.captioner:
            names["captioner"] = self.preset.captioner
        made = {role: f"{name}:{weights.fingerprint(weights.path(name))}" for role, name in names.items()}
        return made | {"whisper": f"{made['whisper']}:sound-{PREPROCESSING}"}

    def widths(self) -> dict[str, int]:
        """{"text": D_text, "image": D_image, "audio": D_audio, "shared": D}; loads the CLIP, whose towers tell theirs."""
        text = json.loads((weights.path(self.preset.text) / "config.json").read_text())["hidden_size"]
        image = self.clip.base.image.shape[1]
        return {"text": text, "image": image, "audio": _whisper_width(self.preset.whisper), "shared": self.clip.width}

    def reads(self, text: str) -> bool:
        """False where the preset's text encoder was never taught the script of the text (MiniLM reads Latin letters)."""
        if self.preset.text != "all-minilm-l6-v2":
            return True
        letters = [c for c in text if c.isalpha()]
        return not letters or sum(c < "\u0250" for c in letters) / len(letters) > 0.5


def _whisper_width(name: str) -> int:
    """D_audio by the size in the model's name; loading Whisper for one number would cost a second of every build."""
    sizes = {"tiny": 384, "base": 512, "small": 768, "medium": 1024, "large": 1280}
    for size, width in sizes.items():
        if f"-{size}" in name:
            return width
    raise WeightsError(f"no encoder width is known for {name!r}", expected=", ".join(sizes))
