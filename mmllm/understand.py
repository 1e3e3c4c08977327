"""What a turn says: (text, schema, state) -> Turn of slots. A pure function of rules and of the schema's own words.

Order: an answer to the question asked back; what stands alone ("undo", "something else", "start over"); items and what is said of them
(`mentions`); "why" and "compare"; numbers (`measures`) and critiques; values, people and refusals (`values`). What is left is what has to be
searched for, and where a turn says more than a request, a `reader` may say which of those words are wanted. English and Chinese.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmllm import critiques, measures, mentions, values
from mmllm.catalog import matches
from mmllm.clauses import MORE_FIRST, NARROWS, content, plain, searched
from mmllm.dialogue import Act, State, Turn, as_words, filter_values
from mmllm.lexical import GENERIC
from mmllm.lexical import words as stems
from mmllm.schema import Schema, key
from mmllm.spans import CJK, WORD
from mmllm.texts import say
from mmllm.types import Filter

POLITE = r"(?:\s*(?:please|now|thanks|thank you|ok|okay|again|then|吧|一下|好吗|谢谢|请))*\W*"
PATTERNS: tuple[tuple[Act, str], ...] = (
    (
        "ask",
        "surprise me|(?:recommend|suggest|show|give|find|pick|choose)(?: me| us)?(?: something| anything|"
        " some(?: things| items| films)?|"
        " a few(?: things)?| one)?(?: good| nice| fun| new| interesting| cool)?|(?:what|anything)(?: good|"
        " nice| new)? (?:do|have|would) you"
        " (?:have|got|recommend|suggest)|anything(?: good| nice| fun)?|whatever|i don'?t know|no idea|"
        "随便(?:推荐|看看|来)?(?:一[个部下点]|几[个部]|点什么)?|推荐一下|推荐一些|推荐几个|有什么推荐|有什么好的?",
    ),
    (
        "reset",
        "start (?:all )?over|start again|start from scratch|reset|restart|clear|forget(?: it| all| everything|"
        " it all)?|new search|重新开始|从头开始|重来|全部忘掉|清空|都忘掉",
    ),
    (
        "undo",
        "cancel (?:that|it)|/?undo(?: that| it| the last(?: one)?)?|go back(?: one step)?|take (?:that|it) back|"
        "revert|one step back|"
        "撤销|撤回|上一步|返回上一步|取消上一步",
    ),
    (
        "again",
        "(?:show|see) (?:me )?(?:them|those|these|it|the list|that list|the results)(?: all)?(?: again)?|"
        "once more|again|repeat(?: that| them)?|再看一遍|再显示一遍|再来一遍|重新显示",
    ),
    (
        "more",
        "(?:(?:show me|give me|do you have|have you got|got|any|some|is there|are there|i want|what) ?)*(?:something|"
        "anything|nothing|what|any|some|the)? ?(?:else|more|others?|other (?:ones?|options|things|films|movies|"
        "ideas|suggestions)|another(?: one)?|different(?: ones?)?|next(?: ones?)?|new ones?|more (?:of (?:them|"
        "these|those)|options|ideas|suggestions|recommendations))(?: do you have| have you got| is there)?|"
        "换一个|换一批|换一换|换个|换别的|还有(?:别的|其他的?)?[吗么]?|有别的吗|有其他的吗|别的|其他的|再来几个|再来一些|更多|下一批|下一个",
    ),
    ("compare", "/?compare(?: them| these| those)?|比较|对比"),
    ("why", "/?why|how come|为什么|为啥"),
    (
        "summary",
        "/?state|what do you know(?: about me| so far)?|what (?:did|have) i (?:ask(?:ed)?|said?|told?)(?: you|"
        " for)*(?: so far)?|what are my (?:filters|likes|settings)|where were we|你记得什么|我的条件是什么|我说了什么",
    ),
    (
        "help",
        "/?help(?: me)?|what can (?:you|i) (?:do|say|ask)(?: here| for me)?|how does this work|how do i use (?:this|"
        "it)|帮助|你能做什么|怎么用|你会什么",
    ),
    (
        "hello",
        "hi+(?: there| all)?|hello+(?: there)?|hey+(?: there)?|good (?:morning|afternoon|evening)|how are you(?: doing)?(?: today)?|"
        "what'?s up|greetings|你好|您好|嗨|在吗|早上好|晚上好",
    ),
    (
        "thanks",
        "thanks?(?: you)?(?: (?:so|very) much| a lot)?|cheers|great|perfect|good bye|goodbye|bye+|see you(?: later)?|"
        "that'?s all|谢谢(?:你)?|多谢|再见|拜拜|不用了",
    ),
)
CALL = r"\W*(?:(?:please|ok|okay|well|no|hmm|can you|could you|let'?s|请|那|好的?)[\s,，]+)*"
ALONE = tuple((act, re.compile(rf"{CALL}(?:{pattern}){POLITE}")) for act, pattern in PATTERNS)
RUDE = re.compile(
    r"\b(?:f+u+c+k+\w*|sh[i1]t\w*|bullshit|wtf|assholes?|bastards?|bitch\w*|crap|dumbass|moron|idiots?|"
    r"stfu|shut up|screw you|go to hell|damn you)\b(?: (?:you|off|this|it))?"
    r"|\b(?:you(?:'re| are)?|u r?|this (?:bot|thing|program|app) is|what a)\s+(?:\w+\s+){0,3}?(?:stupid|"
    r"dumb|useless|worthless|pathetic|terrible|awful|garbage|trash|rubbish|ugly|suck\w*|fool\w*|brainless|"
    r"joke|liar|crazy|annoying|brain)\b"
    r"(?:\s+(?:bot|machine|thing|computer|program|robot|ai|brain|person|piece of (?:junk|garbage)))?|\b(?:stupid|dumb|"
    r"useless|bloody) (?:bot|machine|thing|computer|program|robot|ai)\b|\bi hate (?:you|this (?:bot|app|"
    r"thing))\b"
    r"|傻[瓜逼子]?|笨蛋|白痴|垃圾|滚开?|去死|蠢货?|废物|混蛋|他妈的?"
)
GREETING = re.compile(
    r"^\W*(?:(?:(?:hi+|hello+|hey+|greetings)(?: there| all| again| everyone)?(?=\W*$|\s*[,.!?:]|\s+(?:i|i'm|im|i'd|we|can|could|would|do|"
    r"does|have|what|how|please|looking|any|is|are|my|good|just|yes)\b)|good (?:morning|afternoon|evening|day)|"
    r"how(?:'s it going| are (?:you|things))(?: doing)?(?: today)?|nice to meet you|你好|您好)[\s,.!?:，。！？]*)+",
    re.IGNORECASE,
)
"""What a turn may begin with before it says anything."""
REQUEST = re.compile(r"\b(?:show|find|want|need|looking|give|recommend|suggest|search)\b|找|推荐|想")
"""Beside a rude word, other words are a request only where one of these says so."""
UNMARKED = re.compile(
    r"\b((?:do|does|did|is|was|are|were|hav|have|has|had|ca|could|would|should|wo)n)(t)\b|\b(i)(m|ve)\b", re.IGNORECASE
)
"""Contractions that were typed without their apostrophe."""
ROMCOM = re.compile(r"\brom[- ]?coms?\b", re.IGNORECASE)
Reader = Callable[[str, Sequence[str]], Sequence[bool]]
"""(a turn, words of it) -> for each word whether the person wants it searched for."""


def understand(text: str, schema: Schema, state: State, reader: Reader | None = None) -> Turn:
    """One turn in words -> its slots. Never fails: what it cannot read is told in `Turn.unclear`, or left in `Turn.words`.

    A `reader` is asked about the words that are left, unless the turn is a plain request. It can only drop some: none is added, and filters
    stand as they are.
    """
    text = ROMCOM.sub("romantic comedy", unicodedata.normalize("NFKC", text).replace("’", "'").strip())
    text = UNMARKED.sub(
        lambda m: "'".join(filter(None, m.groups())), re.sub("[⟨⟩⟪⟫]", " ", text)
    )  # the marks of `mentions` are ours
    low = text.lower()
    if state.question is not None and (answer := _answer(low, state, schema)) is not None:
        return answer
    for act, pattern in ALONE:
        if pattern.fullmatch(low):
            return _alone(act, state)
    rude = RUDE.search(low)
    if rude:
        text = RUDE.sub(" ", low)
        if not content(text):
            return Turn("rude")
    if not schema.titles.get(key(text)):  # "Hello, Dolly!" is a film
        text = GREETING.sub("", text, count=1)
    found = mentions.find(text, schema, state)
    marked = tuple(i for ids in found.marks.values() for i in ids)
    if (about := _about(found, marked, state)) is not None:
        return about
    said = found.said
    base = said.get("similar", ()) or said.get("disliked", ()) or said.get("liked", ())
    them = base or marked or ((state.focus,) if state.focus in schema.items else ()) or state.listed
    rest = MORE_FIRST.sub(" ", found.text)
    numbers = measures.read(rest, schema, state.lang)
    said_of_numbers = len(numbers.filters)
    critiques.read(numbers, schema, found.marks, state.listed)
    of_the_list = len(numbers.filters) > said_of_numbers  # "newer" is said of what is on the list: the subject stands
    slots = values.read(numbers.text, schema, state, found.marks, them)
    similar = said.get("similar", ())
    if not similar and re.search(r"\b(?:the )?same(?: one| thing)?,?\s+(?:but|only|in)\b|一样的?[，,]?\s*但", rest):
        similar = them[:1]
    fresh_stems = [s for s in content(slots.text) if s not in slots.taken]
    if reader is not None and fresh_stems and not CJK.search(text) and not plain(text):
        slots.text = _wanted(reader, text, slots.text, fresh_stems)
        fresh_stems = [s for s in content(slots.text) if s not in slots.taken]
    words = searched(slots.text)
    fresh = bool(fresh_stems) and not of_the_list and not NARROWS.search(found.text) and not MORE_FIRST.match(found.text)
    if state.words and not fresh:
        # What narrows a request adds its telling words only: "only red ones" adds "red".
        words = " ".join(w for w in words.split() if CJK.search(w) or set(stems(w)) - GENERIC)
    filters = (*numbers.filters, *_added(slots.filters, found.text, schema, state))
    told = [as_words(f, state.lang) for f in filters] + [say("avoid", state.lang, word=w) for w in slots.avoid]
    turn = Turn(
        words=words if fresh_stems or slots.taken else "",
        content=tuple(dict.fromkeys(fresh_stems)),
        fresh=fresh,
        filters=filters,
        forget=tuple(slots.forget),
        avoid=tuple(slots.avoid),
        liked=said.get("liked", ()),
        disliked=said.get("disliked", ()),
        known=tuple(i for i in said.get("known", ()) if i not in (*said.get("liked", ()), *said.get("disliked", ()))),
        similar=similar,
        wanted=said.get("wanted", ()),
        told=tuple(told),
        unclear=(*found.unclear, *numbers.unclear, *slots.unclear),
        question=numbers.question,
    )
    asked = not rude or REQUEST.search(low) or replace(turn, words="") != Turn(content=turn.content, fresh=fresh)
    if _says(turn) and asked:
        return turn
    if MORE_FIRST.match(found.text):
        return Turn("more")
    if marked:
        return Turn("about", targets=marked[-1:])
    if turn.unclear:
        return replace(turn, act="unclear")
    if rude:
        return Turn("rude")
    return Turn("unclear")


def _wanted(reader: Reader, turn: str, left: str, asked: Sequence[str]) -> str:
    """What is left of a turn without the words that the reader says nobody wants."""
    said = {s: hit[0] for hit in reversed(list(WORD.finditer(left))) for s in stems(hit[0]) if s in asked}
    words = list(dict.fromkeys(said.values()))
    refused = {s for word, kept in zip(words, reader(turn, words), strict=True) if not kept for s in stems(word)}
    return WORD.sub(lambda hit: " " if (own := set(stems(hit[0]))) and own <= refused else hit[0], left)


ADDS = re.compile(
    r"\balso\b(?!\s+(?:like|love|enjoy|watch))|\b(?:as well|in addition|at the same time)\b|\btoo\W*$|\btoo\s*[,.;!?]|^\W*(?:and|with)\b|"
    r"也(?!喜欢|爱)|并且|同时"
)
"""What asks for one thing beside another: "also a comedy", "and a comedy as well"."""


def _added(filters: list[Filter], text: str, schema: Schema, state: State) -> list[Filter]:
    """ "Also a comedy": both the value that stands and the new one, where an item may have several and some item has these."""
    if not ADDS.search(text):
        return filters
    out = []
    for f in filters:
        old = tuple(v for o in state.filters if o.attribute == f.attribute and o.op in ("=", "all") for v in filter_values(o))
        both = tuple(dict.fromkeys((*old, *filter_values(f))))
        if f.op in ("=", "all") and old and schema.attributes[f.attribute].many:
            together = Filter(f.attribute, "all", both)
            f = together if len(both) > 1 and any(matches(i, [together]) for i in schema.items.values()) else f
        out.append(f)
    return out


def _says(turn: Turn) -> bool:
    return bool(
        turn.words
        or turn.filters
        or turn.forget
        or turn.avoid
        or turn.liked
        or turn.disliked
        or turn.known
        or turn.similar
        or turn.wanted
        or turn.question
    )


def _alone(act: Act, state: State) -> Turn:
    if act in ("compare", "why"):
        targets = state.listed[:2] if act == "compare" else _this(state)
        return _of_items(act, targets, state.lang)
    if act == "undo" and not state.before:
        return Turn("unclear", unclear=(say("nothing_to_undo", state.lang),))
    return Turn(act)


def _this(state: State) -> tuple[str, ...]:
    """What "why this?" is about: the item spoken of last if it is on the list, else the first. "Like the second" speaks of one that is not."""
    return (state.focus,) if state.focus in state.listed else state.listed[:1]


def _of_items(act: Act, targets: tuple[str, ...], lang: str) -> Turn:
    if len(targets) < (2 if act == "compare" else 1):
        return Turn("unclear", unclear=(say("need_two" if act == "compare" else "need_one", lang),))
    return Turn(act, targets=targets)


WHY = re.compile(r"^\W*(?:/?why|how come|explain)\b[^.]{0,60}$|为什么|为啥|推荐理由")
COMPARE = re.compile(
    r"^\W*(?:please |can you |could you )?/?compare\b|\bdifferen\w* between\b|⟨\d+⟩\s*(?:versus|vs\.?)\s*⟨\d+⟩|"
    r"\bhow do(?:es)? .*(?:differ|compare)|\bwhich\b[^?]*⟨\d+⟩[^?]*\b(?:is|are|was|costs?)\b|比较|对比|区别"
)


def _about(found: mentions.Mentions, marked: tuple[str, ...], state: State) -> Turn | None:
    """ "Why the second?" and "compare the first two", told before slots are read."""
    if COMPARE.search(found.text):
        targets = tuple(dict.fromkeys(marked)) or (() if found.unclear else state.listed[:2])
        turn = _of_items("compare", targets, state.lang)
        return replace(turn, unclear=found.unclear or turn.unclear)
    if WHY.search(found.text):
        targets = marked[-1:] or (() if found.unclear else _this(state))
        turn = _of_items("why", targets, state.lang)
        return replace(turn, unclear=found.unclear or turn.unclear)
    if found.said.keys() == {"about"}:
        return Turn("about", targets=found.said["about"])
    return None


YES = re.compile(r"\W*(?:yes|yeah|yep|sure|ok|okay|do it|please do|go ahead|yes please|好|好的|可以|是|是的|行|嗯|对)\W*")
NO = re.compile(r"\W*(?:no|nope|no thanks|don'?t|leave it|不|不用|不要|算了)\W*")


def _answer(low: str, state: State, schema: Schema) -> Turn | None:
    """The turn as an answer to the question that was asked back; None where it is none."""
    assert state.question is not None
    options = state.question.options
    if options and YES.fullmatch(low):
        return options[0][1]
    if NO.fullmatch(low):
        return Turn("note", told=(say("as_you_like", state.lang),))
    said = set(stems(low)) - GENERIC
    for name, turn in options:
        if said and said <= set(stems(name)):
            return turn
    return None
