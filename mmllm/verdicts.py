"""What is said of an item, as patterns over marks (⟨0⟩, ⟨1⟩, ...): liked, disliked, known, like that, show it, tell me of it.

English and Chinese. `mentions.find` puts marks in the place of titles and references and reads these in order.
"""

from __future__ import annotations

import re

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
        ("nothing", rf"\b(?:not sure|don'?t think|should|wish)\b[^⟨.!?;]*?\b(?:seen|watched|saw)\s+{SOFT}{LIST}"),
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
            rf"\b(?:have|'ve|already|just|i|we|ive)\s+(?:already |just |both |also |even |only |recently )*(?:seen|did see|"
            rf"saw|watched|read|own|got|owned|know)\s+(?:already\s+)?{SOFT}{LIST}",
        ),
        ("known", rf"\b(?:seen|watched|saw)\s+{SOFT}{LIST}"),
        (
            "wanted",
            rf"\b(?:show|see|bring|give)\s+(?:me\s+)?(?:back\s+)?{SOFT}{LIST}(?:\s+(?:again|once more|back))?|{LIST}\s+again\b|"
            rf"(?:再看看|再看一下|再给我看|再显示){LIST}",
        ),
        ("about", rf"\bwhat(?:'s| is)\s+{LIST}\s+about\b|\bis\s+{LIST}\s+any good\b|{LIST}\s*(?:是什么|是谁|怎么样|怎样|如何)"),
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
        ("disliked", rf"(?:^|[.,;!?])\s*(?:not|no|without|hide|remove)\s+{SOFT}{LIST}\s*(?=$|[.,;!?])"),
    )
)
