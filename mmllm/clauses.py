"""Which parts of a turn ask for something: people also greet, thank, tell what they saw and ask back, and none of that is to be searched for.

English only; Chinese turns are short and pass whole. A part that is no sentence ("a comedy with a robot") asks.
"""

from __future__ import annotations

import re

CUT = re.compile(
    r"[.!?;]+(?=\s|$)|[.!?;]*\s*\n|,?\s+(?:but|and|so|because|cause|though|although|however)\s+"
    r"(?=(?:i|you|we|he|she|they|it|that|this|do|can|could|is|was|have)\b)"
    r"|\s+(?=i(?:'m| am| also| really| just)?\s+(?:like|love|liked|loved|want|need|saw|have|haven'?t|hate|prefer|enjoy|enjoyed|looking)\b)"
    r"|\s+(?=(?:can|could|do|have|did) (?:you|u) )"
)
OPENING = re.compile(
    r"^\W*(?:(?:oh+|ah+|aw+|yes|yeah|yep|yea|no|nope|ok|okay|well|hi|hello|hey|so|and|but|also|actually|honestly|thanks?|thank you|sure|great|"
    r"cool|nice|awesome|good|lol|haha|hmm+|um+|maybe|please|then|there|plus|or|alright|right|personally)\b[\s,!.]*)*"
)
WANT = (
    r"(?:really |also |just |usually |mostly |generally |always |definitely |personally |mainly |kind of |do |kinda )*"
    r"(?:want|wanna|need|(?:would|'d|d|will) (?:like|love|prefer|rather)|like|love|prefer|enjoy|fancy|adore|hate|dislike|"
    r"can'?t stand|don'?t (?:really )?(?:want|like|need|care for|enjoy|love)|do not (?:want|like|need)|"
    r"(?:am |'m |m |are |'re |was )?(?:not )?(?:just |really |also |currently |actually )*(?:looking|searching|hoping|after|into|"
    r"in the mood|interested in|up for|tired of|sick of|a (?:\w+ ){0,4}fan|fans?)|think (?:a|an|some|something|maybe))\b"
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
    r"|show\b|find\b|give\b|recommend\b|suggest\b|search\b|let'?s\b|let me\b|tell me\b|make (?:it|them)\b|looking\b|searching\b"
    r"|(?:it|they|that|this) (?:should|must|has to|have to|needs? to|can) be\b|my (?:favou?rites?|fave)\b|(?:i'?m|i am) (?:in|up)\b"
)
TELLS = re.compile(
    r"(?:i|you|u|we|he|she|they|it|its|im|ill|ive|that|thats|this|these|those|there|who|both|even|everyone|people|"
    r"(?:my|his|her|their|our|your) \w+)\b(?!\W*$|\s+(?:but|one|ones|in|with|or|and)\b)"
    r"|the (?:(?:last|first|most recent|latest|other|original) (?:one|movie|film|time)\b(?!\W*$|\s+(?:but|in|with|or|and)\b)|"
    r"(?:\w+ ){1,3}(?:was|were)\b|\w+ (?:loves?|likes?|is|are|has|have)\b)"
    r"|(?:have|has|had|did|didn'?t|do|does|doesn'?t|are|is|isn'?t|was|wasn'?t|were|will|would|should|could|when|"
    r"where|why|how|what|who|which|wish)\b"
    r"|(?:never|haven'?t|havent|hasn'?t|not (?:yet|really|sure|bad|seen|heard|that i|much)|seen|saw|watched|heard|loved|liked|enjoyed|"
    r"hope|hoping|sounds?|looks?|looking forward|seems?|take care|see you|talk to|glad|sorry|agreed?|true|very true|"
    r"interesting|excellent|amazing|perfect|bye|goodbye|good ?bye|good (?:night|day|evening|one|choice|luck)|enjoy (?:your|the)|"
    r"for (?:trying|the|your|all|"
    r"recommending|helping)|you(?:'re)?\b|came|got|thanks|very (?:much|good|nice|cool)|such an?|have an?|hello|hi)\b"
)
LEAD = re.compile(
    r"^\W*(?:(?:hi|hello|hey|hi there|please|ok|okay|well|yes|yeah|so|and|but|um|hmm|actually|maybe|now|then|tonight|today|"
    r"currently|i think)\b[\s,!.]*)*"
    r"(?:(?:can|could|would|will|do) (?:you|i|we) (?:please |maybe )?(?:show|find|recommend|suggest|give|direct|"
    r"get|have|know|help|see|tell)(?: me| us)?(?: to)?(?: find)?(?: of)?(?: some| any)?|"
    r"(?:i|we)(?: am|'m|m|'re| are)? (?:just |really |also )?(?:want|wanna|need|looking for|looking|searching for|"
    r"after|interested in|into|up for|would like|'d like|d like|enjoy|like|love|prefer|in the mood for|fancy)(?: to)?(?: (?:see|watch|"
    r"buy|find|have|get|watching|seeing))?|"
    r"i'?d (?:like|love|prefer)(?: to)?(?: (?:see|watch|buy|find|have|get))?|looking for|show(?: me| us)?|"
    r"find(?: me| us)?|give(?: me| us)?|recommend(?: me)?|suggest(?: me)?|search(?: for)?|"
    r"is there|are there|have you got|what about|how about|got|let'?s see|let me see|tell me|make (?:it|them))\b\s*|"
    r"(?:请|我想要?看?|想要?看?|想找|我要找|给我|帮我找?|有没有|推荐|来|找|我喜欢看?|我要看?|要)(?:一[个部张些本只]|几[个部张本])?"
)
"""What a request begins with."""


def asking(text: str) -> str:
    """A turn in small letters without the parts that only tell or ask back.

    >>> asking("i loved it. any comedy before 1990? have a good night!")
    'any comedy before 1990'
    >>> asking("a film about a robot"), asking("never heard of it, sounds interesting")
    ('a film about a robot', '')
    """
    return ". ".join(kept for part in CUT.split(text) if (kept := part.strip(" ,")) and _asks(kept))


def _asks(part: str) -> bool:
    if re.fullmatch(r"(?:so|very) \w+\W*", part):
        return False  # "so funny" is said of what was named
    said = part[found.end() :] if (found := OPENING.match(part)) else part
    return bool(not said or ASKS.match(said) or not TELLS.match(said))


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
