"""The page as a new visitor meets it (marked `real`): the stamps, the real models, and a stamp's own voice in Chromium's microphone."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from eval.bench_page import served
from mmllm import settings
from mmllm.errors import WeightsError
from mmllm.media import load_audio
from tests.browsing import RATE, chips, chromium, record, reply, say, titles, upload, visits, write_voice
from tests.conftest import STAMPS

pytestmark = pytest.mark.real
MEDIA = STAMPS / "media"
LEAD, SPEAK = 1.5, 3.0
"""Seconds of silence before the word in the microphone's file, and of speaking. The file plays from where the page opens the microphone, not
from where it starts to record: on a busy machine that is later, and a word that is cut at its start is heard as another ("want that?")."""


@pytest.fixture(scope="module")
def visit(stamps_index, stamps, tmp_path_factory):
    """Visitors whose microphone says "wombat" once while they speak."""
    try:
        stamps.encoders.whisper.hear(
            load_audio(MEDIA / "animals-marsupials-wombat_voice.ogg")
        )  # as `serve` does: loaded before it is asked
    except WeightsError:
        pytest.skip("no weights: run `make stamps`")
    word = soxr.resample(load_audio(MEDIA / "animals-marsupials-wombat_voice.ogg"), settings.SAMPLE_RATE, RATE)
    before, after = (np.zeros(round(s * RATE), dtype=np.float32) for s in (LEAD, 2 * SPEAK))
    voice = write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", np.concatenate([before, word, after]))
    with served(stamps) as address, chromium(voice) as browser, visits(browser, address) as go:
        yield go


def shown(page):
    """The titles of the cards, whose pictures have come and whose evidence is there."""
    for image in page.locator(".card:visible img.picture").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("e => e.complete && e.naturalWidth > 0", arg=image.element_handle())
    assert all(
        "scores" in t.casefold() for t in page.locator(".card:visible details").evaluate_all("es => es.map(e => e.textContent)")
    )
    return titles(page)


def test_a_spoken_word_is_heard_answered_and_illustrated(visit):
    page = visit()
    record(page, SPEAK)
    page.locator("textarea").first.press("Enter")
    page.locator(".message.bot", has_text="I heard").wait_for()
    said = reply(page)
    assert "wombat" in said.split("\n")[0].casefold()
    found = shown(page)
    assert found[0] == "A wombat" and len(found) == 5
    assert "your voice or sound" in chips(page) and page.locator(".message.user [data-testid^=waveform]").count() == 1
    audio = page.locator(".card:visible").first.locator("details audio")
    assert "voice.ogg#t=" in audio.get_attribute("src")


def test_a_picture_is_recognised(visit):
    page = visit()
    upload(page, MEDIA / "animals-marsupials-koala.png")
    page.locator("textarea").first.press("Enter")
    said = reply(page)
    found = shown(page)
    assert found[0] == "A koala" and "I found 5: A koala" in said and chips(page) == ["your picture"]
    assert page.locator(".message.user img").evaluate("e => e.naturalWidth") > 0


def test_words_a_picture_and_a_voice_make_one_request(visit):
    page = visit()
    upload(page, MEDIA / "animals-marsupials-koala.png")
    record(page, SPEAK)
    say(page, "an animal like this")
    page.locator(".message.bot", has_text="counted as").wait_for()  # the last of the reply: the LM words a reason before it
    said = reply(page)
    assert "I heard" in said and "Understood: category animals" in said
    assert all(f"{modality} " in said.split("counted as")[1] for modality in ("text", "image", "audio"))
    assert {"A wombat", "A koala"} <= set(shown(page)[:2])
    assert {"your picture", "your voice or sound", "category animals"} <= set(chips(page))
