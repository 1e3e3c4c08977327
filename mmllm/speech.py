"""Speech -> Transcript with times, sound -> pooled encoder states; the rules are here, the engines in `whisper_engines.py`.

Whisper was trained on 30 s windows, but its encoder runs on shorter ones; a recording of a few seconds is given a window a
little longer than itself, which costs a fraction of the time. A result that looks unsure is decoded again on the full window.
Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 4.5, for the thresholds.
"""

from __future__ import annotations

import logging
import re
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmllm import media, settings, weights
from mmllm.errors import QueryError
from mmllm.types import Segment, Transcript
from mmllm.whisper_engines import ENGINES, Decoded, Engine

log = logging.getLogger(__name__)
PREPROCESSING = 2
"""Raised when what is done to a sound before or around Whisper changes: indexes made with another number are built again."""
NO_SPEECH, LOW_LOGPROB, REPETITIVE = 0.6, -1.0, 2.4
DOUBTFUL, SURE_LANGUAGE = -0.5, 0.5
WINDOW, LONGEST = 30.0, 29.0
"""Seconds Whisper was trained on, and seconds a piece of a long recording may have: timestamps end with the window."""
SHORTEST, MARGIN = 10.0, 3.0
"""A window is this long, and longer than its sound by this much. On shorter ones words are said twice and short words are missed."""
SURE_VOICE, UNSURE_VOICE = 0.9, 0.7
"""Peaks of the voice detector: from the first on Whisper's own "no speech" is overruled, below the second a text must be sure."""
BEAMS = 5  # as in the paper; with three the two engines part by four words in 568
PAD, MUCH = int(0.3 * settings.SAMPLE_RATE), 2 * settings.SAMPLE_RATE
"""Samples kept around a voice, and samples of silence worth cutting away."""
FRAME = 320  # samples of one encoder frame: 20 ms
QUIET = 10 ** (-50 / 20)  # a peak below -50 dBFS is taken for silence


class Voice(NamedTuple):
    """A span of samples that holds a voice, and the detector's highest probability in it."""

    start: int
    end: int
    probability: float


Detector = Callable[[np.ndarray], list[Voice]]
"""Mono float32 [n] at 16 kHz -> its voices, in order."""


@dataclass(frozen=True)
class Heard:
    """One recording: what was said, and the mean encoder state [D_audio], L2-normalised."""

    transcript: Transcript
    state: np.ndarray


class Transcriber(Protocol):
    """Anything that hears: an encoder with a transcript."""

    name: str
    fingerprint: str
    width: int

    def hear(self, audio: np.ndarray, *, language: str | None = None) -> Heard:
        """Mono float32 [n] at 16 kHz -> transcript and state [D_audio]."""


def open_transcriber(name: str, *, engine: str | None = None) -> Transcriber:
    """The Whisper weights of that name (they have to be on this machine) in an engine; see `settings.whisper_engine`."""
    engine = settings.whisper_engine(engine)
    folder = weights.path(name)
    return Whisper(ENGINES[engine](folder), name=name, fingerprint=weights.fingerprint(folder))


def loops(text: str) -> bool:
    """True where a text is one phrase three times or more: a loop that may be too short for zlib to tell.

    >>> loops("one that, one that. one that"), loops("go, go forward")
    (True, False)
    """
    return bool(re.fullmatch(r"(.+?)(?: ?\1){2,}.{0,12}", _words(text)))


def doubled(text: str) -> bool:
    """True where a text is said twice, or three words and more are begun again: what short windows make of a pause at the end.

    >>> doubled("A goat. A goat."), doubled("It may rain today. It may rain"), doubled("the more the merrier")
    (True, True, False)
    """
    words = _words(text).split()
    half = len(words) // 2
    if half and words[:half] == words[half:]:
        return True
    return any(words[n:] == words[: len(words) - n] for n in range(max(3, half), len(words) - 1))


def _words(text: str) -> str:
    return re.sub(r"[^\w]+", " ", text.casefold()).strip()


