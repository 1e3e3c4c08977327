"""Two programs that run one Whisper: CTranslate2 (through faster-whisper) and openai-whisper. Only what differs is here.

Both take a window of mono float32 samples of any length up to 30 s, where their own front doors pad to 30 s, and neither
starts a program or opens a file of sound. Token ids, timestamps and tokenizers agree, because the weights are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmllm import settings
from mmllm.errors import MissingExtraError

MAX_TEXT = 224  # tokens of one window: half of Whisper's text context, as both libraries have it
FIRST_TIMESTAMP = 50  # speech begins within the first second of a window's timestamps: 50 steps of 20 ms


@dataclass(frozen=True)
class Decoded:
    """Tokens of one window (text and timestamps), their mean log-probability, and the probability of no speech."""

    tokens: list[int]
    logprob: float
    no_speech: float


class Engine(Protocol):
    """What a program has to give. `encoded` is its own value, passed back to it unread."""

    multilingual: bool

    def encode(self, samples: np.ndarray) -> Any:
        """A window of samples, a whole number of encoder frames (320 samples) -> encoder states in the engine's own type."""

    def states(self, encoded: Any) -> np.ndarray:
        """The encoder states as [frames, D_audio] float32, 50 frames a second."""

    def language(self, encoded: Any) -> tuple[str, float]:
        """The likeliest language's code and its probability among all languages."""

    def decode(self, encoded: Any, language: str, *, beams: int, max_tokens: int) -> Decoded:
        """Beam search with timestamps."""

    def tokenizer(self, language: str) -> Any:
        """Has `decode(ids)`, `eot` and `timestamp_begin`."""


class FasterWhisper:
    """CTranslate2 with int8 weights: the default on a CPU."""

    def __init__(self, folder: Path) -> None:
        from faster_whisper import WhisperModel

        self.model = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=settings.threads(), local_files_only=True
        )
        self.multilingual: bool = self.model.model.is_multilingual

    def encode(self, samples: np.ndarray) -> Any:
        """[1, frames, D_audio] as a CTranslate2 StorageView."""
        mel = self.model.feature_extractor(samples, padding=0)[:, : len(samples) // 160]
        return self.model.encode(mel)

    def states(self, encoded: Any) -> np.ndarray:
        """[frames, D_audio]."""
        return np.array(encoded, dtype=np.float32)[0]

    def language(self, encoded: Any) -> tuple[str, float]:
        """(code, probability)."""
        token, probability = self.model.model.detect_language(encoded)[0][0]
        return token.strip("<|>"), probability

    def decode(self, encoded: Any, language: str, *, beams: int, max_tokens: int) -> Decoded:
        """Beam search with timestamps."""
        prompt = list(self.tokenizer(language).sot_sequence)
        result = self.model.model.generate(
            encoded,
            [prompt],
            beam_size=beams,
            max_length=len(prompt) + min(MAX_TEXT, max_tokens),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=[-1],
            max_initial_timestamp_index=FIRST_TIMESTAMP,
        )[0]
        tokens = list(result.sequences_ids[0])
        # CTranslate2's score is a mean over the tokens; openai-whisper counts the end of the text as one more.
        return Decoded(tokens, result.scores[0] * len(tokens) / (len(tokens) + 1), result.no_speech_prob)

    @lru_cache(maxsize=8)  # noqa: B019 - as many as there are languages in use, and one engine per process
    def tokenizer(self, language: str) -> Any:
        """faster-whisper's tokenizer."""
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self.model.hf_tokenizer, self.multilingual, task="transcribe", language=language)


class OpenaiWhisper:
    """openai-whisper in float32, over the same tensors under its own names."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        from mmllm.whisper_weights import openai_folder

        try:
            from whisper.decoding import DecodingOptions, DecodingTask
            from whisper.model import ModelDimensions, Whisper
        except ImportError:
            raise MissingExtraError("openai-whisper", "whisper") from None

        class OverStates(DecodingTask):
            """The library's decoding over encoder states of any length; its own check knows 30 s only."""

            def _get_audio_features(self, mel: torch.Tensor) -> torch.Tensor:
                return mel

        self._task, self._options = OverStates, DecodingOptions
        converted = openai_folder(folder)
        self.model = Whisper(ModelDimensions(**json.loads((converted / "dims.json").read_text())))
        self.model.load_state_dict({k: v.float() for k, v in load_file(converted / "model.safetensors").items()}, strict=True)
        self.model.eval()
        self.multilingual: bool = self.model.is_multilingual

    def encode(self, samples: np.ndarray) -> Any:
        """[1, frames, D_audio] as a tensor: the library's encoder with its positions cut to the window."""
        import torch
        from torch.nn.functional import gelu
        from whisper.audio import log_mel_spectrogram

        encoder = self.model.encoder
        with torch.inference_mode():
            mel = log_mel_spectrogram(samples, n_mels=self.model.dims.n_mels)[None]
            x = gelu(encoder.conv2(gelu(encoder.conv1(mel)))).permute(0, 2, 1)
            x = x + encoder.positional_embedding[: x.shape[1]]
            for block in encoder.blocks:
                x = block(x)
            return encoder.ln_post(x)

    def states(self, encoded: Any) -> np.ndarray:
        """[frames, D_audio]."""
        return encoded[0].numpy()

    def language(self, encoded: Any) -> tuple[str, float]:
        """(code, probability)."""
        import torch

        tokenizer = self.tokenizer("en")
        with torch.inference_mode():
            logits = self.model.logits(torch.tensor([[tokenizer.sot]]), encoded)[0, 0]
            among = logits[list(tokenizer.all_language_tokens)].softmax(dim=-1)
        best = int(among.argmax())
        return tokenizer.all_language_codes[best], float(among[best])

    def decode(self, encoded: Any, language: str, *, beams: int, max_tokens: int) -> Decoded:
        """Beam search with timestamps."""
        import torch

        options = self._options(language=language, beam_size=beams, sample_len=min(MAX_TEXT, max_tokens), fp16=False)
        with torch.inference_mode():
            result = self._task(self.model, options).run(encoded)[0]
        return Decoded(result.tokens, result.avg_logprob, result.no_speech_prob)

    def tokenizer(self, language: str) -> Any:
        """openai-whisper's tokenizer; its vocabulary lies in the package."""
        from whisper.tokenizer import get_tokenizer

        return get_tokenizer(self.multilingual, num_languages=self.model.num_languages, language=language, task="transcribe")


ENGINES: dict[str, Callable[[Path], Engine]] = {"faster-whisper": FasterWhisper, "openai-whisper": OpenaiWhisper}
