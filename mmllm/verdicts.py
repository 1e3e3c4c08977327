"""What is said of an item, as patterns over marks (⟨0⟩, ⟨1⟩, ...): liked, disliked, known, like that, show it, tell me of it.

English and Chinese. `mentions.find` puts marks in the place of titles and references and reads these in order.
"""

from __future__ import annotations

import re

M = r"⟨\d+⟩"
LIST = (
    rf"({M}(?:\s*(?:,|;|/|&|\+|，|、|\balso\b|\band\b|\bor\b|\bboth\b|和|与|跟|或)\s*(?:(?:also|the)\s+)*{M}(?!\s+(?:was|is|were|"
    rf"are|looks|seems)\b))*)"
)
SOFT = (
    r"(?:(?:really|also|absolutely|just|too|quite|always|so|both|all|the|film|films|movie|movies|stamp|"
    r"first|watching|seeing|book|much|of|very|his|her|their)\s+)*"
)
ITSELF = r"(?:movies?|films?|ones?|series|also|too|both|itself|really|two|stamps?|pictures?)"
VERY = (
    r"(?:(?:so+|really|very|pretty|quite|super|truly|extremely|still|also|actually|definitely|probably|always|just|kind of|rather|"
    r"a|an|my|another|such a|one of (?:the|my)|all|both|the|absolutely)\s+)*"
)
MIXED = rf"{VERY}\w+,?\s+(?:but|and|yet)\s+"
"""Before the last word of a verdict, which counts: "violent but good"."""
WAS = rf"(?:\s+{ITSELF})?\s+(?:was|is|were|are)\s+"
FAVOURITE = r"(?:all[ -]time )?fav(?:e|ou?rite)s?"
GOOD = (
    rf"(?:good|great|amazing|awesome|excellent|lovely|nice|fantastic|wonderful|funny|brilliant|fun|{FAVOURITE}|(?:all[ -]time )?classics?|"
    r"best|cool|beautiful|pretty(?!\s+\w)|hilarious|sweet|cute)\b(?!\s+(?:talking|chatting|meeting|speaking|to|that|if|you|how|ideas?|options?|"
    r"suggestions?|recommendations?|chat|choices?|help|day|points?)\b)"
)
BAD = (
    r"(?:bad|boring|terrible|awful|horrible|dull|ugly|horible|disappointing|not (?:that |very |so |really |my |for me)?(?:good|great|funny|"
    r"taste|thing|for me|nice|me)|not for me|stupid|dumb|rubbish|worst|overrated|silly|lame|meh)\b"
)
PLAIN_LIKE = (
    r"(?:love|loved|loving|like|liked|enjoy|enjoyed|adore|adored|prefer|"
    r"favou?rites? (?:(?:recent |all[ -]time |of all time )?(?:movies?|films?|ones?) )?(?:is|are|was|include)|"
    r"(?:big|huge|a) fan of|(?:(?<=am )|(?<='m )|(?<=im )|(?<=are )|(?<=was )|(?<=really )|(?<=totally ))into)"
)

# What leaves its item unsaid -> the same with it: "I was no fan", "great movie!", "any similar films?".
THINGS = r"(?:movies?|films?|ones?|things?|stuff)"
OPENS = r"((?:^|[.!?;,])\s*(?:(?:oh|yes|yeah|yep|yup|ok|okay)\s+)*)"
UNSAID: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), whole)
    for pattern, whole in (
        # "That's a good one" speaks of an item, "that's a good idea" does not.
        (
            r"\b(that|it|this)'?s\s+(?=(?:such )?(?:an?|the|my|one of my|another)\s+(?:[\w-]+\s+){0,3}"
            rf"(?:one|movie|film|classic|{FAVOURITE})\b)",
            r"\1 is ",
        ),
        (rf"\bit'?s\s+(?!all\b)(?={VERY}{GOOD})", "it is "),
        (
            r"\b(?:was|am|'m) ?(?:n't|not) (?:really )?(?:an? )?(?:big |huge |much of a )?fan\b(?!\s+of)",
            r"\g<0> of it",
        ),
        (rf"{OPENS}one of my(?= {FAVOURITE})", r"\1it is one of my"),
        (
            rf"{OPENS}(?=(?:such an? |(?:so|very|really|pretty) )*(?:good|great|amazing|awesome|excellent|fantastic|wonderful|lovely) "
            r"(?:movie|film|one)\s*(?:$|[.,;!]))",
            r"\1it is ",
        ),
        (r"\b(like[ds]?|love[ds]?|enjoy(?:ed|s)?) how (it|that|they)\b", r"\1 \2, how \2"),
        (r"\band like (it|them|that one|those)\b", r"and i like \1"),
        (rf"\bsimilar ({THINGS})\b(?!\s+(?:to|in|as|⟨))", r"\1 similar to it"),
        (r"\b(?:something|anything|more|others?) similar\b(?!\s+(?:to|in|as|⟨))", r"\g<0> to it"),
    )
)