def repetition(text: str) -> float:
    """How well a text compresses; infinite for a loop. Ordinary speech stays below 2.

    >>> repetition("") == 0.0, repetition("no no no no") > REPETITIVE
    (True, True)
    """
    if loops(text):
        return float("inf")
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def pieces(length: int, speech: Sequence[tuple[int, int]], longest: int) -> list[tuple[int, int]]:
    """Spans that cover [0, length) and are at most `longest` samples; cut in the middle of the last pause that fits.

    `speech` are spans with a voice, in order. Where a voice goes on for longer than a piece, the cut falls into it.

    >>> pieces(50, [(0, 18), (22, 45)], 30), pieces(70, [(0, 70)], 30), pieces(10, [], 30)
    ([(0, 20), (20, 50)], [(0, 30), (30, 60), (60, 70)], [(0, 10)])
    """
    pauses = [(a[1] + b[0]) // 2 for a, b in zip(speech, speech[1:], strict=False)]
    spans, start = [], 0
    while length - start > longest:
        cut = max((p for p in pauses if start < p <= start + longest), default=start + longest)
        spans.append((start, cut))
        start = cut
    return [*spans, (start, length)]


def voices(audio: np.ndarray) -> list[Voice]:
    """Spans with a voice, in order, by Silero's detector (it comes with faster-whisper); none in silence."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model

    if not audio.size or float(np.abs(audio).max()) < QUIET:
        return []
    pad = settings.SAMPLE_RATE // 4  # the detector misses a word that starts with the file
    padded = np.pad(audio, pad)
    options = VadOptions(min_speech_duration_ms=150, threshold=0.4, min_silence_duration_ms=500)
    found = get_speech_timestamps(padded, options)
    if not found:
        return []
    step = 512  # samples that the detector judges at a time
    chances = np.ravel(get_vad_model()(np.pad(padded, (0, -len(padded) % step))))
    return [
        Voice(
            max(0, s["start"] - pad),
            min(len(audio), s["end"] - pad),
            float(chances[s["start"] // step : s["end"] // step + 1].max()),
        )
        for s in found
    ]


class Whisper:
    """Whisper in one of the engines. One decoding at a time: the model is not shared between threads."""

    def __init__(self, engine: Engine, *, name: str, fingerprint: str, detector: Detector = voices) -> None:
        self.engine, self.name, self.fingerprint, self.detector = engine, name, fingerprint, detector
        self.width: int = engine.states(self._encode(np.zeros(FRAME, dtype=np.float32), window=1.0)).shape[-1]
        self._lock = threading.Lock()

    def hear(self, audio: np.ndarray, *, language: str | None = None) -> Heard:
        """Mono float32 [n] at 16 kHz -> transcript and pooled state. Silence and sounds without speech give no text.

        Without `language` it is told from the first speech. QueryError for a language that Whisper does not know.
        """
        if language is not None:
            _check_language(language)
        with self._lock:
            audio = media.normalise_loudness(audio)
            found = self.detector(audio)
            states, frames, segments = [], [], list[Segment]()
            spoken = None
            spans = [(v.start, v.end) for v in found]
            for start, end in pieces(len(audio), spans, int(LONGEST * settings.SAMPLE_RATE)):
                encoded = self._encode(audio[start:end])
                states.append(self._pool(encoded, end - start))
                frames.append(end - start)
                inside = [v for v in found if v.start < end and v.end > start]
                if not inside:
                    continue
                first, last = max(start, inside[0].start - PAD), min(end, inside[-1].end + PAD)
                if end - start - (last - first) > MUCH:
                    # Whisper's times go wrong in long silence; the voice is given a window of its own.
                    encoded = self._encode(audio[first:last])
                else:
                    first, last = start, end
                language = language or self._language(encoded)
                said = self._transcribe(audio[first:last], encoded, language, max(v.probability for v in inside))
                spoken = language if said else spoken
                moved = first / settings.SAMPLE_RATE
                segments += [Segment(round(moved + s.start, 2), round(moved + s.end, 2), s.text) for s in said]
            mean = np.average(states, axis=0, weights=frames)
            return Heard(Transcript(spoken, tuple(segments)), (mean / np.linalg.norm(mean)).astype(np.float32))

    def _transcribe(self, piece: np.ndarray, encoded: Any, language: str, voice: float) -> list[Segment]:
        """Decode on the short window, again on the full one where that looks unsure; nothing where it still does."""
        seconds = len(piece) / settings.SAMPLE_RATE
        decoded, segments = self._decode(encoded, language, seconds)
        doubt = _unsure(decoded, segments) or _echoes(segments, seconds)
        if doubt and _window(seconds) < WINDOW:
            log.info("decoded again on the full window: %s", doubt)
            decoded, segments = self._decode(self._encode(piece, window=WINDOW), language, seconds)
        if doubt := _unsure(decoded, segments) or _no_speech(decoded, voice):
            log.info("no text is kept: %s", doubt)
            return []
        kept = [s for s in segments if s.start < seconds]
        if len(kept) < len(segments):
            log.info("%d segments after the end of the sound are dropped", len(segments) - len(kept))
        return [Segment(s.start, min(s.end, round(seconds, 2)), s.text) for s in kept]

    def _decode(self, encoded: Any, language: str, seconds: float) -> tuple[Decoded, list[Segment]]:
        limit = int(16 + 12 * seconds)  # fast speech has some 6 tokens a second
        decoded = self.engine.decode(encoded, language, beams=BEAMS, max_tokens=limit)
        return decoded, self._segments(decoded.tokens, language)

    def _encode(self, audio: np.ndarray, *, window: float | None = None) -> Any:
        """Encoder states of the sound in a window of that many seconds; None means one that fits the sound."""
        window = window or _window(len(audio) / settings.SAMPLE_RATE)
        samples = round(window * settings.SAMPLE_RATE / FRAME) * FRAME
        return self.engine.encode(np.pad(audio, (0, max(0, samples - len(audio))))[:samples])

    def _pool(self, encoded: Any, samples: int) -> np.ndarray:
        """The mean state of the frames that hold sound, L2-normalised."""
        mean = self.engine.states(encoded)[: max(1, samples // FRAME)].mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def _language(self, encoded: Any) -> str:
        if not self.engine.multilingual:
            return "en"
        code, probability = self.engine.language(encoded)
        # A word of half a second is not enough to tell a language by; a guess would be spelled in another script.
        if probability < SURE_LANGUAGE:
            log.info("taken for English: %s had a probability of %.2f only", code, probability)
            return "en"
        return code

    def _segments(self, tokens: list[int], language: str) -> list[Segment]:
        """Tokens with timestamps (20 ms each) between them -> segments; the last may lack its end and then has none (infinity)."""
        tokenizer = self.engine.tokenizer(language)
        segments: list[Segment] = []
        start, words = 0.0, list[int]()

        def close(end: float) -> None:
            if text := tokenizer.decode(words).strip():
                segments.append(Segment(round(start, 2), round(end, 2), text))
            words.clear()

        for token in tokens:
            if token >= tokenizer.timestamp_begin:
                moment = (token - tokenizer.timestamp_begin) * 0.02
                if words:
                    close(moment)
                start = moment
            elif token < tokenizer.eot:
                words.append(token)
        close(float("inf"))
        return segments


def _unsure(decoded: Decoded, segments: Sequence[Segment]) -> str:
    """Why a result is not to be believed on any window, or nothing."""
    if decoded.logprob < LOW_LOGPROB:
        return f"a log-probability of {decoded.logprob:.2f}"
    ratio = repetition(" ".join(s.text for s in segments))
    return f"a repetition of {ratio:.1f}" if ratio > REPETITIVE else ""


def _echoes(segments: Sequence[Segment], seconds: float) -> str:
    """Why a result smells of a window that was too short, or nothing. A sentence may well be said twice: the full window tells."""
    if doubled(" ".join(s.text for s in segments)):
        return "it is said twice"
    return "it goes on after the end of the sound" if any(s.start >= seconds for s in segments) else ""


def _no_speech(decoded: Decoded, voice: float) -> str:
    """Why there was no speech after all, or nothing. Two witnesses, Whisper and the voice detector; a sure text needs neither."""
    if decoded.logprob >= DOUBTFUL:
        return ""
    if voice < UNSURE_VOICE or (voice < SURE_VOICE and decoded.no_speech > NO_SPEECH):
        return f"a voice of {voice:.2f}, no speech of {decoded.no_speech:.2f}, a log-probability of {decoded.logprob:.2f}"
    return ""


def _window(seconds: float) -> float:
    return min(WINDOW, max(SHORTEST, seconds + MARGIN))


def _check_language(language: str) -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    if language not in _LANGUAGE_CODES:
        raise QueryError(f"unknown language {language!r}", expected="a code that Whisper knows, such as en, de or zh")
