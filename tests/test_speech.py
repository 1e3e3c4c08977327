"""Speech without weights: an engine that says what the test tells it to, so that windows, guards and times are checked alone."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mmllm import settings
from mmllm.errors import MissingExtraError, MmllmError, QueryError
from mmllm.media import denoise, normalise_loudness
from mmllm.speech import Voice, Whisper, loops, open_transcriber, pieces, voices
from mmllm.whisper_engines import ENGINES, Decoded

RATE = settings.SAMPLE_RATE


class Letters:
    """A token is a character; timestamps start at 2,000."""

    eot, timestamp_begin = 1000, 2000

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def said(text, start=0.0, end=1.0):
    """Tokens of one segment."""
    return [2000 + round(start * 50), *map(ord, text), 2000 + round(end * 50)]


class Scripted:
    """Gives its answers one by one and remembers the windows it was asked for, in seconds."""

    multilingual = True

    def __init__(self, *answers, guess=("de", 0.9)):
        self.answers, self.guess, self.windows, self.languages = list(answers), guess, [], []

    def encode(self, samples):
        assert len(samples) % 320 == 0
        self.windows.append(len(samples) / RATE)
        return np.stack([np.abs(samples).reshape(-1, 320).mean(1), np.ones(len(samples) // 320)], axis=1)

    def states(self, encoded):
        return encoded

    def language(self, encoded):
        return self.guess

    def decode(self, encoded, language, *, beams, max_tokens):
        self.languages.append(language)
        return self.answers.pop(0)

    def tokenizer(self, language):
        return Letters()


def whisper(*answers, spans=None, voice=0.8, **kwargs):
    engine = Scripted(*answers, **kwargs)

    def detector(audio):
        return [Voice(a, b, voice) for a, b in ([(0, len(audio))] if spans is None else spans)]

    made = Whisper(engine, name="scripted", fingerprint="0", detector=detector)
    engine.windows.clear()
    return made


def tone(seconds, level=0.1):
    return (level * np.sin(np.arange(int(seconds * RATE)) * 0.3)).astype(np.float32)


def test_a_short_turn_has_a_short_window_and_keeps_its_times():
    w = whisper(Decoded([*said("hello", 0.2, 0.8), *said("there", 1.0, 1.6)], -0.2, 0.0))
    heard = w.hear(tone(2))
    assert [(s.start, s.end, s.text) for s in heard.transcript.segments] == [(0.2, 0.8, "hello"), (1.0, 1.6, "there")]
    assert len(w.engine.windows) == 1 and 2 < w.engine.windows[0] < 15
    assert heard.transcript.language == "de" and heard.state.shape == (w.width,)
    assert np.isclose(np.linalg.norm(heard.state), 1)


@pytest.mark.parametrize(
    "bad",
    [
        Decoded(said("mumble"), -1.5, 0.0),
        Decoded(said("one that one that one that"), -0.2, 0.0),
        Decoded(said("no " * 60), -0.2, 0.0),
        Decoded(said("it may rain today it may rain today"), -0.2, 0.0),
        Decoded([*said("it may rain today", 0, 2), *said("thank you", 2.5, 3)], -0.2, 0.0),
    ],
    ids=["low log-probability", "loop", "compresses", "said twice", "after the end"],
)
def test_what_looks_unsure_is_decoded_again_on_the_full_window_and_logged(bad, caplog):
    w = whisper(bad, Decoded(said("it may rain today"), -0.2, 0.0))
    with caplog.at_level(logging.INFO, "mmllm.speech"):
        assert w.hear(tone(2)).transcript.text == "it may rain today"
    assert w.engine.windows[1] == 30.0 and "decoded again" in caplog.text


@pytest.mark.parametrize("bad", [Decoded(said("mumble"), -1.5, 0.0), Decoded(said("ha ha ha ha"), -0.2, 0.0)])
def test_what_stays_unsure_gives_no_text(bad):
    heard = whisper(bad, bad).hear(tone(2))
    assert heard.transcript.segments == () and heard.transcript.language is None


def test_a_sentence_that_is_really_said_twice_is_kept():
    twice = Decoded(said("it may rain today it may rain today"), -0.2, 0.0)
    assert whisper(twice, twice).hear(tone(4)).transcript.text.count("rain") == 2


@pytest.mark.parametrize(
    ("logprob", "no_speech", "voice", "kept"),
    [
        (-0.7, 0.9, 0.8, False),  # Whisper hears no speech
        (-0.7, 0.1, 0.5, False),  # the detector hears hardly a voice
        (-0.7, 0.1, 0.8, True),
        (-0.7, 0.9, 0.95, True),  # a clear voice overrules
        (-0.2, 0.9, 0.5, True),  # a sure text needs no witness
    ],
)
def test_two_witnesses_of_no_speech(logprob, no_speech, voice, kept):
    answer = Decoded(said("you"), logprob, no_speech)
    assert bool(whisper(answer, voice=voice).hear(tone(1)).transcript.text) is kept


def test_a_sound_without_a_voice_is_encoded_and_never_decoded():
    w = whisper(spans=[])
    heard = w.hear(tone(3))
    assert heard.transcript.segments == () and w.engine.languages == [] and np.isfinite(heard.state).all()


def test_an_unsure_language_is_taken_for_english_and_a_given_one_is_kept():
    answer = Decoded(said("hm"), -0.2, 0.0)
    assert whisper(answer, guess=("cy", 0.3)).hear(tone(1)).transcript.language == "en"
    assert whisper(answer).hear(tone(1), language="fr").transcript.language == "fr"
    with pytest.raises(QueryError, match="unknown language 'klingon'"):
        whisper(answer).hear(tone(1), language="klingon")


def test_a_long_recording_is_cut_at_pauses_and_its_times_go_on():
    spans = [(0, 20 * RATE), (24 * RATE, 40 * RATE)]
    w = whisper(Decoded(said("first", 1, 2), -0.2, 0), Decoded(said("second", 3, 4), -0.2, 0), spans=spans)
    found = w.hear(tone(45)).transcript.segments
    # The second piece begins at 22 s; its voice, at 24 s, is given a window of its own from 0.3 s before.
    assert [(s.start, s.text) for s in found] == [(1.0, "first"), (pytest.approx(26.7), "second")]
    assert w.engine.languages == ["de", "de"]


def test_a_voice_in_long_silence_has_a_window_of_its_own():
    w = whisper(Decoded(said("hello", 0.3, 0.9), -0.2, 0.0), spans=[(10 * RATE, 11 * RATE)])
    found = w.hear(tone(20)).transcript.segments
    assert [(s.start, s.end) for s in found] == [(10.0, 10.6)] and len(w.engine.windows) == 2 and w.engine.windows[1] < 15


def test_pieces_cover_everything_once():
    rng = np.random.default_rng(0)
    for _ in range(50):
        edges = np.sort(rng.choice(10_000, 20, replace=False)).reshape(-1, 2)
        spans = pieces(10_000, [(int(a), int(b)) for a, b in edges], 900)
        assert spans[0][0] == 0 and spans[-1][1] == 10_000
        assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))
        assert all(0 < b - a <= 900 for a, b in spans)


def test_speech_is_said_in_many_ways_that_are_no_loop():
    for text in ("very, very good", "the more the merrier", "twenty two twenty three twenty four", "bye bye", "", "..."):
        assert not loops(text), text


def test_silence_has_no_speech():
    assert voices(np.zeros(RATE, np.float32)) == [] and voices(np.zeros(0, np.float32)) == []
    assert voices(np.random.default_rng(0).normal(0, 0.05, 2 * RATE).astype(np.float32)) == []


def test_loudness_is_the_same_for_quiet_and_loud_and_never_clips():
    quiet, loud = normalise_loudness(tone(2, 0.03)), normalise_loudness(tone(2, 0.9))
    assert np.allclose(quiet, loud, atol=1e-3)
    assert np.isclose(20 * np.log10(np.sqrt(np.square(quiet).mean())), -20, atol=0.2)
    with_pause = np.concatenate([tone(1, 0.03), np.zeros(5 * RATE, np.float32)])
    assert np.allclose(normalise_loudness(with_pause)[:RATE], quiet[:RATE], atol=1e-3)
    click = tone(1, 0.01)
    click[100] = 0.9
    assert np.abs(normalise_loudness(click)).max() <= 1.0


def test_loudness_leaves_silence_and_limits_the_gain():
    hiss = np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32)
    assert np.array_equal(normalise_loudness(hiss), hiss)
    assert np.isclose(normalise_loudness(tone(1, 0.006)).max(), 0.06, rtol=0.01)


def test_denoise_lowers_steady_noise_or_says_how_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "noisereduce", None)
    with pytest.raises(MissingExtraError, match=r"mmllm\[denoise\]"):
        denoise(tone(1))
    monkeypatch.undo()
    pytest.importorskip("noisereduce")
    noise = np.random.default_rng(0).normal(0, 0.05, 2 * RATE).astype(np.float32)
    assert np.square(denoise(noise)).mean() < 0.5 * np.square(noise).mean()


def test_engines_by_name(tiny, monkeypatch):
    with pytest.raises(MmllmError, match="engine is 'kaldi'"):
        open_transcriber("whisper-tiny-none", engine="kaldi")
    monkeypatch.setenv("MMLLM_WHISPER_ENGINE", "kaldi")
    with pytest.raises(MmllmError, match="MMLLM_WHISPER_ENGINE is 'kaldi'; expected faster-whisper or openai-whisper"):
        settings.whisper_engine()


def test_a_missing_openai_whisper_says_how_to_install(tiny_weights, monkeypatch):
    import sys

    from mmllm.whisper_engines import OpenaiWhisper

    monkeypatch.setitem(sys.modules, "whisper.decoding", None)
    monkeypatch.setitem(sys.modules, "whisper.model", None)
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(MissingExtraError, match=r"'mmllm\[whisper\]'"):
        OpenaiWhisper(tiny_weights / "whisper-tiny-none")


def test_the_fingerprint_of_whisper_counts_the_preprocessing(tiny, monkeypatch):
    from mmllm import speech
    from mmllm.encoders import Encoders

    before = Encoders(tiny).fingerprints()
    monkeypatch.setattr(speech, "PREPROCESSING", speech.PREPROCESSING + 1)
    after = Encoders(tiny).fingerprints()
    assert {role for role in before if before[role] != after[role]} == {"whisper"}


def test_settings_name_the_engines_there_are():
    assert tuple(ENGINES) == settings.WHISPER_ENGINES