# In this order; what a rule has taken, later rules do not see. Each is (what is said, pattern over marks).
RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("nothing", rf"(?:n't|\bnot|\bnever)\s+(?:\w+\s+)?(?:seen|watched)\b[^⟨.!?;,]*\b(?:like|as)\s+{SOFT}{LIST}"),
        (
            "disliked",
            r"(?P<kept>\b(?:nothing|no|not|without|(?:don't|do not|won't) (?:want|need|like|enjoy|show me|recommend))\s+"
            rf"(?:(?!(?:sure|only|just|maybe|i|is|but|know|mind|seen)\b)[\w-]+\s+){{0,4}}?)(?:like|similar to|such as)\s+{SOFT}{LIST}",
        ),
        ("disliked", rf"\b(?:anything|something|films?|movies?|ones?)\s+(?:but|besides|except|other than)\s+{SOFT}{LIST}"),
        (
            "similar",
            r"(?P<kept>\b(?:any|some|other|another|more)\b(?:(?!\b(?:i|we|you|not)\b|n't)[^⟨.!?;])*?)"
            rf"\b(?:like|similar to)\s+{SOFT}{LIST}",
        ),
        ("nothing", rf"\b(?:is|was|are) (?:{M}|it|that|this|they)\s+(?:\w+\s+)?(?:like|similar to)\s+{SOFT}{LIST}"),
        # "That is a great one just like ⟨1⟩", "that one reminds me of ⟨1⟩" and "are they soft like ⟨1⟩?" compare films and ask for none.
        (
            "nothing",
            rf"(?:{M}|(?:^|[.,;!?])\s*(?:it|that|this))(?:\s+{ITSELF})?\s+reminds? me (?:a (?:lot|bit) )?of\s+{SOFT}{LIST}",
        ),
        (
            "nothing",
            rf"(?:^|[.!?;]\s*)\W*(?:is|are|was|were)\s+(?:{M}|it|that|this|they|those|these)\b[^.!?;]*?\b(?:like|similar to)\s+{SOFT}{LIST}",
        ),
        (
            "nothing",
            rf"(?:{M}|\b(?:it|that|this|they|those|these))\s+(?:is|was|are|were)\s+"
            rf"(?:(?!\b(?:want|need|looking|something|anything|more)\b)[^⟨.!?;,])*?\blike\s+{SOFT}{LIST}",
        ),
        # Questions and conditions state nothing of the person.
        (
            "nothing",
            r"\b(?:did|do|have|are|has) (?:you|u|ya)\b(?!\s+(?:know|have|got|recommend|suggest)\b[^⟨.!?;]*\b(?:like|similar|as)\b)"
            rf"[^⟨.!?;]*?{LIST}",
        ),
        # Not for a long time is seen once; "you should see it" recommends it.
        (
            "known",
            rf"(?:n't|\bnot|\bnever)\s+(?:\w+\s+)?(?:seen|watched)\s+{SOFT}{LIST}\s+(?:since\b|(?:in|for)\s+(?:a (?:long|while|very)|"
            r"(?:many |so many )?years|ages|forever|so long|quite)\b)",
        ),
        (
            "liked",
            r"\b(?:you\s+(?:\w+ly\s+|just\s+)?(?:should|must|have to|need to|gotta|got to)\s+(?:\w+ly\s+)?(?:see|watch|check out|try)|"
            rf"i(?:'d| would| can| do)?\s+(?:\w+ly\s+)?recommend)\s+{SOFT}{LIST}",
        ),
        (
            "nothing",
            rf"(?:n't|\bnot|\bnever)\s+(?:(?:yet|even|actually)\s+)?(?:saw|"
            rf"seen|see|watch(?:ed)?|heard of|read)\s+(?:of\s+)?{SOFT}{LIST}",
        ),
        (
            "nothing",
            rf"\b(?:will|'ll|might|may)\s+(?:\w+ly |also |really )?(?:like|love|enjoy)\s+{SOFT}{LIST}",
        ),
        (
            "nothing",
            rf"\b(?:will|would|want|going|have|need|gotta|like|love|'d|'ll) (?:like |love )?to (?:see|watch|check(?: out)?|"
            rf"try)\s+(?:out\s+)?{SOFT}{LIST}|没看过{LIST}",
        ),
        ("nothing", rf"\b(?:not sure|don'?t think|should|wish)\b[^⟨.!?;]*?\b(?:seen|watched|saw)\s+{SOFT}{LIST}"),
        (
            "nothing",
            rf"\b(?:go|should|must|gotta|might|may|'ll|will|to) (?:and |definitely |probably )?(?:see|watch)\s+{SOFT}{LIST}",
        ),
        ("nothing", rf"\b(?:hear|heard|told|bet|hope|guess|wonder)\b[^⟨.!?;]*{LIST}"),
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
            rf"\b(?:hate|hated|dislike|disliked|detest|detested|can'?t stand|"
            rf"couldn'?t stand|(?:not|\w+n't) (?:really )?(?:a |much of a )?(?:big |huge )?fan of|"
            rf"sick of|tired of|bored by|not into)\s+{SOFT}{LIST}",
        ),
        (
            "disliked",
            rf"(?:不喜欢|不爱看|不爱|讨厌|不想看|不想要|不要|别要)\s*{LIST}|{LIST}\s*(?:不好看|难看|很无聊|太无聊|无聊|太差|很差|不行)",
        ),
        (
            "disliked",
            rf"{LIST}(?:\s+{ITSELF})?\s+(?:was|is|were|are|looks?|seems?|looked|seemed)\s+(?:{MIXED}|too\s+)?{VERY}{BAD}(?!,?\s+(?:but|yet)\s+{VERY}{GOOD})",
        ),
        ("disliked", rf"\b(?:i )?(?:wasn'?t|weren'?t) (?:that )?(?:impressed|keen|into)(?: by| on| with)?\s+{SOFT}{LIST}"),
        ("similar", rf"(?:像|类似|类似于)\s*{LIST}(?:一样|那样|这样)?的?|(?:跟|和|与)\s*{LIST}\s*(?:一样|类似|差不多|相似)的?"),
        (
            "liked",
            rf"(?:很喜欢|最喜欢|超喜欢|也喜欢|喜欢|最爱|爱看|爱)\s*{LIST}|{LIST}\s*(?:很好看|真好看|好看|不错|很棒|太棒了|我喜欢)",
        ),
        ("known", rf"(?:看过|见过|已经有|有了|读过|知道)了?\s*{LIST}|{LIST}\s*(?:我)?(?:已经)?(?:看过|见过|有了|读过)了?"),
        ("liked", rf"{LIST}\s*,?\s+(?:one of )?my {FAVOURITE}"),
        ("liked", rf"\b(?:seen|watched|saw)\s+{SOFT}{LIST}\s*,?\s*(?:so |too )?many times"),
        (
            "known",
            rf"\b(?:have|'ve|already|just|i|we|ive)\s+(?:already |just |both |also |even |only |recently )*(?:seen|did see|"
            rf"saw|watched|read|own|got|owned|know)\s+(?:already\s+)?{SOFT}{LIST}",
        ),
        ("known", rf"\b(?:movie|film|one|thing) (?:i|we) (?:watched|saw|have seen) (?:was|is)\s+{SOFT}{LIST}"),
        ("known", rf"\b(?:seen|watched|saw)\s+{SOFT}{LIST}"),
        (
            "wanted",
            rf"(?<!they )(?<!to )(?<!will )(?<!'ll )\b(?:show|(?:can|could|may) (?:i|we) see|let me see|bring|give)\s+"
            rf"(?:me\s+)?(?:back\s+)?{SOFT}{LIST}(?:\s+(?:again|once more|back))?|{LIST}\s+again\b|"
            rf"(?:再看看|再看一下|再给我看|再显示){LIST}",
        ),
        ("about", rf"\bwhat(?:'s| is)\s+{LIST}\s+about\b|\bis\s+{LIST}\s+any good\b|{LIST}\s*(?:是什么|是谁|怎么样|怎样|如何)"),
        ("about", rf"\b(?:tell me (?:more )?about|more about|details of|describe)\s+{SOFT}{LIST}|(?:介绍一下|介绍|说说){LIST}"),
        (
            "similar",
            rf"(?:^|[,.;!?]\s*)(?:yes |ok |well |and |or |maybe )*(?:like|as)\s+{SOFT}{LIST}(?=[^⟨]*\b(?:but|only|"
            rf"in|cheaper|older|newer|shorter|longer|with)\b)",
        ),
        (
            "similar",
            rf"(?<!\bi )(?<!\bwe )(?<!\breally )(?<!\balso )(?<!\bdo )(?<!\bdid )(?<!\bthey )(?<!\bwould )(?<!'d )(?<!\bto )(?<!\bnot )"
            rf"(?<!n't )(?<!\byou )(?<!\bjust )(?<!\balways )(?<!\bstill )(?<!\bboth )(?<!looks )(?<!look )\blike\s+{SOFT}{LIST}",
        ),
        ("liked", rf"(?<!would )(?<!'d )(?<!i d )(?<!to )\b{PLAIN_LIKE}\s+{SOFT}{LIST}"),
        ("liked", rf"{LIST}{WAS}(?:{MIXED})?{VERY}{GOOD}(?!\W*\?)"),
        # "That is okay" may take an offer; "that was okay" is said of what was seen.
        ("known", rf"{LIST}(?:\s+{ITSELF})?\s+(?:was|were|is an?)\s+{VERY}(?:ok|okay|alright|all right|decent)\b"),
        (
            "liked",
            rf"{LIST}(?:\s+{ITSELF})?\s+(?:looks?|seems?|looked)\s+{VERY}(?:lovely|nice|beautiful|cool|pretty(?!\s+\w)|sweet|cute)\b",
        ),
        ("liked", rf"\b(?:i'?ll take|i take|i choose|i pick|i'?ll have)\s+{SOFT}{LIST}"),
        ("disliked", rf"(?:^|[.,;!?])\s*(?:not|no|without|hide|remove)\s+{SOFT}{LIST}\s*(?=$|[.,;!?])"),
    )
)
