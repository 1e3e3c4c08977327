"""The page in a real browser, over the invented shop: skipped where playwright or Chromium is not installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import wave
from pathlib import Path

import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
if CHROMIUM is None:
    pytest.skip("no Chromium on the path: apt-get install chromium", allow_module_level=True)

from mmllm import Recommender, catalog  # noqa: E402 - after the reasons to skip
from mmllm.build import build_index  # noqa: E402
from mmllm.profile import Profiles  # noqa: E402
from mmllm.speech import Heard  # noqa: E402
from mmllm.types import Item, Segment, Transcript  # noqa: E402
from mmllm.ui import open_page  # noqa: E402
from tests.conftest import make_shop, tiny_preset  # noqa: E402

AXE = os.environ.get("MMLLM_AXE")
HOSTILE = "A <img src=x onerror=window.hacked=1> {{value}} ${window.hacked=1} [x](javascript:alert(1))"
SPOKEN = "a red apple"
WAIT = 20_000


class Whisper:
    """Hears the same words in every recording that holds a sound."""

    width = 384

    def hear(self, samples):
        assert np.abs(samples).max() > 0.01, "the microphone was silent"
        state = np.ones(self.width, dtype=np.float32) / np.sqrt(self.width)
        return Heard(Transcript("en", (Segment(0.0, 1.0, SPOKEN),)), state)


@pytest.fixture(scope="module")
def tone(tmp_path_factory):
    """Two seconds of a tone: what Chromium's fake microphone plays."""
    file = tmp_path_factory.mktemp("voice") / "voice.wav"
    samples = (np.sin(np.arange(2 * 48_000) * 2 * np.pi * 440 / 48_000) * 20_000).astype("<i2")
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(48_000)
        out.writeframes(samples.tobytes())
    return file


@pytest.fixture(scope="module")
def address(tiny_weights, tmp_path_factory):
    """The page over the shop with one item more, whose title is markup."""
    folder = tmp_path_factory.mktemp("page")
    shop = make_shop(folder / "shop")
    items = [*catalog.read(shop).items, Item("hostile", HOSTILE, HOSTILE, {"kind": "trap", "price": 5})]
    catalog.write(items, shop)
    (shop / "examples.txt").write_text("a red fruit\na cheap tool\n")
    with pytest.MonkeyPatch.context() as patch:
        tiny_preset(tiny_weights, patch, folder / "home")
        build_index(shop, folder / "index", preset="tiny")
        recommender = Recommender.load(folder / "index", weight=0.0)
        patch.setitem(recommender.encoders.__dict__, "whisper", Whisper())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        app, local, _ = open_page(recommender, port=port, block=False)
        yield local
        app.get_blocks().close()
        recommender.close()


@pytest.fixture(scope="module")
def browser(tone):
    """Chromium, whose microphone plays the tone."""
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={tone}"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fake])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, address):
    """Open the page as a new visitor: `visit(locale="zh-CN")`. No error may reach the browser's console."""
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
    assert errors == []


def say(page, text):
    """Type a request and wait for the end of its reply."""
    page.locator("textarea").first.fill(text)
    page.locator("textarea").first.press("Enter")
    return reply(page, text)


def reply(page, asked):
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


def titles(page):
    return [t.split(". ", 1)[1] for t in page.locator(".card:visible h3").all_inner_texts()]


def chips(page):
    return [t.strip() for t in page.locator(".chips label:visible").all_inner_texts()]


def test_typing_fills_cards_chips_and_stages(visit):
    page = visit()
    assert "13" in page.locator("h1 + p").inner_text()
    said = say(page, "a red fruit")
    assert "I found 1" in said and titles(page) == ["A red apple"]
    assert chips(page) == ["kind fruit", "colour red"] or set(chips(page)) >= {"kind fruit", "colour red"}
    image = page.locator(".card img.picture").first
    assert image.evaluate("e => e.complete && e.naturalWidth") and image.get_attribute("alt") == "A red apple"
    assert page.locator(".shares:visible").first.get_attribute("aria-label").startswith("Time by stage")
