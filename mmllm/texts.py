"""What a conversation says, in English and Chinese: one place, a key for each text, `{gaps}` to be filled.

What the catalog says (titles, attributes and their values) is put into the gaps as it is. No model words any of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LANGUAGES = ("en", "zh")
Pair = tuple[str, str]
"""A text in each of LANGUAGES."""
TEXTS: dict[str, Pair] = {
    # ---- joints ----
    "and": (" and ", "且"),
    "or": (" or ", "或"),
    "list": (", ", "、"),
    "semicolon": ("; ", "；"),
    "last": ("{first} and {last}", "{first}，{last}"),
    # ---- filters ----
    "=": ("{name} {value}", "{name} 为 {value}"),
    "in": ("{name} {value}", "{name} 为 {value}"),
    "all": ("{name} {value}", "{name} 包含 {value}"),
    "!=": ("{name} not {value}", "{name} 不是 {value}"),
    ">=": ("{name} at least {value}", "{name} 不低于 {value}"),
    "<=": ("{name} at most {value}", "{name} 不高于 {value}"),
    ">": ("{name} above {value}", "{name} 高于 {value}"),
    "<": ("{name} below {value}", "{name} 低于 {value}"),
    # ---- what stands ----
    "searching": ("searching for “{words}”", "搜索“{words}”"),
    "avoid": ("nothing that says “{word}”", "不含“{word}”"),
    "liked": ("you like {titles}", "您喜欢{titles}"),
    "disliked": ("you do not like {titles}", "您不喜欢{titles}"),
    "known": ("you know {titles}", "您已知道{titles}"),
    "similar": ("like {titles}", "类似{titles}"),
    "any": ("any {name}", "{name} 不限"),
    "picture": ("your picture", "您的图片"),
    "sound": ("what you said or played", "您说的或播放的声音"),
    "nothing_stands": ("nothing yet", "暂无"),
    "undone": ("Taken back. What stands: {summary}.", "已撤销。现在的条件：{summary}。"),
    "summary": ("What I know: {summary}.", "我记得的：{summary}。"),
    # ---- answers ----
    "hello": ("Hello! Tell me what you are looking for, {example}.", "您好！请告诉我您想找什么，{example}。"),
    "thanks": ("You are welcome. I am here if you want to see more.", "不客气。想再看看时，随时告诉我。"),
    "rude": (
        "I am sorry that this was no help. I only know this catalog; ask me for something in it, {example}.",
        "很抱歉没能帮上忙。我只了解这个目录；请问我其中的内容，{example}。",
    ),
    "help": (
        "Ask in words, with a picture or aloud, {example}. You can narrow by {names}; say “the second one”, "
        "“like that but cheaper”, “no …”, “something else”, “why this?”, “compare the first two”, “forget the …”, “undo” or “start over”.",
        "可以用文字、图片或语音来问，{example}。可以按 {names} 缩小范围；还可以说“第二个”、“像这个但是便宜一点”、“不要…”、“换一批”、"
        "“为什么”、“比较前两个”、“忘掉…”、“撤销”或“重新开始”。",
    ),
    "words": ("words", "文字"),
    "example": ("for example {examples}", "例如{examples}"),
    "something_like": ("something like {title}", "类似《{title}》的"),
    "as_you_like": ("as you like", "听您的"),
    "anything_else": ("As you like. What else are you looking for?", "听您的。您还想找什么？"),
    "forgotten": ("Everything is forgotten. What are you looking for?", "已全部忘掉。您想找什么？"),
    "forgotten_but_kept": (
        "The request is forgotten; what you like and know is kept under your name. What are you looking for?",
        "请求已忘掉；您喜欢的和看过的仍以您的名字保存。您想找什么？",
    ),
    "nothing_shown": ("Nothing was shown yet. What are you looking for?", "还没有显示过任何内容。您想找什么？"),
    "ask_back": ("Noted. What are you looking for?", "记下了。您想找什么？"),
    "all_seen": (
        "You have seen all that fits. Say “again” to see the last list, “undo” to go back, or “start over”.",
        "符合条件的您都看过了。说“再看一遍”可重看刚才的列表，说“撤销”可返回，或者说“重新开始”。",
    ),
    "some_unclear": ("I did not understand all of that: {unclear}.", "有些话没有听懂：{unclear}。"),
    "no_request": (
        "I found no request in that. Ask me for something in this catalog, {example}.",
        "没有听出您想找什么。请问我这个目录里的内容，{example}。",
    ),
    "no_match": (
        "Nothing in this catalog matches “{words}”. Try another request, {example}.",
        "目录中没有与“{words}”相符的内容。请换个说法，{example}。",
    ),
    # ---- items ----
    "title": ("“{title}”", "“{title}”"),
    "fact": ("{name} {value}", "{name} 为 {value}"),
    "stop": (".", "。"),
    "about": ("{title}: {facts}", "{title}：{facts}"),
    "no_more": ("the catalog says no more of it.", "目录中没有更多说明。"),
    "not_listed": ("{title} is not on the list; {facts}", "{title}不在列表中；{facts}"),
    "meets": (" It meets: {met}.", "它符合：{met}。"),
    "not_known": ("not known", "未知"),
    "in_common": ("In common: {same}.", "相同之处：{same}。"),
    "nothing_in_common": ("They have nothing in common.", "它们没有相同之处。"),
    "differs": ("- {title}: {facts}", "- {title}：{facts}"),
    "same_in_all": ("the same in all", "全部相同"),
    # ---- questions ----
    "conflict_words": (
        "No item does without those words. Shall I allow them again?",
        "所有内容都含有这些词。要重新允许它们吗？",
    ),
    "conflict": ("Nothing here is {asked}.{ranges} Shall I drop that?", "这里没有 {asked} 的内容。{ranges}要去掉这个条件吗？"),
    "conflict_part": (
        "Nothing here is {asked}.{ranges} Shall I drop “{laid}”? That is what these leave out.",
        "这里没有 {asked} 的内容。{ranges}要去掉“{laid}”吗？下面这些没有考虑它。",
    ),
    "range": (" Here {name} goes from {low} to {high}.", "这里的 {name} 从 {low} 到 {high}。"),
    "seen_many": (
        "You have seen all {count} with {asked}: {titles}. Shall I show them again?",
        "{asked} 的共 {count} 件，您都看过了：{titles}。要再显示一遍吗？",
    ),
    "seen_one": (
        "You have seen the only one with {asked}: {titles}. Shall I show it again?",
        "{asked} 的只有一件，您看过了：{titles}。要再显示一遍吗？",
    ),
    "narrow": (
        "There are {count} such. Is there a {name} that you would like, for instance {some}?",
        "这样的有 {count} 件。您想要哪种 {name}？比如 {some}。",
    ),
    "which": ("Is there a {name} that you would like, for instance {some}?", "您想要哪种 {name}？比如 {some}。"),
    "which_number": ("“{said}”: is that the {names}?", "“{said}”：指的是 {names}？"),
    # ---- the reply ----
    "heard": ("I heard: “{words}”", "我听到：“{words}”"),
    "unclear": ("I did not understand: {unclear}.", "没有听懂：{unclear}。"),
    "understood": ("Understood: {told}.", "已理解：{told}。"),
    "nothing_fits": ("Nothing in the catalog fits that.", "目录中没有符合的内容。"),
    "found": ("I found {count}: {titles}.", "找到 {count} 件：{titles}。"),
    "counted": ("Your request counted as {shares}.", "您的请求构成：{shares}。"),
    "modality_text": ("text", "文字"),
    "modality_image": ("image", "图片"),
    "modality_audio": ("audio", "声音"),
    # ---- notes ----
    "only_some": ("only {count} items meet the request", "只有 {count} 件符合请求"),
    "rest_searched": (
        "nothing in the catalog matches “{words}”: the rest was searched for",
        "目录中没有与“{words}”相符的内容：已按其余条件搜索",
    ),
    "lm_needs_words": (
        "the LM has no words to judge by: the retriever's order stands",
        "语言模型没有可依据的文字：保持检索的顺序",
    ),
    "lm_needs_liked": (
        "the LM has no liked items to judge by: the retriever's order stands",
        "语言模型没有可依据的已喜欢条目：保持检索的顺序",
    ),
    "lm_needs_either": (
        "the LM has neither words nor liked items to judge by: the retriever's order stands",
        "语言模型没有可依据的文字或已喜欢条目：保持检索的顺序",
    ),
    "no_speech": ("no speech was heard: items that sound alike are searched", "没有听到说话声：正在搜索声音相近的内容"),
    "script": (
        "the {encoder} text encoder does not read this script: words are matched by BM25 alone",
        "文本编码器 {encoder} 不懂这种文字：只按 BM25 匹配字词",
    ),
    # ---- what was not understood ----
    "same_name": (
        "“{words}” is the name of {count} items: say its year, or the number in the list",
        "“{words}”是 {count} 件的名字：请说出年份，或列表中的序号",
    ),
    "no_title": ("“{words}”: this catalog has no such title", "“{words}”：这个目录没有这个标题"),
    "showed": ("“{words}”: I showed {count}", "“{words}”：我只显示了 {count} 件"),
    "no_list": ("“{words}”: nothing is on the list yet", "“{words}”：列表还是空的"),
    "no_span": (
        "“{said}”: I can set limits to a number, but not leave out a span between two",
        "“{said}”：可以给数字设上下限，但不能去掉中间的一段",
    ),
    "lacks": ("“{said}”: this catalog has no {what}", "“{said}”：这个目录没有{what}"),
    "no_numbers": ("“{said}”: this catalog has no numbers to go by", "“{said}”：这个目录没有可用的数字"),
    "no_comparison": ("“{said}”: there is nothing to compare with yet", "“{said}”：还没有可比较的内容"),
    "number_unknown": ("“{said}”: no {name} is known of it", "“{said}”：不知道它的 {name}"),
    "that": ("that", "那个"),
    "attributes_are": ("“{said}”: the attributes here are {names}", "“{said}”：这里的属性有 {names}"),
    "names_no": ("“{said}”: this catalog names no {role}", "“{said}”：这个目录没有{role}"),
    "role": ("director or author", "导演或作者"),
    "whom": ("“{said}”: I do not know whom you mean", "“{said}”：不知道您指的是谁"),
    "person_unknown": ("“{said}”: no {name} is known", "“{said}”：不知道它的 {name}"),
    "nobody": ("“{said}”: the catalog names nobody of that name", "“{said}”：目录中没有叫这个名字的人"),
    "same_as": ("“{said}”: the same {name} as what?", "“{said}”：与什么的 {name} 相同？"),
    "nothing_to_undo": ("there is nothing to undo", "没有可撤销的"),
    "need_two": (
        "I need two items to compare: ask for something first, then say its number",
        "需要两件才能比较：请先提一个请求，再说出序号",
    ),
    "need_one": ("I need an item: ask for something first, then say its number", "需要指明一件：请先提一个请求，再说出序号"),
    "price": ("price", "价格"),
    "year": ("year", "年份"),
    "length": ("length", "时长"),
    "rating": ("rating", "评分"),
    "size": ("size", "尺寸"),
    "weight": ("weight", "重量"),
    # ---- reasons ----
    "reason": ("{title}: {reasons}.", "{title}：{reasons}。"),
    "reason_none": (
        "{title}: the nearest that the catalog has; nothing in it matches your words directly.",
        "{title}：目录中最接近的一件；其中没有直接与您的用词相符的内容。",
    ),
    "by_title": ("its name says “{value}”", "名称中有“{value}”"),
    "by_names": ("it is also called “{value}”", "它也叫“{value}”"),
    "by_attribute_is": ("its {name} is {value}", "{name} 为 {value}"),
    "by_attribute_are": ("its {name} are {value}", "{name} 为 {value}"),
    "by_text": ("its description says “{value}”", "说明中有“{value}”"),
    "by_recording": ("its recording says “{value}” at {start} s", "录音在第 {start} 秒说到“{value}”"),
    "by_caption": ("its picture seems to show “{value}”", "图片中似乎有“{value}”"),
    "by_picture": ("its picture is close to {name} ({value})", "图片与{name}相近（{value}）"),
    "by_meaning": ("its description is close in meaning to {name} ({value})", "说明与{name}意思相近（{value}）"),
    "by_sound": ("it sounds like {name} ({value})", "声音与{name}相近（{value}）"),
    "by_neighbour": ("it is close to “{value}”, which you liked", "与您喜欢的“{value}”相近"),
    "by_similar": ("it is like “{value}”, which you asked about", "与您提到的“{value}”相似"),
    "by_people": ("people who liked “{value}” liked it too", "喜欢“{value}”的人也喜欢它"),
    "your picture": ("your picture", "您的图片"),
    "your words": ("your words", "您的用词"),
    "your sound": ("your sound", "您的声音"),
}
CJK = re.compile("[\u3400-\u9fff]")
LATIN = re.compile(r"[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")
QUOTED = re.compile('《[^》]*》|“[^”]*”|"[^"]*"|⟨\\d+⟩')


def render(pair: Pair, lang: str, *values: object, **named: object) -> str:
    """A text in one of LANGUAGES, its gaps filled."""
    return pair[LANGUAGES.index(lang)].format(*values, **named)


def say(key: str, lang: str, **gaps: object) -> str:
    """A text of TEXTS.

    >>> say("only_some", "en", count=3), say("only_some", "zh", count=3)
    ('only 3 items meet the request', '只有 3 件符合请求')
    """
    return render(TEXTS[key], lang, **gaps)


def joined(parts: Iterable[str], lang: str, joint: str = "list") -> str:
    """Parts in a row, with a joint of TEXTS between them."""
    return say(joint, lang).join(parts)


def language(text: str, otherwise: str = "en") -> str:
    """The language that words are to be answered in: Chinese where they have more Chinese characters than words in letters.

    Titles in quotation marks do not count: "《Heat》怎么样" is Chinese. Without any words (a number, a sign) it is `otherwise`.

    >>> language("我想看 comedy"), language("I loved 《霸王别姬》"), language("2", "zh")
    ('zh', 'en', 'zh')
    """
    said = QUOTED.sub(" ", text)
    chinese, words = len(CJK.findall(said)), len(LATIN.findall(said))
    return otherwise if chinese == words == 0 else "zh" if chinese > words else "en"
