"""The page in a real browser, over the invented shop: skipped where playwright or Chromium is not installed."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from eval.bench_page import measure, served
from mmllm import Recommender, catalog
from mmllm.build import build_index
from mmllm.lm import LanguageModel
from mmllm.profile import Profiles
from mmllm.speech import Heard
from mmllm.types import Item, Segment, Transcript
from tests.browsing import RATE, chips, chromium, record, reply, say, titles, upload, visits, write_voice
from tests.conftest import make_shop, tiny_preset

AXE = os.environ.get("MMLLM_AXE")
HOSTILE = "A <img src=x onerror=window.hacked=1> {{value}} ${window.hacked=1} [x](javascript:alert(1))"
SPOKEN = "a red apple"


class Whisper:
    """Hears the same words in every recording that holds a sound."""

    width = 384

    def hear(self, samples):
        assert np.abs(samples).max() > 0.01, "the microphone was silent"
        state = np.ones(self.width, dtype=np.float32) / np.sqrt(self.width)
        return Heard(Transcript("en", (Segment(0.0, 1.0, SPOKEN),)), state)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, whose microphone plays a tone."""
    tone = np.sin(np.arange(2 * RATE) * 2 * np.pi * 440 / RATE) * 0.6
    with chromium(write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", tone)) as opened:
        yield opened


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
        with served(recommender) as local:
            yield local
        recommender.close()


@pytest.fixture
def visit(browser, address):
    with visits(browser, address) as go:
        yield go


def before_its_words(visit, monkeypatch):
    """A page that was asked for a tool and has its cards; the language model's words come when the event is set."""
    generate, go_on = LanguageModel.generate, threading.Event()
    monkeypatch.setattr(LanguageModel, "generate", lambda *args, **kwargs: go_on.wait(30) and generate(*args, **kwargs))
    page = visit()
    page.locator("textarea").first.fill("a tool")
    page.locator("textarea").first.press("Enter")
    page.locator(".message.bot", has_text="I found").wait_for()
    return page, go_on


def test_typing_fills_cards_chips_and_stages(visit):
    page = visit()
    assert "13" in page.locator("h1 + p").inner_text()
    said = say(page, "a red fruit")
    assert "I found 1" in said and titles(page) == ["A red apple"]
    assert chips(page) == ["kind fruit", "colour red"] or set(chips(page)) >= {"kind fruit", "colour red"}
    image = page.locator(".card img.picture").first
    assert image.evaluate("e => e.complete && e.naturalWidth") and image.get_attribute("alt") == "A red apple"
    assert page.locator(".shares:visible").first.get_attribute("aria-label").startswith("Time by stage")


def test_catalog_text_stays_text(visit):
    page = visit()
    said = say(page, "compare a trap with a red apple") + say(page, "trap")
    assert HOSTILE in titles(page) and HOSTILE in said
    assert page.evaluate("window.hacked") is None and page.locator("a[href^='javascript']").count() == 0


def test_a_picture_is_uploaded_and_shared_with_the_words(visit, tmp_path):
    page = visit()
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    upload(page, tmp_path / "red.png")
    assert "I found 5" in say(page, "something like this")
    assert "your picture" in chips(page) and page.locator(".message.user img").count() == 1


def test_a_voice_is_recorded_and_understood(visit):
    page = visit()
    record(page)
    page.locator("textarea").first.press("Enter")
    page.locator(".message.bot", has_text=SPOKEN).wait_for()
    assert set(titles(page)) == {"A red apple", "A red hammer"} and "colour red" in chips(page)


def test_likes_refusals_and_seen_marks_become_chips_that_can_be_removed(visit):
    page = visit()
    say(page, "a tool")
    first, second, third = titles(page)[:3]
    for title, button in ((first, "Like"), (second, "Not this"), (third, "Seen it")):
        page.get_by_role("button", name=f"{button}: {title}", exact=True).click()
        page.get_by_role("button", name=f"{button}: {title}", exact=True).wait_for(state="detached")
    assert chips(page)[-3:] == [f"liked: {first}", f"refused: {second}", f"seen: {third}"]
    page.locator(".chips").get_by_label(f"refused: {second}").click()  # not uncheck(): the chip goes away at once
    reply(page, "without refused")
    assert f"refused: {second}" not in chips(page) and f"liked: {first}" in chips(page)


def test_critiques_more_like_this_undo_and_retry(visit):
    page = visit()
    say(page, "under 35")
    before = titles(page)
    critique = page.locator("#critiques button:visible").last
    label = critique.inner_text()
    critique.click()
    reply(page, label)
    assert chips(page) == ["price below 35", label] and not set(titles(page)) & set(before)
    page.get_by_role("button", name="Undo").click()
    assert "Taken back" in reply(page, "Undo") and titles(page) == before and chips(page) == ["price below 35"]
    first = before[0]
    page.get_by_role("button", name=f"More like this: {first}").click()
    reply(page, "More like this")
    assert f"like {first}" in chips(page) and first not in titles(page)
    turns, shown = page.locator(".message.user").count(), titles(page)
    page.get_by_role("button", name="Retry").click()
    page.wait_for_timeout(1500)
    reply(page, "More like this")
    assert page.locator(".message.user").count() == turns and titles(page) == shown
    page.get_by_role("button", name="Start over").click()
    page.locator(".card:visible").first.wait_for(state="hidden")
    assert chips(page) == [] and page.locator(".message").count() == 0


def test_stop_ends_a_reply_and_keeps_its_cards(visit, monkeypatch):
    generate, go_on = LanguageModel.generate, threading.Event()

    def slow(*args, **kwargs):
        assert go_on.wait(30)
        return generate(*args, **kwargs)

    monkeypatch.setattr(LanguageModel, "generate", slow)
    page = visit()
    page.locator("textarea").first.fill("a tool")
    page.locator("textarea").first.press("Enter")
    bot = page.locator(".message.bot", has_text="A blue saw")
    bot.wait_for()
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Stop").click()
    page.wait_for_timeout(500)
    stopped = bot.inner_text()
    go_on.set()
    page.wait_for_timeout(1500)
    assert bot.inner_text() == stopped and "its kind is" not in stopped and len(titles(page)) == 4
    page.get_by_role("button", name="Retry").click()
    page.locator(".message.bot", has_text="its kind is").wait_for()
    assert page.locator(".message.user").count() == 1


def test_cards_come_before_words(visit):
    for turn in measure(visit(), ("a tool", "a red fruit")):
        assert 0 < turn["cards"] <= turn["words"] <= turn["end"] and turn["said"]


def test_what_is_sent_while_a_reply_comes_is_answered_after_it(visit, monkeypatch):
    page, go_on = before_its_words(visit, monkeypatch)
    page.locator("textarea").first.fill("a red fruit")
    for _ in range(2):  # twice is once
        page.locator("textarea").first.press("Enter")
    page.wait_for_timeout(500)
    assert page.locator(".message.user").count() == 1
    go_on.set()
    page.locator(".message.bot", has_text="A red apple").wait_for()
    assert page.locator(".message.user").all_inner_texts() == ["a tool", "a red fruit"] and titles(page) == ["A red apple"]
    assert "kind is tool" in page.locator(".message.bot").first.inner_text()


def test_nothing_sends_nothing_and_what_is_refused_can_be_mended(visit):
    page = visit()
    box = page.locator("textarea").first
    box.press("Enter")
    page.wait_for_timeout(1000)
    assert page.locator(".message").count() == 0
    long = "fruit " * 400
    box.fill(long)
    box.press("Enter")
    assert "2,399 characters" in reply(page, "fruit")
    assert box.input_value() == long.strip()
    say(page, "a red fruit")
    page.locator(".message.bot", has_text="I found 1").wait_for()
    assert box.input_value() == ""


def test_every_button_of_an_empty_page_answers_or_does_nothing(visit):
    page = visit()
    for name in ("Retry", "Stop"):
        page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_timeout(1000)
    assert page.locator(".message").count() == 0
    for name, said in (("Undo", "nothing to undo"), ("Why this?", "I need an item"), ("Something else", "looking for")):
        page.get_by_role("button", name=name, exact=True).click()
        page.locator(".message.bot", has_text=said).wait_for()


def test_many_clicks_leave_one_mark(visit):
    page = visit()
    say(page, "a tool")
    first, second = titles(page)[:2]
    like = page.locator(".card:visible").nth(0).get_by_role("button").first
    for _ in range(20):
        like.click()
    one, other = page.locator(".card:visible").nth(1).get_by_role("button").all()[:2]
    for _ in range(10):
        one.click()
        other.click()
    page.get_by_role("button", name=f"Refused: {second}", exact=True).wait_for()
    page.wait_for_timeout(1000)
    assert chips(page)[-2:] == [f"liked: {first}", f"refused: {second}"]


def test_markup_formulas_and_arabic_in_a_request_are_shown_as_they_are(visit):
    page = visit()
    asked = "<img src=x onerror=window.hacked=2> $$x^2$$ <b>pear</b>"
    said = say(page, asked)
    assert page.locator(".message.user").inner_text() == asked and page.locator(".katex").count() == 0 and "pear" in said
    say(page, "تفاحة حمراء")
    style = page.locator(".message.user").last.locator(".message-content").evaluate("e => getComputedStyle(e).unicodeBidi")
    assert style == "plaintext" and page.evaluate("window.hacked") is None


def test_the_conversation_has_its_name_and_nothing_over_it(visit):
    page = visit(locale="zh-CN")
    assert page.get_by_role("log", name="对话内容").count() == 1 and page.get_by_role("textbox", name="您的请求").count() == 1
    page = visit()
    say(page, "a tool")
    assert page.get_by_role("log", name="Conversation").count() == 1
    box = page.locator("#chat [data-testid=block-label]").first.bounding_box()
    assert box["width"] <= 1 and box["height"] <= 1


def test_no_button_sends_a_visitors_picture_away(visit, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    for locale, name in (("en-GB", "Share"), ("zh-CN", "分享")):
        page = visit(locale=locale)
        upload(page, tmp_path / "red.png")
        page.locator("textarea").first.press("Enter")
        reply(page)
        assert page.get_by_role("button", name=name, exact=True).count() == 0
        assert page.locator('#chat button:has(path[d^="M23,20a5"])').count() == 1, (
            "Gradio draws it otherwise now: is it still hidden?"
        )


def test_a_request_is_spoken_by_keyboard_alone(visit):
    page = visit()
    page.get_by_role("button", name="Record audio").focus()
    for name in ("Start recording", "Stop recording", "Attach audio"):
        page.keyboard.press("Enter")
        page.wait_for_function("n => document.activeElement.getAttribute('aria-label') === n", arg=name)
        page.wait_for_timeout(1500 if name == "Stop recording" else 0)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Remove file").wait_for()
    page.keyboard.press("Enter")
    page.locator(".message.bot", has_text=SPOKEN).wait_for()


def test_only_the_chat_moves_while_a_reply_comes(visit, monkeypatch):
    page, go_on = before_its_words(visit, monkeypatch)
    moving = "all => all.filter((e) => getComputedStyle(e).animationName !== 'none').length"
    assert page.locator(".card .generating").evaluate_all(moving) == 0
    go_on.set()
    page.locator(".message.bot", has_text="kind is tool").wait_for()


def test_two_cards_are_compared(visit):
    page = visit()
    say(page, "a tool")
    first, second = titles(page)[:2]
    for title in (first, second):
        page.get_by_label(f"Compare: {title}", exact=True).check()
    page.get_by_role("button", name="Compare the chosen").click()
    table = page.get_by_role("table")
    table.wait_for()
    page.wait_for_function("() => document.querySelector('.comparison').getBoundingClientRect().top > 0")
    assert [t.strip() for t in table.get_by_role("columnheader").all_inner_texts()[1:]] == [first, second]
    assert "price ≠" in table.inner_text() and "kind ≠" not in table.inner_text()


def test_evidence_opens_by_keyboard(visit):
    page = visit()
    say(page, "a red fruit")
    summary = page.locator(".card:visible summary").first
    assert not page.locator(".card:visible details ul").first.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert "colour = red" in page.locator(".card:visible details ul").first.inner_text()
    assert "Match by modality" in page.locator(".card:visible details .shares").first.inner_text()


def test_a_reload_remembers_until_forget(visit, address):
    page = visit()
    say(page, "a tool")
    first = titles(page)[0]
    page.get_by_role("button", name=f"Like: {first}", exact=True).click()
    page.get_by_role("tab", name="Profile").click()
    page.get_by_label("Remember my likes").check()
    page.get_by_text(f"liked: {first}").locator("visible=true").wait_for()
    page.wait_for_timeout(500)
    page.reload()
    page.locator("h1 + p").wait_for()
    page.get_by_role("tab", name="Profile").click()
    page.get_by_text(f"liked: {first}").locator("visible=true").wait_for()
    page.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Save as a file").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a file").click()
    kept = json.loads(Path(saved.value.path()).read_text())
    assert [m["kind"] for m in kept["marks"]] == ["liked"] and kept["name"] in Profiles().names()
    page.get_by_role("button", name="Forget everything").click()
    page.get_by_text("Nothing is remembered.").wait_for()
    assert Profiles().names() == []
    page.reload()
    page.locator("h1 + p").wait_for()
    assert chips(page) == []


def test_visitors_do_not_see_each_other(visit):
    one, other = visit(), visit()
    say(one, "a red fruit")
    say(other, "a tool")
    assert titles(one) == ["A red apple"] and "A red apple" not in titles(other) and "kind fruit" not in chips(other)


def test_the_catalog_is_browsed_and_filtered(visit):
    page = visit()
    page.get_by_role("tab", name="Browse").click()
    page.get_by_label("price ≤").fill("20")
    page.get_by_label("Contains the words").fill("fruit")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("Items 1 to 2 of 2").wait_for()
    assert page.locator(".grid h3").all_inner_texts() == ["A yellow banana", "A red apple"]


def test_the_page_speaks_chinese_to_a_chinese_browser(visit):
    page = visit(locale="zh-CN")
    assert "查询目录" in page.locator("h1 + p").inner_text()
    say(page, "under 35")
    assert page.get_by_role("button", name=f"喜欢: {titles(page)[0]}", exact=True).is_visible()
    assert page.get_by_role("tab", name="个人资料").is_visible()
    assert page.locator("textarea").first.get_attribute("placeholder") == "您想找什么？"
    critique = page.locator("#critiques button:visible").last
    label = critique.inner_text()
    critique.click()
    reply(page, label)
    assert {"price 低于 35", label} <= set(chips(page)) and "为" in label


def test_a_reply_is_in_the_language_of_what_was_typed(visit):
    page = visit()
    assert "找到" in say(page, "红色的工具") and page.get_by_role("button", name="Something else").is_visible()
    assert page.locator(".card:visible summary").first.inner_text() == "依据"
    assert "I found" in say(page, "a red tool") and page.locator(".card:visible summary").first.inner_text() == "Evidence"


@pytest.mark.parametrize("width", [360, 390, 768])
def test_nothing_is_cut_off_at_phone_width(visit, width):
    page = visit(viewport={"width": width, "height": 740})
    say(page, "a tool")
    for tab in ("Talk", "Browse", "Profile"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("tab", name="Talk").click()
    for button in page.locator(".card:visible").first.get_by_role("button").all():
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 24


def test_dark_and_light(visit):
    page = visit(color_scheme="light")

    def background():
        return page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")

    light = background()
    page.get_by_role("button", name="Dark or light").click()
    page.wait_for_function("document.body.classList.contains('dark')")
    assert background() != light
    assert visit(color_scheme="dark").evaluate("document.body.className").split().count("dark") == 1


@pytest.mark.skipif(not AXE, reason="MMLLM_AXE names no axe.min.js: npm pack axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(visit, scheme):
    page = visit(color_scheme=scheme)
    say(page, "a tool")
    for title in titles(page)[:2]:
        page.get_by_label(f"Compare: {title}", exact=True).check()
    page.get_by_role("button", name=f"Like: {titles(page)[0]}", exact=True).click()
    page.get_by_role("button", name="Compare the chosen").click()
    page.get_by_role("table").wait_for()
    page.locator(".card:visible summary").first.click()
    page.add_script_tag(path=AXE)
    for tab in ("Talk", "Browse", "Profile"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Browse":
            page.get_by_role("button", name="Show", exact=True).click()
            page.locator(".grid li").first.wait_for()
        page.wait_for_timeout(500)
        found = page.evaluate("axe.run().then(r => r.violations)")
        serious = [
            (v["id"], n["html"][:160], n["failureSummary"][:160])
            for v in found
            if v["impact"] in ("serious", "critical")
            for n in v["nodes"]
        ]
        assert serious == [], tab
