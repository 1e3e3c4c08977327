"""The real Whisper in both engines on the stamps' own recordings (marked `real`): `make stamps` fetches what these need."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from mmllm import settings, weights
from mmllm.errors import WeightsError
from mmllm.media import load_audio
from mmllm.speech import open_transcriber
from tests.conftest import STAMPS

pytestmark = pytest.mark.real
MEDIA = STAMPS / "media"
SPOKEN = {"animals-insects-grasshopper_voice.ogg": "grasshopper", "animals-mammals-badger_voice.ogg": "badger"}
EFFECTS = (
    "animals-birds-crow_sound.ogg",
    "animals-mammals-cats-lion_sound.ogg",
    "animals-mammals-equines-horse_sound.ogg",
    "hobbies-music-percussion-drumkit_sound.ogg",
    "hobbies-music-string-violin_sound.ogg",
    "vehicles-emergency-firetruck_sound.ogg",
)


@pytest.fixture(scope="module", params=settings.WHISPER_ENGINES)
def ear(request):
    if request.param == "openai-whisper":
        pytest.importorskip("whisper", reason="the extra `whisper` is not installed")
    try:
        weights.path("whisper-base")
    except WeightsError:
        pytest.skip("no weights: run `make stamps`")
    if not MEDIA.is_dir():
        pytest.skip("no stamps: run `make stamps`")
    return open_transcriber("whisper-base", engine=request.param)


def test_names_are_heard_and_no_program_is_started(ear, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"a program was started: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for file, word in SPOKEN.items():
        heard = ear.hear(load_audio(MEDIA / file), language="en").transcript
        assert word in heard.text.casefold()
        seconds = len(load_audio(MEDIA / file)) / settings.SAMPLE_RATE
        assert all(0 <= s.start <= s.end <= seconds + 0.01 for s in heard.segments)


def test_sounds_without_speech_give_no_text(ear):
    texts = {file: ear.hear(load_audio(MEDIA / file)).transcript.text for file in EFFECTS}
    assert not any(texts.values()), texts


def test_a_quiet_recording_is_heard_as_a_loud_one(ear):
    loud = load_audio(MEDIA / "animals-insects-grasshopper_voice.ogg")
    a, b = ear.hear(loud, language="en"), ear.hear(loud * 0.3, language="en")
    assert a.transcript.text == b.transcript.text != "" and a.state @ b.state > 0.99


def test_names_in_a_long_recording_have_their_times(ear):
    word = load_audio(MEDIA / "animals-marsupials-wombat_voice.ogg")
    long = np.zeros(50 * settings.SAMPLE_RATE, dtype=np.float32)
    for second in (3, 40):
        at = second * settings.SAMPLE_RATE
        long[at : at + len(word)] = word
    found = ear.hear(long, language="en").transcript.segments
    assert any("wombat" in s.text.casefold() and 38 <= s.end <= 44 for s in found), found


def test_the_engines_share_states(ear):
    if ear.engine.__class__.__name__ == "FasterWhisper":
        pytest.skip("compared from the other engine")
    other = open_transcriber("whisper-base", engine="faster-whisper")
    for file in (*SPOKEN, *EFFECTS[:2]):
        sound = load_audio(MEDIA / file)
        assert ear.hear(sound).state @ other.hear(sound).state > 0.999, file
