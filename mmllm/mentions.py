"""Which items a turn speaks of, and what it says of them: titles, "the second one", "that", and liked, disliked, seen or "like that".

Mentions are replaced by marks (⟨0⟩, ⟨1⟩, ...), so that the rules of what is said of them are plain patterns over marks. A title counts
only where something is said of it, or where it stands in quotation marks or with its year: "a red apple" is a request, not a mention.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mmllm.dialogue import State
from mmllm.schema import TOKEN, Schema, key, stems

ORDINALS = {
    w: n
    for n, w in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=1
    )
}
DIGITS = {c: n for n, c in enumerate("一二三四五六七八九十", start=1)} | {"两": 2}
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "couple": 2}
THING = r"(?:one|item|film|movie|picture|stamp|drawing|result|option|suggestion|book|product)s?"
COUNTED = r"(?:个|個|部|张|張|本|件|幅|首|款|只|部电影|部片子)?"
ORDINAL = re.compile(
    rf"(?:\b(?:the\s+)?({'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last)(?:\s+{THING})?(?=\s*(?:$|[,.;:!?⟨⟩()]|"
    rf"(?:and|or|but|is|was|looks|"
    rf"seems|instead|too|please|again|with|without|in|if|than|because|one|best|better|only|are)\b))"
    rf"|(?:\bnumber|\bno\.?|#)\s*(\d{{1,2}})\b(?:\s+{THING})?"
    rf"|第\s*([一二三四五六七八九十]|\d{{1,2}}){COUNTED}|(最后一){COUNTED})"
)
SEVERAL = re.compile(
    rf"\b(?:the\s+)?first\s+(two|three|four|five|couple|\d)(?:\s+{THING})?\b|\bboth(?:\s+of\s+them)?\b|"
    rf"\b(?:all\s+of\s+)?(?:these|those)(?:\s+{THING})?\b"
    rf"|\ball\s+of\s+them\b|\bnone\s+of\s+(?:these|those|them)\b|\bthem\s+all\b|前\s*([两二三四五]|\d)\s*{COUNTED}|这些|那些|它们"
)
# A pronoun points at an item as an object ("liked it"), as the subject of a clause ("that was dull"), or with a noun ("that one").
ONE = re.compile(
    rf"()(\b(?:that|this)\s+(?!.*\bthat\b){THING}\b)"
    r"|(^\W*|[.,;!?]\s*|\b(?:and|but|yes|yeah|no|oh|think|thought|so)\s+)(\b(?:that|this|it)\b)(?=\s+(?:was|"
    r"is|looks|looked|seems|seemed)\b)"
    r"|(\b(?:like|love|loved|liked|enjoyed?|hated?|disliked?|seen|saw|watched|know|read|own|about|than|"
    r"as|why|not|of|take|want|to)\s+)"
    r"(\b(?:that|this|it)\b)(?=\s*(?:$|[.,;!?，。]|(?:but|and|a lot|very|too|already|again|so|only|though|either|before)\b))"
    r"|()([这那][个個部张本件幅](?:电影|片子)?|它)"
)
NUMBER = re.compile(r"(?<![\d⟨$£€.])\b(\d{1,2})\b(?![\d.⟩]|\s*(?:minutes|min|pages|dollars|euros|pounds|hours|年|分钟|元|块))")
ALL_ABOUT = re.compile(
    r"^\W*(?:/?(?:compare|why|like|dislike|explain|not|hide|seen|similar)\b|比较|对比|为什么)|\bdifferen\w* between\b"
)
QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]{2,80})[\"“”«»]|《([^》]{1,80})》")
M = r"⟨\d+⟩"
LIST = (
    rf"({M}(?:\s*(?:,|;|/|&|\+|，|、|\band\b|\bor\b|\bboth\b|和|与|跟|或)\s*(?:the\s+)?{M}(?!\s+(?:was|is|were|"
    rf"are|looks|seems)\b))*)"
)
SOFT = (
    r"(?:(?:really|also|absolutely|just|too|quite|always|so|both|all|the|film|films|movie|movies|stamp|"
    r"first|watching|seeing|book|much|of|very)\s+)*"
)
PLAIN_LIKE = (
    r"(?:love|loved|loving|like|liked|enjoy|enjoyed|adore|adored|prefer|favou?rites? (?:is|are|was)|(?:big|huge|a) fan of|into)"
)

# In this order; what a rule has taken, later rules do not see. Each is (what is said, pattern over marks).
RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        # Questions and conditions state nothing of the person.
        ("nothing", rf"\b(?:did|do|have|are|has) (?:you|u|ya)\b[^⟨.!;]*?{LIST}"),
        (
            "nothing",
            rf"\b(?:haven'?t|have not|hasn'?t|never|didn'?t|did not|not)\s+(?:(?:yet|even|actually)\s+)?(?:saw|"
            rf"seen|see|watch(?:ed)?|heard of|read)\s+(?:of\s+)?{SOFT}{LIST}",
        ),
        (
            "nothing",
            rf"\b(?:will|would|want|going|have|need|gotta|like|love|'d|'ll) (?:like |love )?to (?:see|watch|check(?: out)?|"
            rf"try)\s+(?:out\s+)?{SOFT}{LIST}|没看过{LIST}",
        ),
        ("nothing", rf"\bif (?:you|u) (?:like|liked|love|loved|enjoy|enjoyed)\s+{SOFT}{LIST}"),
        (
            "similar",
            rf"\b(?:things?|films?|movies?|stamps?|something|anything|ones?|more|stuff|others?|one|items?|pictures?|"
            rf"what|else|looks?|looking|just|along the lines of)\s+(?:\w+\s+)?(?:like|as)\s+{SOFT}{LIST}",
        ),
        (
            "similar",
            rf"\b(?:similar to|in the style of|in the vein of|reminds me of|such as|close to|same as|comparable to|"
            rf"along the lines of|more of)\s+{SOFT}{LIST}",
        ),
        (
            "disliked",
            rf"\b(?:don'?t|do not|didn'?t|did not|never|doesn'?t|can'?t say i|not)\s+{SOFT}(?:like|love|enjoy|care for|"
            rf"fancy|want|prefer)\s+{SOFT}{LIST}",
        ),
        (
            "disliked",
            rf"\b(?:hate|hated|dislike|disliked|detest|detested|can'?t stand|couldn'?t stand|not (?:a |much of a )?(?:big |"
            rf"huge )?fan of|sick of|tired of|bored by|anything but|not into)\s+{SOFT}{LIST}",
        ),
        (
            "disliked",
            rf"(?:不喜欢|不爱看|不爱|讨厌|不想看|不想要|不要|别要)\s*{LIST}|{LIST}\s*(?:不好看|难看|很无聊|太无聊|无聊|太差|很差|不行)",
        ),
        (
            "disliked",
            rf"{LIST}(?:\s+\w+)?\s+(?:was|is|were|are|looks?|seems?|looked|seemed)\s+(?:(?:so|really|very|pretty|"
            rf"quite|too|a|an|just|kind of|rather)\s+)*(?:bad|boring|terrible|awful|horrible|dull|ugly|horible|"
            rf"disappointing|not (?:that |very |so |really |my |for me)?(?:good|great|funny|taste|thing|for me|"
            rf"nice|me)|not for me|stupid|dumb|rubbish|worst|overrated|violent|silly|lame|meh)\b",
        ),
        ("disliked", rf"\b(?:i )?(?:wasn'?t|weren'?t) (?:that )?(?:impressed|keen|into)(?: by| on| with)?\s+{SOFT}{LIST}"),
        ("similar", rf"(?:像|类似|类似于)\s*{LIST}(?:一样|那样|这样)?的?|(?:跟|和|与)\s*{LIST}\s*(?:一样|类似|差不多|相似)的?"),
        (
            "liked",
            rf"(?:很喜欢|最喜欢|超喜欢|也喜欢|喜欢|最爱|爱看|爱)\s*{LIST}|{LIST}\s*(?:很好看|真好看|好看|不错|很棒|太棒了|我喜欢)",
        ),
        ("known", rf"(?:看过|见过|已经有|有了|读过|知道)了?\s*{LIST}|{LIST}\s*(?:我)?(?:已经)?(?:看过|见过|有了|读过)了?"),
        (
            "known",
            rf"\b(?:have|'ve|already|just|i|we|ive)\s+(?:already |just |both |also |even |only |recently )*(?:seen|"
            rf"saw|watched|read|own|got|owned|know)\s+(?:already\s+)?{SOFT}{LIST}",
        ),
        ("known", rf"\b(?:seen|watched|saw)\s+{SOFT}{LIST}"),
        (
            "wanted",
            rf"\b(?:show|see|bring|give)\s+(?:me\s+)?(?:back\s+)?{SOFT}{LIST}(?:\s+(?:again|once more|back))?|{LIST}\s+again\b|"
            rf"(?:再看看|再看一下|再给我看|再显示){LIST}",
        ),
        ("about", rf"\b(?:tell me (?:more )?about|more about|details of|describe)\s+{SOFT}{LIST}|(?:介绍一下|介绍|说说){LIST}"),
        (
            "similar",
            rf"(?:^|[,.;!?]\s*)(?:yes |ok |well |and |or |maybe )*(?:like|as)\s+{SOFT}{LIST}(?=[^⟨]*\b(?:but|only|"
            rf"in|cheaper|older|newer|shorter|longer|with)\b)",
        ),
        ("liked", rf"(?<!would )(?<!'d )(?<!i d )(?<!to )\b{PLAIN_LIKE}\s+{SOFT}{LIST}"),
        (
            "liked",
            rf"{LIST}(?:\s+\w+)?\s+(?:was|is|were|are|looks?|seems?|looked)\s+(?:(?:so|really|very|pretty|quite|"
            rf"a|an|just|my|also|one of my|such a|all|both|the|absolutely)\s+)*(?:good|great|amazing|awesome|excellent|"
            rf"lovely|nice|fantastic|wonderful|funny|brilliant|perfect|fun|favou?rites?|best|cool|beautiful|pretty|"
            rf"hilarious|sweet|cute)\b",
        ),
        ("liked", rf"\b(?:i'?ll take|i take|i choose|i pick|i'?ll have)\s+{SOFT}{LIST}"),
        ("disliked", rf"\b(?:not|no|without|except|hide|remove)\s+{SOFT}{LIST}"),
    )
)

# Marks that a rule has used up are written otherwise, so that no later rule joins them to a list.
USED, FREE = str.maketrans("⟨⟩", "⟪⟫"), str.maketrans("⟪⟫", "⟨⟩")
Marks = list[tuple[tuple[str, ...], str, bool]]
"""(ids, the words they stand for, whether they are a mention even if nothing is said of them)."""
Mark = Callable[[tuple[str, ...], str, bool], str]


@dataclass(frozen=True)
class Mentions:
    """`text` with marks for the items that something is said of; `said`: liked, disliked, known, similar, wanted or about -> ids in order;
    `marks`: mark number -> ids; `unclear` is what could not be resolved.
    """

    text: str
    marks: dict[int, tuple[str, ...]] = field(default_factory=dict)
    said: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()


def find(text: str, schema: Schema, state: State) -> Mentions:
    """Titles and references of a turn, and what is said of each."""
    marks: Marks = []
    unclear: list[str] = []

    def mark(ids: tuple[str, ...], words: str, strong: bool) -> str:
        marks.append((ids, words, strong))
        return f" ⟨{len(marks) - 1}⟩ "

    text = _titles(text, schema, state, mark, unclear).lower()
    text = _references(text, state, marks, mark, unclear)
    said: dict[str, list[str]] = {}
    spoken: set[int] = set()
    for kind, rule in RULES:
        for found in list(rule.finditer(text)):
            group = next(g for g in found.groups() if g)
            numbers = [int(n) for n in re.findall(r"⟨(\d+)⟩", group)]
            if any(n in spoken for n in numbers):
                continue
            spoken.update(numbers)
            if kind != "nothing":
                said.setdefault(kind, []).extend(i for n in numbers for i in marks[n][0])
        # The words of the rule are used up; the marks stay, for "cheaper than ⟨0⟩".
        text = rule.sub(
            lambda m: " " + " ".join(re.findall(M, m[0])).translate(USED) + " " if _all_spoken(m[0], spoken) else m[0], text
        )
    text = text.translate(FREE)
    for n, (_, words, strong) in enumerate(marks):
        if n not in spoken and not strong:
            text = text.replace(f"⟨{n}⟩", words.lower())
    kept = {n: ids for n, (ids, _, strong) in enumerate(marks) if f"⟨{n}⟩" in text or strong or n in spoken}
    return Mentions(text, kept, {k: tuple(dict.fromkeys(v)) for k, v in said.items()}, tuple(unclear))


def _all_spoken(text: str, spoken: set[int]) -> bool:
    return all(int(n) in spoken for n in re.findall(r"⟨(\d+)⟩", text))


def _titles(text: str, schema: Schema, state: State, mark: Mark, unclear: list[str]) -> str:
    def quoted(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        ids = schema.titles.get(key(name), ())
        return mark(_one_of(ids, name, state, unclear), name, True) if ids else found[0]

    text = QUOTED.sub(quoted, text)
    tokens = list(TOKEN.finditer(text))
    shouted = text.isupper()
    out, position, n = [], 0, 0
    while n < len(tokens):
        for size in range(min(12, len(tokens) - n), 0, -1):
            span = tokens[n : n + size]
            words = text[span[0].start() : span[-1].end()]
            ids = schema.titles.get(key(words), ())
            if ids and _is_title(words, text, span[0].start(), schema, shouted=shouted):
                end = span[-1].end() + (1 if text[span[-1].end() : span[-1].end() + 1] == ")" and "(" in words else 0)
                out += [
                    text[position : span[0].start()],
                    mark(_one_of(ids, words, state, unclear), text[span[0].start() : end], _dated(words)),
                ]
                position, n = end, n + size
                break
        else:
            n += 1
    return "".join(out) + text[position:]


def _dated(words: str) -> bool:
    return bool(re.search(r"\(\d{4}$", words))


def _is_title(words: str, text: str, start: int, schema: Schema, *, shouted: bool) -> bool:
    """Whether words that spell a title are meant as one: dated, or with content and capitals, or several words with content."""
    if _dated(words):
        return True
    content = stems(words)
    if not content or schema.forms.get(content):
        return False
    tokens = TOKEN.findall(words)
    if len(tokens) == 1:
        # One word is a title only with a capital that no sentence begins with, or a script without capitals.
        begins = not text[:start].strip() or text[:start].rstrip()[-1:] in ".!?"
        return len(words) > 2 and words[0].isupper() and not shouted and not begins or (not words.isascii() and len(words) > 1)
    return True


def _one_of(ids: tuple[str, ...], words: str, state: State, unclear: list[str]) -> tuple[str, ...]:
    """Of items of one name the one on the screen, or spoken of before; several are left open, and that is said."""
    if len(ids) == 1:
        return ids
    for near in (state.listed, state.shown, state.liked, state.known):
        if here := tuple(i for i in ids if i in near):
            return here[:1]
    unclear.append(f"“{words}” is the name of {len(ids)} items: say its year, or the number in the list")
    return ()


def _references(text: str, state: State, marks: Marks, mark: Mark, unclear: list[str]) -> str:
    listed = state.listed

    def at(n: int, words: str) -> str:
        if 1 <= n <= len(listed):
            return mark((listed[n - 1],), words, True)
        shown = f"I showed {len(listed)}" if listed else "nothing is on the list yet"
        unclear.append(f"“{words.strip()}”: {shown}")
        return mark((), words, True)

    def several(found: re.Match[str]) -> str:
        count = found[1] or found[2]
        if not count:
            ids = listed[:2] if found[0].startswith("both") else listed
        else:
            ids = listed[: COUNTS.get(count) or DIGITS.get(count) or int(count)]
        if not ids:
            return found[0]
        return mark(ids, found[0], True)

    def ordinal(found: re.Match[str]) -> str:
        word = found[1] or found[2] or found[3] or found[4]
        if word in ("last", "最后一"):
            return at(len(listed), found[0]) if listed else found[0]
        n = ORDINALS.get(word) or DIGITS.get(word) or int(re.sub(r"\D", "", word))
        return at(n, found[0])

    text = SEVERAL.sub(several, text)
    text = ORDINAL.sub(ordinal, text)
    if ALL_ABOUT.search(text):
        text = NUMBER.sub(lambda m: at(int(m[1]), m[0]), text)

    def one(found: re.Match[str]) -> str:
        before = re.findall(r"⟨(\d+)⟩", text[: found.start()])
        prefix, words = next((a, b) for a, b in zip(found.groups()[::2], found.groups()[1::2], strict=True) if b)
        ids = marks[int(before[-1])][0] if before else (state.focus,) if state.focus else listed[:1]
        return prefix + mark(ids, words, False) if ids else found[0]

    return ONE.sub(one, text)
