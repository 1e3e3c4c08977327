"""What the page shows and does, without a browser: sessions, parts, critiques, HTML."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import gradio as gr
import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app

from eval.bench_page import served
from mmllm import Conversation
from mmllm.catalog import matches
from mmllm.dialogue import State
from mmllm.errors import ProfileError
from mmllm.parts import parts, suggest, without
from mmllm.profile import Profiles
from mmllm.types import Evidence, Explanation, Filter, Item, Recommendation
from mmllm.ui import UPLOADS, build
from mmllm.ui_cards import bar, card, comparison, grid
from mmllm.ui_page import Page
from mmllm.ui_pieces import blocks
from mmllm.ui_session import Ask, Session, answer, cleared, exported, forgotten, mark, new_token, remembered, unkept
from mmllm.ui_text import TEXTS, of_critique, of_part, say

HOSTILE = "<img src=x onerror=alert(1)> {{value}} ${alert(1)} `x`"


class Files:
    pictures = True

    def picture(self, item):
        return f"gradio_api/file={item.image}" if item.image else None

    def sound(self, file):
        return f"gradio_api/file={file}"


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def asked(recommender, ask, session=None):
    return list(answer(recommender, session or Session(), ask))[-1]


@pytest.fixture
def session(recommender):
    return asked(recommender, Ask("a tool"))[0]


def test_a_turn_shows_items_before_words_and_a_refused_one_changes_nothing(recommender, session):
    turns = list(answer(recommender, session, Ask("why this?")))
    assert turns[0][1] == "…" and len(turns) > 1 and turns[-1][1] != "…" and turns[0][0].state.listed == session.state.listed
    after, said = asked(recommender, Ask(), session)
    assert "the query is empty" in said and after.state == session.state


@pytest.mark.parametrize("text, words", [("why this?", "kind"), ("compare the first two", "In common"), ("undo", "Taken back")])
def test_questions_keep_the_cards_and_undo_takes_them_away(recommender, session, text, words):
    after, said = asked(recommender, Ask(text), session)
    assert words in said and after.state.listed == (() if text == "undo" else session.state.listed)


def test_every_part_of_a_state_can_be_taken_away_and_brought_back(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    for said in ("a cheap tool under 40", "nothing with hammers"):
        talk.turn(said)
    talk.like(talk.state.listed[0])
    talk.know("cat")
    found = parts(talk.state)
    assert {p.kind for p in found} >= {"filters", "avoid", "liked", "known"} and len({p.key for p in found}) == len(found)
    for part in found:
        left = without(talk.state, part)
        assert parts(left) == tuple(p for p in found if p != part)
        assert parts(left.before[-1]) == found
    for part in found:
        talk.remove(part)
    assert parts(talk.state) == ()
    talk.turn("undo")
    assert parts(talk.state) == found[-1:]


def test_a_removed_filter_widens_the_list_and_a_removed_mark_leaves_it(recommender):
    talk = Conversation(recommender, k=12, reword=False)
    talk.turn("a red fruit")
    assert talk.state.listed == ("apple",)
    kind = next(p for p in parts(talk.state) if getattr(p.value, "attribute", "") == "kind")
    assert [r.id for r in talk.remove(kind).recommendations] == ["hammer"]
    talk.like("hammer")
    talk.remove(next(p for p in parts(talk.state) if p.kind == "liked"))
    assert talk.state.liked == () and talk.state.listed == ("hammer",)


def test_critiques_lead_to_new_items_that_meet_them(recommender, session):
    schema = recommender.schema
    assert suggest(schema, session.state) == (), "all four tools are on the list already"
    session = replace(session, state=replace(session.state, filters=()))
    found = suggest(schema, session.state)
    assert found and suggest(schema, State()) == ()
    for f in found:
        after = asked(recommender, Ask(critique=f), session)[0]
        assert after.state.listed and not set(after.state.listed) & set(session.state.listed)
        assert all(matches(schema.items[i], after.state.filters) for i in after.state.listed) and f in after.state.filters


def test_more_like_this_keeps_the_request_and_asks_for_its_like(recommender, session):
    first = session.state.listed[0]
    after = asked(recommender, Ask(similar=first), session)[0].state
    assert after.similar == (first,) and after.filters == session.state.filters and first not in after.listed


def test_marks_count_and_clearing_forgets_them(recommender, session):
    first = session.state.listed[0]
    after = mark(recommender, mark(recommender, session, 0, "liked"), 1, "known")
    assert after.state.liked == (first,) and after.state.known == session.state.listed[1:2]
    assert cleared(recommender, after).state == State()


def test_a_browser_remembers_until_it_is_told_to_forget(recommender, session):
    token = new_token()
    first, second = session.state.listed[:2]
    kept = mark(recommender, remembered(recommender, mark(recommender, session, 0, "liked"), token), 1, "disliked")
    again = remembered(recommender, Session(), token)
    assert again.state.liked == (first,) and again.state.disliked == (second,)
    assert f'"{first}"' in exported(again) and "a tool" not in exported(again)
    assert cleared(recommender, kept).state.liked == (first,)
    other = mark(recommender, replace(session, profile=None), 1, "liked")
    now = remembered(recommender, other, token).state
    assert set(now.liked) == {first, second} and now.disliked == (), "the later word counts"
    assert unkept(kept).state == kept.state and Profiles().names() == []
    assert forgotten(replace(again, profile=None)) == Session() and exported(Session()) == ""


def test_a_browser_cannot_open_another_ones_profile_by_name(recommender):
    Profiles().open("ANA", recommender.store.manifest.catalog)
    for name in ("ANA", "", "browser:", "../x"):
        with pytest.raises(ProfileError):
            remembered(recommender, Session(), name)
    assert Profiles().names() == ["ANA"]


def test_catalog_text_is_text_in_all_that_is_shown():
    item = Item("x", HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, "m/a.png")
    rows = tuple(Evidence(kind, HOSTILE, HOSTILE) for kind in ("attribute", "neighbour", "fact"))
    rows += (Evidence("transcript", "recording", HOSTILE, file="m/a.ogg", start=1.25, end=2.5),)
    r = Recommendation(
        "x", HOSTILE, 1, 0.5, {"text": 0.5}, {"text": 0.6, "image": 0.4}, Explanation(HOSTILE, "template", rows), item
    )
    for html in (card(r, Files(), "en"), comparison([item, item], Files(), "zh"), grid([item], Files(), "en")):
        read = Tags(html)
        assert HOSTILE in read.text and not re.search(r"\{\{|\$\{|`", html)
        assert {t for t, _ in read.tags} & {"script"} == set() and not any("onerror" in a for _, a in read.tags)
        assert all(a["src"].startswith("gradio_api/file=") and a["alt"] for t, a in read.tags if t == "img")


def test_a_catalog_without_pictures_keeps_no_place_for_them():
    item = Item("x", "A kettle")
    files = Files()
    assert say("no_picture", "en") in grid([item], files, "en")
    files.pictures = False
    assert (
        grid([item], files, "en")
        == "<ul class='grid'><li><h3 title='A kettle'><bdi>A kettle</bdi></h3><p class='facts'></p></li></ul>"
    )


def test_a_picture_that_is_gone_is_none(recommender):
    item = next(i for i in recommender.store.items if i.image)
    (Path(recommender.store.manifest.catalog) / item.image).unlink()
    with gr.Blocks():
        assert Page(recommender).files.picture(item) is None


def test_uploads_are_deleted_after_a_while_and_the_talk_goes_on(recommender, shop, monkeypatch):
    monkeypatch.setattr("mmllm.ui.UPLOADS", (1, 4))
    with served(recommender) as address, (shop / "media" / "apple.png").open("rb") as picture:
        (path,) = httpx.post(f"{address}gradio_api/upload", files={"files": ("apple.png", picture)}).json()
        session = asked(recommender, Ask(files=(path,)))[0]
        assert session.state.listed
        for _ in range(200):
            if not Path(path).is_file():
                break
            time.sleep(0.1)
        assert not Path(path).is_file()
    after = asked(recommender, Ask("a tool like this"), session)[0]
    assert after.state.listed and not after.refused
    again = asked(recommender, session.asked, session)
    assert again[0].refused and "apple.png" in again[1]
    with gr.Blocks():
        assert Page(recommender).chat.postprocess(blocks(session.asked)).root[0].content[0].file.path == path


def test_what_a_card_plays_is_not_deleted_with_uploads(recommender):
    page = build(recommender)
    assert page.delete_cache == UPLOADS and 0 < UPLOADS[0] <= UPLOADS[1] <= 24 * 3600
    with gr.Blocks() as other:
        files = Page(recommender).files
        file = next(i.image for i in recommender.store.items if i.image)  # any file of the catalog does
        kept = Path(unquote(files.sound(file).split("=", 1)[1]))
        delete_files_created_by_app(other, age=None)
        assert kept.is_file()


def test_a_span_of_a_recording_plays_from_its_second():
    rows = (Evidence("transcript", "recording", "a koala", file="m/a.ogg", start=1.25, end=2.5),)
    item = Item("x", "A koala")
    html = card(Recommendation("x", "A koala", 1, 0.5, {}, {}, Explanation("", "template", rows), item), Files(), "en")
    (audio,) = [a for t, a in Tags(html).tags if t == "audio"]
    assert audio["src"].endswith("a.ogg#t=1.25,2.50") and "A koala" in audio["aria-label"] and "1.2" in audio["aria-label"]


def test_shares_are_told_in_words_and_drawn_to_scale():
    read = Tags(bar("shares", {"text": 3.0, "image": 1.0}, "en"))
    assert [a["style"] for t, a in read.tags if "style" in a] == ["width:75.0%", "width:25.0%"]
    assert next(a["aria-label"] for _, a in read.tags if "aria-label" in a) == "Match by modality: text 75%, picture 25%"
    assert bar("shares", {}, "en") == ""


def test_a_comparison_marks_what_differs():
    a, b = Item("a", "A", attributes={"kind": "x", "price": 1}), Item("b", "B", attributes={"kind": "x"})
    html = comparison([a, b], Files(), "en")
    assert "price ≠" in html and "kind ≠" not in html and "not known" in html


def test_both_languages_have_every_text_with_the_same_gaps(recommender):
    assert all(en.count("{}") == zh.count("{}") and en and zh for en, zh in TEXTS.values())
    used = set(re.findall(r'(?:say|I18N)\(\s*"(\w+)"', "".join(p.read_text() for p in ui_files())))
    assert used <= set(TEXTS) and len(used) > 20
    schema = recommender.schema
    assert (
        of_critique(Filter("price", "<", 20), schema, "zh") == "便宜一点"
        and of_critique(Filter("kind", "=", "tool"), schema, "en") == "kind tool"
    )
    assert [of_part(p, schema, "en") for p in parts(State(words="cat", liked=("cat",)))] == ["“cat”", "liked: A black cat"]
    assert say("counts", "zh", 1, 2, 3) == "第 1 至 2 件，共 3 件"


def test_the_reply_follows_what_was_written_and_a_button_says_nothing_of_the_language(recommender):
    start = Session(State(lang="zh"), "zh")
    session, said = asked(recommender, Ask("a tool", pressed=True), start)
    assert session.last.lang == "zh" and "找到" in said
    session, said = asked(recommender, Ask("something cheaper"), session)
    assert session.last.lang == "en" and "找到" not in said
    session, said = asked(recommender, Ask("undo", label="撤销", pressed=True), session)
    assert session.last.lang == "en" and said.startswith("Taken back")
    session, said = asked(recommender, Ask("一只猫"), replace(session, lang="en"))
    assert session.last.lang == "zh" and "一只猫" in said and cleared(recommender, session).state == State(lang="zh")
    r = next(r for r in session.last.recommendations if r.id == "cat")
    html = Tags(card(r, Files(), session.last.lang)).text
    assert "一只猫" in html and "依据" in html


def ui_files():
    from tests.conftest import ROOT

    return sorted((ROOT / "mmllm").glob("ui*.py"))


def test_the_page_shows_a_session_and_browses(recommender, session):
    build(recommender)
    with gr.Blocks():
        page = Page(recommender)
        assert len(page.view(session)) == len(page.seen) == len(page.view(Session()))
        n = [c is page.cards[0].box for c in page.seen].index(True)
        assert [u["visible"] for u in page.view(session)[n : n + 30 : 6]] == [k < len(session.state.listed) for k in range(5)]
        names = [a.name for a in page.browse.attributes]
        assert names == ["colour", "kind", "price"]
        leaf = page.browse.leaf(session, page.files, 7, "", [], ["fruit"], 20, 40)
        assert leaf[0] == 0 and leaf[1] == "Items 1 to 3 of 3" and "apple" in leaf[2] and "banana" not in leaf[2]
        assert page.browse.leaf(session, page.files, 0, "hammers", [], [], 10, None)[1] == "Items 1 to 1 of 1"
        assert page.browse.leaf(session, page.files, 0, "", ["red"], ["animal"], 10, 40)[1] == say("none", "en")
