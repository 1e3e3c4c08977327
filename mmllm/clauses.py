"""Which parts of a turn ask for something: people also greet, thank, tell what they saw and ask back, and none of that is to be searched for.

English only; Chinese turns are short and pass whole. A part that is no sentence ("a comedy with a robot") asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mmllm.lexical import GENERIC
from mmllm.lexical import words as stems
from mmllm.verdicts import GOOD, VERY

CUT = re.compile(
    r"[.!?;]+(?=\s|$)|[.!?;]*\s*\n|,?\s+(?:but|and|so|because|cause|though|although|however)\s+"
    r"(?=(?:i|you|we|he|she|they|it|that|this|do|can|could|is|was|have)\b)"
    r"|\s+(?=i(?:'m| am| was| also| really| just| don't| do not)*\s+(?:like|love|liked|loved|want|need|saw|have|haven't|hate|"
    r"prefer|enjoy|enjoyed|looking|seeking|hoping)\b)"
    r"|,\s+(?=(?:just |only )?(?:looking|searching|hoping)\b)"
    r"|\s+(?=i'm\b|i am\b|(?:can|could|do|have|did) (?:you|u) )"
)
OPENING = re.compile(
    r"^[^\w⟨]*(?:(?:oh+|ah+|aw+|yes|yeah|yep|yea|no|nope|ok|okay|well|hi|hello|hey|so|and|but|also|actually|honestly|thanks?|thank you|sure|"
    r"great|cool|nice|awesome|good|lol|haha|hmm+|um+|maybe|please|then|now|there|plus|or|alright|right|personally|tonight|today|"
    r"(?:i|we) (?:guess|think|suppose))\b[\s,!.]*)*"
)
DEGREE = r"(?:(?:really|also|just|even|still|do|always|sometimes|kind of|kinda|\w+ly) )*"
AFTER = r"(?:looking|searching|seeking|hoping|after|into|in the mood|interested in|up for)"
WISH = (
    rf"{DEGREE}(?:want|wanna|need|(?:would|'d|d|will) {DEGREE}(?:like|love|prefer|enjoy|rather)|like|love|prefer|enjoy|fancy|adore|"
    rf"(?:am |'m |are |'re |was |were |have been |'ve been )?{DEGREE}{AFTER})"
)
"""What a person says of what is wanted, behind "I"."""
WANT = (
    rf"(?:{WISH}|{DEGREE}(?:hate|dislike|can't stand|don't (?:really )?(?:want|like|need|care for|enjoy|love)|do not (?:want|like|need)|"
    rf"(?:am |'m |are |'re |was )?(?:not )?{DEGREE}(?:{AFTER}|tired of|sick of|a (?:\w+ ){{0,4}}(?:fan|lover|addict|buff)|fans?)|"
    r"think (?:a|an|some|something|maybe)))\b"
)
ASKS = re.compile(
    rf"(?:i|we)\s*{WANT}|{WANT}"
    r"|(?:can|could|would|will) (?:you|u|i|we) (?:please |maybe )?(?:show|find|recommend|suggest|give|get|have|help|see|tell|name|"
    r"direct|think of|list|pick|choose|look)\b"
    r"|(?:do|did|have) (?:you|u) (?:happen to )?(?:have|got|know|recommend|seen|see|watched)\b.*"
    r"\b(?:any|some|other|another|something|anything)\b"
    r"|(?:do you )?(?:have|got|know|recommend|suggest)\b.*\b(?:any|some|something|anything)\b|any\b|some\b|something\b|anything\b|nothing\b"
    r"|(?:is|are) there\b|(?:what|how) about\b|what (?:else|other)\b"
    r"|(?:what|which)\b[^?]*\b(?:do you (?:have|recommend)|would you|should i|can you)"
    r"|show\b|find\b|give\b|recommend\b|suggest\b|search\b|let's\b|let me\b|tell me\b|make (?:it|them)\b|looking\b|searching\b"
    r"|(?:it|they|that|this) (?:should|must|has to|have to|needs? to|can) be\b|my (?:favou?rites?|fave)\b|(?:i'?m|i am) (?:in|up)\b"
)
TELLS = re.compile(
    # What was, unless it says which is wanted: "a film that was made in Rome".
    r"[^?]*(?<!that )(?<!which )(?<!who )\b(?:was|were|wasn't|weren't)\b"
    r"|(?:⟨\d+⟩\W*(?:and |or )?)+(?:\w+ +){0,2}(?:is|was|are|were|has|had|looks?|sounds?|\w+n't)\b"
    r"|(?:i|you|u|we|he|she|they|it|its|i'm|i've|ill|that|thats|this|these|those|there|who|both|even|everyone|people|"
    r"(?:my|his|her|their|our|your) \w+)\b(?!\W*$|\s+(?:but|one|ones|in|with|or|and)\b)"
    r"|the (?:(?:last|first|most recent|latest|other|original) (?:one|movie|film|time)\b(?!\W*$|\s+(?:but|in|with|or|and)\b)|"
    r"(?:\w+ ){1,3}(?:was|were)\b|\w+ (?:loves?|likes?|is|are|has|have)\b)"
    r"|(?:have|has|had|did|didn't|do|does|doesn't|are|is|isn't|was|wasn't|were|will|would|should|could|when|"
    r"where|why|how|what|who|which|wish)\b"
    r"|(?:never|haven't|hasn't|not (?:yet|really|sure|bad|seen|heard|that i|much)|seen|saw|watched|heard|loved|liked|enjoyed|"
    r"hope|hoping|sounds?|looks?|looking forward|seems?|take care|see you|talk to|glad|sorry|agreed?|true|very true|"
    r"interesting|excellent|amazing|perfect|bye|goodbye|good ?bye|good (?:night|day|evening|one|choice|luck)|enjoy (?:your|the)|"
    r"for (?:trying|the|your|all|"
    r"recommending|helping)|you(?:'re)?\b|came|got|thanks|very (?:much|good|nice|cool)|such an?|have an?|hello|hi)\b"
)
LEAD = re.compile(
    rf"{OPENING.pattern}"
    r"(?:(?:(?:can|could|would|will|do) (?:you|i|we) (?:please |maybe )?(?:show|find|recommend|suggest|give|direct|"
    r"get|have|know|help|see|tell)(?: me| us)?(?: to)?(?: find)?(?: of)?(?: some| any)?|"
    rf"(?:(?:i|we)\s*{WISH}|{DEGREE}{AFTER})(?: for)?(?: to)?(?: (?:see|watch|buy|find|have|get|watching|seeing))?|show(?: me| us)?|"
    r"find(?: me| us)?|give(?: me| us)?|recommend(?: me)?|suggest(?: me)?|search(?: for)?|"
    r"is there|are there|have you got|what about|how about|got|let's see|let me see|tell me|make (?:it|them))\b\s*|"
    r"(?:再|那|就|也|还|今[天晚])*(?:请|我想要?看?|想要?看?|想找|我要找|给我|帮我找?|有没有|推荐|来|找|我喜欢看?|我要看?|要)(?:一[个部张些本只]|几[个部张本])?)?"
)
"""What a request begins with."""


FINITE = r"(?:is|are|was|were|has|have|had|will|would|could|did|does|do|can|i|you|he|she|they|we|it)"
PHRASE = re.compile(
    rf"(?:an?|another|more|no|not|nothing|only|with|without|from|about|like|the|some|in|on|set)\b(?!.*\b{FINITE}\b)|"
    r"(?:no|nothing)\b"
)
"""How a part that is no sentence begins where it describes something: "a good heist film", "no clowns"."""
PRAISED = re.compile(
    rf"((?:(?!(?:{FINITE}|that|this|those|these|which|what|who|there|here|the|one)\b)[\w'-]+ ){{1,4}})(?:is|are) {VERY}{GOOD}"
)
"""Praise of somebody who is no item: "Sandra Bullock is amazing" likes films with her."""


def asking(text: str, names: Callable[[str], object] = bool) -> str:
    """A turn in small letters without the parts that only tell or ask back.

    A part that is no sentence asks where it goes on with what asks, describes a thing, or `names` what the catalog has; alone it always does.

    >>> asking("i loved it. any comedy before 1990? have a good night!")
    'any comedy before 1990'
    >>> asking("a film about a robot"), asking("never heard of it, sounds interesting")
    ('a film about a robot', '')
    >>> asking("i want a comedy. robots maybe. wow", lambda part: False), asking("oh boy. i want a comedy", lambda part: False)
    ('i want a comedy. robots maybe. wow', 'i want a comedy')
    """
    parts = [kept for part in CUT.split(EVER.sub(" ", text)) if (kept := part.strip(" ,")) and re.search(r"\w", kept)]
    out, asks = [], len(parts) == 1
    for part in parts:
        said = part[opening.end() :] if (opening := OPENING.match(part)) else part
        if not said or SO.fullmatch(part):
            continue
        if ASKS.match(said):
            asks = True
        elif praised := PRAISED.match(said):
            part, asks = praised[1].strip(), True
        elif TELLS.match(said):
            asks = False
            continue
        elif not (asks or PHRASE.match(said) or PHRASE.match(part) or names(part)):
            continue
        out.append(part)
    return ". ".join(out)


EVER = re.compile(
    r"\bthe (?:last|first|best|worst|only|latest) +(?:[\w-]+ +){0,5}?"
    r"(?:⟨\d+⟩|(?:(?:i|we) (?:have |ever |recently |just )*|(?:i|we)'ve (?:ever )?)(?:seen|saw|watched)\b[^.!?;]*)"
)
""" "The best comedy I have ever seen" tells."""
SO = re.compile(r"(?:so|very) \w+\W*")
""" "So funny" is said of what was named."""


PEOPLE = re.compile(
    r"\b(?:i|im|you|u|we|us|he|she|him|her|his|they|them|it|its|this|that|those|these|me|my|our|your)\b(?! (?:is|are|looks?|has|have|can)\b)"
)
LONG = 8
"""Words in the longest plain request."""


def plain(text: str) -> bool:
    """True where a turn is one request and nothing else: one short clause in which, behind what a request begins with, nobody stands.

    >>> plain("I am looking for an animal with a pouch, please"), plain("I watched it with my brother")
    (True, False)
    """
    low = text.lower()
    parts = [part for part in CUT.split(low) if re.search(r"\w", part)]
    rest = LEAD.sub(" ", OPENING.sub("", low), count=1)
    return len(parts) <= 1 and len(rest.split()) <= LONG and not PEOPLE.search(rest)


# What narrows the request that stands, and what asks for more of it.
NARROWS = re.compile(
    r"(?:^|[.!?;]\s)\W*(?:(?:ok|okay|yes|no|well|hmm|great|nice|good)\W+)*(?:but|and|also|only|just|with|in|make (?:it|"
    r"them)|plus|still|rather|preferably|maybe|even|more|less|instead|or|但是?|不过|还要|而且|只要|也要|最好|要)(?![a-z])"
    r"|,\s*(?:and|but|also|maybe|plus)\s+(?:something|anything)\b"
    r"|\b(?:it|they|this|that) (?:should|must|has to|have to|needs? to|ought to) (?:\w+ )?(?:be|have)\b"
    r"|\b(?:too|as well|instead|though|also|only|please)\W*$|(?:的|一点|一些|也行)\W*$"
)
MORE_FIRST = re.compile(
    r"^\W*(?:(?:ok|okay|no\s*[,.]|well|show me|give me|find me|i want|any|do you have|got)\W+)*(?:something|anything|"
    r"some|any)?\s*(?:else|other|others|another(?: one)?|different|more)\b(?!\s+(?:like|than|expensive|"
    r"recent|classic|modern|costly))[\s,]*(?:but|that is|ones?)?|^\W*(?:换一个|换个|再来一个|另一个|还有)[，,\s]*"
)


def content(text: str) -> list[str]:
    """The stems that say something of what is wanted."""
    clauses = re.split(r"[,.;!?，。；！？]", re.sub(r"⟨\d+⟩", " ", text))
    return [s for clause in clauses for s in stems(LEAD.sub(" ", clause, count=1)) if s not in GENERIC]


def searched(text: str) -> str:
    """What is left of a turn as words to search for."""
    plain = re.sub(r"⟨\d+⟩", " ", text)
    plain = LEAD.sub(" ", plain, count=1)
    plain = ", ".join(p for p in re.split(r"\s*[,，、;；.。!！?？:：]\s*", plain) if content(p))
    plain = re.sub(
        r"^\W*(?:the )?same(?: one| thing)?,? (?:but|only|in)\b|^\W*(?:but|and|in|only|also|make it)\b|^的|"
        r"^(?:但是?|不过|要|还要)",
        " ",
        plain,
    )
    plain = re.sub(r"(?:\s+(?:or|and|but|in|from|with|by))+\s*$", "", plain)
    return re.sub(r"\s+", " ", plain).strip(" ,，、。.!?;-的") if content(text) else ""
