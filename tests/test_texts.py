"""What a conversation says: every text in both languages, and a turn in Chinese answered in Chinese alone."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from pathlib import Path

import pytest

from mmllm import Conversation, Query, ui_text
from mmllm.catalog import title_in
from mmllm.dialogue import State, as_words
from mmllm.explain import explain, template
from mmllm.texts import CJK, LANGUAGES, TEXTS, language, say
from mmllm.types import Evidence, Filter, Item

CODE = sorted((Path(__file__).parent.parent / "mmllm").glob("*.py"))
ENGLISH = re.compile("[A-Za-z]{3,}")


def gaps(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("texts", [TEXTS, ui_text.TEXTS, ui_text.CRITIQUES], ids=["conversation", "page", "critiques"])
def test_every_text_stands_in_every_language_with_the_same_gaps(texts):
    for key, pair in texts.items():
        assert len(pair) == len(LANGUAGES) and all(pair), key
        assert gaps(pair[0]) == gaps(pair[1]), key
        chinese = re.sub(r"\{\w*\}", "", pair[1])
        assert not ENGLISH.search(chinese.replace("BM25", "")), f"{key}: English words in {chinese!r}"
        assert not CJK.search(pair[0]), key


def test_every_key_that_the_code_says_is_there():
    said = {
        key
        for file in CODE
        if not file.stem.startswith("ui")
        for call in re.findall(r"\bsay\(\s*([^()]*?)(?:,|\))", file.read_text(encoding="utf-8"))
        for key in re.findall(r'"([\w =!<>]+)"', re.sub(r'== "\w+"', "", call))
    }
    assert said and said <= set(TEXTS), said - set(TEXTS)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("红色的水果", "zh"),
        ("我想看 comedy", "zh"),
        ("第2个", "zh"),
        ("《Copper Rain》怎么样", "zh"),
        ("a red fruit", "en"),
        ("show me 猫 pictures", "en"),
        ("I loved 《霸王别姬》", "en"),
        ("un chat rouge", "en"),
        ("2", "zh"),
        ("🙂", "zh"),
    ],
)
def test_the_language_of_a_turn(text, lang):
    assert language(text, "zh") == lang


def test_a_filter_in_both_languages():
    for op, words in ((">=", "price at least 5"), ("!=", "price not 5"), ("=", "price 5")):
        assert as_words(Filter("price", op, 5)) == words and CJK.search(as_words(Filter("price", op, 5), "zh"))


def test_reasons_of_every_kind_in_chinese():
    kinds = ("attribute", "transcript", "caption", "neighbour", "people")
    rows = [Evidence("words", "title", "red"), Evidence("words", "text", "fruit")]
    rows += [Evidence(kind, "colour", "red", start=1.0, end=2.0) for kind in kinds]
    rows += [Evidence(k, f"your {n}", "0.50") for k, n in (("picture", "picture"), ("sound", "sound"))]
    for row in [*rows, Evidence("meaning", "your words", "0.50"), Evidence("title", "title", "A cat")]:
        told = template("猫", [row], "zh")
        assert not ENGLISH.search(re.sub("colour|red|fruit", "", told)), told


def test_an_attribute_is_named_as_people_say_it():
    assert template("Babe", [Evidence("attribute", "tags", "pigs")]) == "Babe: its tags are pigs."
    assert template("Polo", [Evidence("attribute", "article_type", "Shirts")]) == "Polo: its article type is Shirts."


def test_the_language_model_words_no_chinese():
    class Never:
        def generate(self, *_, **__):
            raise AssertionError("asked")

    told = explain("猫", (Evidence("attribute", "colour", "red"),), Never(), "zh")
    assert told.source == "template" and told.text == "猫：colour 为 red。" and "English alone" in told.note


def test_titles_in_chinese_are_the_catalogs_own():
    item = Item("cat", "A cat", attributes={"names": ("Un chat", "くろネコ", "一只猫")})
    assert title_in(item, "zh") == "一只猫" and title_in(item, "en") == "A cat"
    assert title_in(replace(item, attributes={"names": "ネコ"}), "zh") == "A cat"


def said_of(talk, text, **given):
    return "".join(talk.reply(talk.turn(text, **given)))


def own_words(text, recommender):
    """A reply without what is the catalog's: titles, names and values of attributes."""
    for item in sorted(recommender.schema.items.values(), key=lambda i: -len(i.title)):
        for word in (item.title, item.text):
            text = text.replace(word, "")
    for a in recommender.schema.attributes.values():
        for word in (a.name, *map(str, a.values)):
            text = text.replace(word, "")
    return text


CHINESE = (
    "你好",
    "你能做什么",
    "红色的工具",
    "便宜一点",
    "为什么",
    "比较前两个",
    "我喜欢第一个",
    "不要红色",
    "换一个",
    "再看一遍",
    "第九个怎么样",
    "更新的",
    "忘掉气味",
    "不要他导的",
    "低于5元的",
    "你记得什么",
    "撤销",
    "笨蛋",
    "谢谢",
    "重新开始",
    "撤销",
    "太长了",
)


def test_a_talk_in_chinese_has_no_english_words(recommender):
    talk = Conversation(recommender, k=2)
    for text in CHINESE:
        response = talk.turn(text)
        said = "".join(talk.reply(response))
        assert talk.state.lang == response.lang == "zh" and CJK.search(said), text
        assert not ENGLISH.search(own_words(said, recommender).replace("BM25", "").replace("tiny-text", "")), f"{text}: {said}"
        for r in response.recommendations:
            assert not ENGLISH.search(own_words(r.explanation.text, recommender)), r.explanation.text
        assert "explain" not in response.stages
    assert talk.turn("红色的水果").stages[-1] == "explain:template"


def test_a_talk_in_english_is_as_it_was(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    for text in ("hello", "a red tool", "why this?", "compare the first two", "under 5", "undo", "start over"):
        assert not CJK.search(said_of(talk, text).replace("一只猫", "")), text
    assert talk.turn("a red fruit").stages[-1] == "explain"


def test_the_answer_follows_the_last_words(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    first = talk.turn("一只猫")
    assert any("一只猫：" in r.explanation.text for r in first.recommendations) and "一只猫" in "".join(talk.reply(first))
    again = talk.turn("show me those again")
    assert all(not re.search("[：，。]", r.explanation.text) for r in again.recommendations) and again.lang == "en"
    assert "撤销" in said_of(talk, "撤销") and talk.state.lang == "zh"
    assert talk.turn("2", lang="zh").lang == "zh" and talk.turn("undo", lang="zh").said.startswith("已撤销")
    assert talk.more_like(first.recommendations[0].id).lang == "zh"


def test_a_query_can_ask_for_reasons_in_chinese(recommender):
    response = recommender.recommend(Query(text="red", liked=["cat"], lang="zh"), k=3)
    assert response.lang == "zh" and all("。" in r.explanation.text for r in response.recommendations)


@pytest.mark.real
def test_the_stamps_are_called_by_their_chinese_names(stamps):
    talk = Conversation(stamps)
    response = talk.turn("红色的水果")
    said = "".join(talk.reply(response))
    names = [title_in(r.item, "zh") for r in response.recommendations]
    assert all(CJK.search(n) and n in said for n in names[:3]), said
    assert not ENGLISH.search(own_words(said, stamps).replace("BM25", "").replace("all-minilm-l6-v2", "")), said
    assert response.stages[-1] == "explain:template"


def test_what_is_not_understood_is_told_in_the_language_of_the_turn():
    assert say("nothing_to_undo", "en") == "there is nothing to undo"
    assert State(lang="zh").before == () and CJK.search(say("nothing_to_undo", "zh"))
