"""The page's words in English and Chinese. What the catalog says is never translated."""

from __future__ import annotations

from mmllm.dialogue import as_words
from mmllm.parts import Part
from mmllm.schema import Schema
from mmllm.texts import Pair, render
from mmllm.types import Filter

TEXTS: dict[str, Pair] = {
    "catalog": (
        "Ask the catalog “{}” ({} items) in words, with a picture or aloud.",
        "用文字、图片或语音查询目录“{}”（{} 件）。",
    ),
    "tab_chat": ("Talk", "对话"),
    "tab_browse": ("Browse", "浏览"),
    "tab_profile": ("Profile", "个人资料"),
    "theme": ("Dark or light", "深色或浅色"),
    "conversation": ("Conversation", "对话内容"),
    "request": ("Your request", "您的请求"),
    "placeholder": ("What are you looking for?", "您想找什么？"),
    "stop": ("Stop", "停止"),
    "retry": ("Retry", "重试"),
    "undo": ("Undo", "撤销"),
    "clear": ("Start over", "重新开始"),
    "more": ("Something else", "换一批"),
    "why": ("Why this?", "为什么推荐这个？"),
    "state": ("What counts now (untick to remove)", "当前条件（取消勾选即移除）"),
    "like": ("Like", "喜欢"),
    "liked": ("Liked", "已喜欢"),
    "dislike": ("Not this", "不要这个"),
    "disliked": ("Refused", "已排除"),
    "seen": ("Seen it", "看过了"),
    "known": ("Seen", "已看过"),
    "similar": ("More like this", "更多类似的"),
    "choose": ("Compare", "对比"),
    "compare": ("Compare the chosen", "对比所选"),
    "choose_two": ("Choose two or more cards to compare.", "请选择两张或更多卡片进行对比。"),
    "noted": ("Noted: it counts from your next request.", "已记录：从您的下一次请求起生效。"),
    "refused": ("I could not do that: {}", "无法完成：{}"),
    "evidence": ("Evidence", "依据"),
    "shares": ("Match by modality", "各模态占比"),
    "stages": ("Time by stage", "各阶段耗时"),
    "counted": ("Your request counted as", "您的请求构成"),
    "scores": ("Scores", "分数"),
    "play": ("Play the recording of {} from {} s", "播放“{}”的录音，从第 {} 秒起"),
    "no_picture": ("no picture", "无图片"),
    "attribute": ("attribute", "属性"),
    "not_known": ("not known", "未知"),
    "contains": ("Contains the words", "包含文字"),
    "least": ("{} at least", "{} 不低于"),
    "most": ("{} at most", "{} 不高于"),
    "filter": ("Show", "显示"),
    "before": ("Previous", "上一页"),
    "after": ("Next", "下一页"),
    "counts": ("Items {} to {} of {}", "第 {} 至 {} 件，共 {} 件"),
    "none": ("No item meets that.", "没有符合条件的条目。"),
    "remember": ("Remember my likes for this browser", "为此浏览器记住我的喜好"),
    "remembered": ("What is remembered", "已记住的内容"),
    "nothing": ("Nothing is remembered.", "没有记住任何内容。"),
    "privacy": (
        "Only item ids (liked, refused, seen) and the times of your visits are kept, on the machine that runs this page, under a random name "
        "that only this browser knows; no text, picture or sound.",
        "只在运行此页面的机器上，以只有此浏览器知道的随机名字，保存条目编号（喜欢、排除、看过）和访问时间；不保存文字、图片或声音。",
    ),
    "export": ("Export", "导出"),
    "download": ("Save as a file", "保存为文件"),
    "forget": ("Forget everything", "忘记一切"),
    "part_words": ("“{}”", "“{}”"),
    "part_image": ("your picture", "您的图片"),
    "part_sound": ("your voice or sound", "您的语音或声音"),
    "part_avoid": ("nothing that says “{}”", "不含“{}”"),
    "part_similar": ("like {}", "类似 {}"),
    "part_liked": ("liked: {}", "喜欢：{}"),
    "part_disliked": ("refused: {}", "排除：{}"),
    "part_known": ("seen: {}", "看过：{}"),
    "without": ("without {}", "去掉 {}"),
    "kind_attribute": ("it has what you asked for", "符合您的要求"),
    "kind_words": ("your words", "您的用词"),
    "kind_transcript": ("recording", "录音"),
    "kind_caption": ("seen in the picture", "图中所见"),
    "kind_picture": ("picture", "图片"),
    "kind_meaning": ("meaning", "含义"),
    "kind_sound": ("sound", "声音"),
    "kind_neighbour": ("close to what you liked", "与您喜欢的相近"),
    "kind_similar": ("like what you asked about", "与您所问的相似"),
    "kind_people": ("liked by the same people", "同样的人也喜欢"),
    "kind_fact": ("the catalog says", "目录记载"),
    "kind_title": ("title", "标题"),
    "name_title": ("title", "标题"),
    "name_text": ("text", "说明"),
    "name_your picture": ("your picture", "您的图片"),
    "name_your words": ("your words", "您的用词"),
    "name_your sound": ("your sound", "您的声音"),
    "text": ("text", "文本"),
    "image": ("picture", "图片"),
    "audio": ("sound", "声音"),
}
CRITIQUES: dict[tuple[str, str], Pair] = {
    ("price", "<"): ("cheaper", "便宜一点"),
    ("price", ">"): ("more expensive", "贵一点"),
    ("year", "<"): ("older", "更早的"),
    ("year", ">"): ("newer", "更新的"),
    ("length", "<"): ("shorter", "短一点"),
    ("length", ">"): ("longer", "长一点"),
    ("rating", ">"): ("better rated", "评分更高"),
    ("size", "<"): ("smaller", "小一点"),
    ("size", ">"): ("bigger", "大一点"),
    ("weight", "<"): ("lighter", "轻一点"),
    ("weight", ">"): ("heavier", "重一点"),
}


def language(accepted: str | None) -> str:
    """The page's language for a browser's `Accept-Language`: that of its first entry, as the browser itself chooses.

    >>> language("zh-CN,zh;q=0.9,en;q=0.8"), language("de,zh;q=0.5"), language(None)
    ('zh', 'en', 'en')
    """
    return "zh" if (accepted or "").strip().lower().startswith("zh") else "en"


def say(key: str, lang: str, *values: object) -> str:
    """A text in one of LANGUAGES, its gaps filled.

    >>> say("counts", "en", 1, 24, 950)
    'Items 1 to 24 of 950'
    """
    return render(TEXTS[key], lang, *values)


def of_critique(f: Filter, schema: Schema, lang: str) -> str:
    """A suggested critique: "cheaper" where the attribute measures a price, otherwise the filter."""
    words = CRITIQUES.get((schema.attributes[f.attribute].measures, f.op))
    return render(words, lang) if words else as_words(f, lang)


def of_part(part: Part, schema: Schema, lang: str) -> str:
    """A part of the state as the text of its chip."""
    if isinstance(part.value, Filter):
        return as_words(part.value, lang)
    value = part.value or ""
    return say(f"part_{part.kind}", lang, schema.items[value].title if value in schema.items and part.kind != "words" else value)
