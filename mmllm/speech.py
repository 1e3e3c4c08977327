"""Whisper through CTranslate2 (faster-whisper): speech -> Transcript with times, sound -> pooled encoder states.

Whisper was trained on 30 s windows, but its encoder runs on shorter ones; a recording of a few seconds is given a window of its
own length, which costs a third of the time. A result that looks unsure is decoded again on the full window.
Radford et al. 2022, https://arxiv.org/abs/2212.04356, for the thresholds.
"""

from __future__ import annotations

import re
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmllm import settings, weights
from mmllm.types import Segment, Transcript

NO_SPEECH, LOW_LOGPROB, REPETITIVE = 0.6, -1.0, 2.4
DOUBTFUL, SURE_LANGUAGE = -0.5, 0.5
WINDOW = 30.0
MARGIN = 1.0
QUIET = 10 ** (-50 / 20)  # a peak below -50 dBFS is taken for silence


@dataclass(frozen=True)
class Heard:
    """One recording: what was said, and the mean encoder state [D_audio]."""

    transcript: Transcript
    state: np.ndarray


@dataclass(frozen=True)
class _Decoded:
    tokens: list[int]
    logprob: float
    no_speech: float
    repetition: float

    @property
    def unsure(self) -> bool:
        return self.logprob < LOW_LOGPROB or self.repetition > REPETITIVE


def _loops(text: str) -> bool:
    """True where a text is one phrase three times or more: a loop too short for the compression test.

    >>> _loops("one that, one that. one that"), _loops("go, go forward")
    (True, False)
    """
    words = re.sub(r"[^\w]+", " ", text.casefold()).strip()
    return bool(re.fullmatch(r"(.+?)(?: ?\1){2,}.{0,12}", words))


class Whisper:
    """A CTranslate2 Whisper folder. One decoding at a time: the model is not shared between threads."""

    def __init__(self, folder: Path, *, name: str) -> None:
        from faster_whisper import WhisperModel

        self.name, self.fingerprint = name, weights.fingerprint(folder)
        self.engine = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=settings.threads(), local_files_only=True
        )
        self.width: int = np.array(self._encode(np.zeros(1600, dtype=np.float32), 1.0)).shape[-1]
        self._lock = threading.Lock()

    def hear(self, audio: np.ndarray, *, language: str | None = None) -> Heard:
        """Mono float32 [n] at 16 kHz -> transcript and pooled state. Silence and sounds without speech give no text."""
        with self._lock:
            seconds = len(audio) / settings.SAMPLE_RATE
            if seconds > WINDOW - MARGIN:
                return self._hear_long(audio, language)
            encoded = self._encode(audio, seconds + MARGIN)
            state = self._pool(encoded, seconds)
            if not self._has_speech(audio):
                return Heard(Transcript(), state)
            language = language or self._language(encoded)
            decoded = self._decode(encoded, language, seconds)
            if decoded.unsure:
                decoded = self._decode(self._encode(audio, WINDOW), language, seconds)
            if decoded.unsure or (decoded.no_speech > NO_SPEECH and decoded.logprob < DOUBTFUL):
                return Heard(Transcript(), state)
            return Heard(Transcript(language, self._segments(decoded.tokens, language, seconds)), state)

    def _hear_long(self, audio: np.ndarray, language: str | None) -> Heard:
        step = int(WINDOW * settings.SAMPLE_RATE)
        states = []
        for start in range(0, len(audio), step):
            part = audio[start : start + step]
            states.append(self._pool(self._encode(part, WINDOW), len(part) / settings.SAMPLE_RATE))
        state = np.mean(states, axis=0)
        found, info = self.engine.transcribe(audio, language=language, vad_filter=True, condition_on_previous_text=False)
        segments = tuple(
            Segment(round(s.start, 2), round(s.end, 2), s.text.strip())
            for s in found
            if s.no_speech_prob <= NO_SPEECH and s.avg_logprob >= LOW_LOGPROB and s.compression_ratio <= REPETITIVE
        )
        return Heard(Transcript(info.language if segments else None, segments), state / np.linalg.norm(state))

    def _has_speech(self, audio: np.ndarray) -> bool:
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        if float(np.abs(audio).max()) < QUIET:
            return False
        padded = np.pad(audio, settings.SAMPLE_RATE // 4)
        return bool(get_speech_timestamps(padded, VadOptions(min_speech_duration_ms=150, threshold=0.4)))

    def _encode(self, audio: np.ndarray, window: float) -> object:
        """Encoder states for a window of that many seconds, as a CTranslate2 StorageView [1, frames, D_audio]."""
        samples = int(round(min(window, WINDOW) * settings.SAMPLE_RATE / 320)) * 320  # 2 mel frames per encoder frame
        padded = np.pad(audio, (0, max(0, samples - len(audio))))[:samples]
        mel = self.engine.feature_extractor(padded, padding=0)[:, : samples // 160]
        return self.engine.encode(mel)

    @staticmethod
    def _pool(encoded: object, seconds: float) -> np.ndarray:
        frames = np.array(encoded)[0]
        mean = frames[: max(1, int(seconds * 50))].mean(axis=0)  # 50 encoder frames a second
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def _language(self, encoded: object) -> str:
        if not self.engine.model.is_multilingual:
            return "en"
        token, probability = self.engine.model.detect_language(encoded)[0][0]
        # A word of half a second is not enough to tell a language by; a guess would be spelled in another script.
        return token.strip("<|>") if probability >= SURE_LANGUAGE else "en"

    def _tokenizer(self, language: str):
        from faster_whisper.tokenizer import Tokenizer

        multilingual = self.engine.model.is_multilingual
        return Tokenizer(self.engine.hf_tokenizer, multilingual, task="transcribe", language=language)

    def _decode(self, encoded: object, language: str, seconds: float) -> _Decoded:
        tokenizer = self._tokenizer(language)
        result = self.engine.model.generate(
            encoded,
            [list(tokenizer.sot_sequence)],
            beam_size=3,
            max_length=min(224, int(16 + 12 * seconds)),  # fast speech has some 6 tokens a second
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=[-1],
            max_initial_timestamp_index=50,
        )[0]
        tokens = list(result.sequences_ids[0])
        text = tokenizer.decode([t for t in tokens if t < tokenizer.eot]).encode()
        repetition = len(text) / len(zlib.compress(text)) if text else 0.0
        if _loops(tokenizer.decode([t for t in tokens if t < tokenizer.eot])):
            repetition = float("inf")
        return _Decoded(tokens, result.scores[0] * len(tokens) / (len(tokens) + 1), result.no_speech_prob, repetition)

    def _segments(self, tokens: list[int], language: str, seconds: float) -> tuple[Segment, ...]:
        """Tokens with timestamps (20 ms each) between them -> segments."""
        tokenizer = self._tokenizer(language)
        segments: list[Segment] = []
        start, words = 0.0, list[int]()

        def close(end: float) -> None:
            text = tokenizer.decode(words).strip()
            if text:
                segments.append(Segment(round(start, 2), round(min(end, seconds), 2), text))
            words.clear()

        for token in tokens:
            if token >= tokenizer.timestamp_begin:
                moment = (token - tokenizer.timestamp_begin) * 0.02
                if words:
                    close(moment)
                start = moment
            elif token < tokenizer.eot:
                words.append(token)
        close(seconds)
        return tuple(segments)
