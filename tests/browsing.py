"""Chromium over the page: what the tests that drive it share. Importing this skips a module where playwright or Chromium is missing."""

from __future__ import annotations

import wave
from contextlib import contextmanager

import numpy as np
import pytest

from eval.bench_page import CHROMIUM

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
if CHROMIUM is None:
    pytest.skip("no Chromium on the path: apt-get install chromium", allow_module_level=True)

WAIT = 20_000
RATE = 48_000


def write_voice(file, samples):
    """Samples [n] in [-1, 1] at RATE as the WAV file that a fake microphone plays."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((np.asarray(samples) * 32_000).astype("<i2").tobytes())
    return file


ABORTED = ("signal is aborted without reason", "The user aborted a request.")
"""What Gradio's recorder (WaveSurfer) throws when it is taken away while it still draws what was recorded, or still fetches it."""


@contextmanager
def chromium(voice):
    """Chromium, whose microphone plays that file."""
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={voice}"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fake])
        yield opened
        opened.close()


@contextmanager
def visits(browser, address):
    """A function that opens the page as a new visitor: `visit(locale="zh-CN")`. No error may reach the browser's console."""
    contexts, errors = [], []

    def go(**settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 1000}, "permissions": ["microphone"]} | settings))
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(address)
        page.locator("h1 + p").wait_for()
        return page

    yield go
    for context in contexts:
        context.close()
    assert [e for e in errors if e not in ABORTED] == [], errors


def say(page, text):
    """Type a request and wait for the end of its reply."""
    page.locator("textarea").first.fill(text)
    page.locator("textarea").first.press("Enter")
    return reply(page, text)


def reply(page, asked=""):
    """The last reply, once it has stopped growing, to a request that is on the page."""
    page.locator(".message.user", has_text=asked).last.wait_for()
    bot = page.locator(".message.bot").last
    said = ""
    for _ in range(100):
        page.wait_for_timeout(200)
        now = bot.inner_text().strip()
        if now == said and now not in ("", "…"):
            return said
        said = now
    raise AssertionError(f"no end of the reply: {said!r}")


def record(page, seconds=1.5):
    """Speak for as long, and attach it: Enter sends it then."""
    page.get_by_role("button", name="Record audio").click()
    page.get_by_role("button", name="Start recording").click()
    page.wait_for_timeout(int(seconds * 1000))
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_role("button", name="Attach audio").click()
    page.get_by_role("button", name="Remove file").last.wait_for()


def upload(page, file):
    """Put a picture into the box."""
    page.locator("input[type=file]").first.set_input_files(file)
    page.locator(".thumbnail-item img, .thumbnails img").first.wait_for()


def titles(page):
    return [t.split(". ", 1)[1] for t in page.locator(".card:visible h3").all_inner_texts()]


def chips(page):
    return [t.strip() for t in page.locator(".chips label:visible").all_inner_texts()]
