"""Scripted dialogues: what is said, and what the state has to be after every turn.

A turn names what changes; everything it does not name has to stay as it was. `@2` is the second item on the list before the turn, `@2.price`
its price, `@min.price` the lowest on the list. `said`, `unclear`, `question` are patterns that the answer has to hold; a turn without them
must have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class T:
    """One turn: `say`, patterns of the answer, how many items come, and the parts of the state that change."""

    say: str
    change: dict[str, Any] = field(default_factory=dict)
    said: str = ""
    unclear: str = ""
    question: str = ""
    shows: int | None = None
    keeps: bool = False
    """The list on the screen stays."""


def t(
    say: str,
    *,
    said: str = "",
    unclear: str = "",
    question: str = "",
    shows: int | None = None,
    keeps: bool = False,
    **change: Any,
) -> T:
    return T(say, change, said, unclear, question, shows, keeps or bool(said))


FILMS: dict[str, tuple[T, ...]] = {
    # ---- filters: values, numbers, decades ----
    "value": (t("I want a comedy", words="a comedy", filters=["genre = comedy"]),),
    "value by synonym": (t("something funny please", words="something funny please", filters=["genre = comedy"]),),
    "two values of one film": (t("a romantic comedy", words="a romantic comedy", filters=["genre all romance,comedy"], shows=1),),
    "either value": (
        t("a western or an animation", words="a western or an animation", filters=["genre in western,animation"], shows=2),
    ),
    "colour as a predicate": (
        t("anything that is purple", words="anything that is purple", filters=["colour = purple"], shows=2),
    ),
    "only the head is a filter": (
        t("a comedy about a robot in a western", words="a comedy about a robot in a western", filters=["genre = comedy"]),
    ),
    "price": (t("under 10 dollars", filters=["price < 10"], question="8 such"),),
    "price range": (
        t("a drama between 10 and 15 dollars", words="a drama", filters=["price >= 10", "price <= 15", "genre = drama"]),
    ),
    "decade": (t("films from the nineties", filters=["year >= 1990", "year <= 1999"], question="8 such"),),
    "decade in digits": (
        t("a thriller from the 1980s", words="a thriller", filters=["year >= 1980", "year <= 1989", "genre = thriller"], shows=1),
    ),
    "before a year": (t("mysteries before 1980", words="mysteries", filters=["year < 1980", "genre = mystery"], shows=1),),
    "length in hours": (
        t(
            "a comedy shorter than one hour",
            words="a comedy",
            filters=["minutes < 60", "genre = comedy"],
            question="Nothing here is",
        ),
    ),
    "narrowed step by step": (
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t("before 2010", filters=["genre = comedy", "year < 2010"]),
        t("and under 10 dollars", filters=["genre = comedy", "year < 2010", "price < 10"], question="seen all 2"),
        t(
            "but red",
            words="a comedy red",
            filters=["genre = comedy", "year < 2010", "price < 10", "colour = red"],
            question="the only one",
        ),
    ),
    "the last word counts": (
        t("something blue", words="something blue", filters=["colour = blue"]),
        t("make it black", words="black", filters=["colour = black"]),
        t("over 8 dollars", filters=["colour = black", "price > 8"], question="seen all 2"),
        t("no more than 10 dollars", filters=["colour = black", "price > 8", "price <= 10"], question="the only one"),
    ),
    # ---- refusals ----
    "no value": (
        t("a film about a robot", words="a film about a robot"),
        t("no science fiction", filters=["genre != science fiction"]),
    ),
    "several refusals": (
        t("something red, no horror and no drama", words="something red", filters=["genre != horror,drama", "colour = red"]),
        t("not Jun Sato", filters=["genre != horror,drama", "colour = red", "director != Jun Sato"], question="seen|Nothing"),
    ),
    "a refused word": (
        t("an adventure", words="an adventure", filters=["genre = adventure"]),
        t("nothing with dogs", avoid=["dog"], question="seen all"),
    ),
    "a refusal takes the wish back": (
        t("a horror film", words="a horror film", filters=["genre = horror"]),
        t("no horror after all", words="a film", filters=["genre != horror"]),
    ),
    # ---- likes, dislikes, seen ----
    "liked titles": (t("I loved Midnight Ledger and Velvet Radar", liked=["midnight-ledger", "velvet-radar"]),),
    "liked and hated": (
        t("I really liked The Quiet Engine but I hated Moth Season", liked=["the-quiet-engine"], disliked=["moth-season"]),
    ),
    "a dated title": (t("I enjoyed Glass Harbour (2011)", liked=["glass-harbour-2011"]),),
    "one title of two films": (
        t("I liked Glass Harbour", unclear="name of 2 items", said="year"),
        t("I liked Glass Harbour (1994)", liked=["glass-harbour-1994"]),
    ),
    "seen already": (
        t("a comedy, I have already seen Orbit of Fools", words="a comedy", filters=["genre = comedy"], known=["orbit-of-fools"]),
    ),
    "not seen is no mark": (t("I haven't seen Copper Rain", said="Copper Rain"),),
    "like the second": (
        t("a drama", words="a drama", filters=["genre = drama"]),
        t("I like the second one", liked=["@2"]),
        t("I don't like the first", disliked=["@1"], question="seen|$"),
    ),
    "a verdict and a pronoun": (
        t("a mystery", words="a mystery", filters=["genre = mystery"]),
        t("I've seen the first one, it was boring", disliked=["@1"], question="seen all 5"),
    ),
    "taste changes": (
        t("I love Red Meridian", liked=["red-meridian"]),
        t("actually I hate Red Meridian", liked=[], disliked=["red-meridian"], keeps=True, said="looking for"),
    ),
    # ---- references and critiques ----
    "like that but cheaper": (
        t("a drama", words="a drama", filters=["genre = drama"]),
        t(
            "like the second but cheaper",
            similar=["@2"],
            filters=["genre = drama", "price < @2.price"],
            question="Nothing|seen|$",
        ),
    ),
    "cheaper than all shown": (
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t("something cheaper", filters=["genre = comedy", "price < @min.price"], question="Nothing|seen|$"),
    ),
    "older": (
        t("science fiction", words="science fiction", filters=["genre = science fiction"]),
        t("older ones please", filters=["genre = science fiction", "year < @min.year"], question="Nothing|seen|$"),
    ),
    "newer than the first": (
        t("a thriller", words="a thriller", filters=["genre = thriller"]),
        t("newer than the first", filters=["genre = thriller", "year > @1.year"], question="Nothing|seen|$"),
    ),
    "too long": (
        t("a drama", words="a drama", filters=["genre = drama"]),
        t("the third is too long", filters=["genre = drama", "minutes < @3.minutes"], question="Nothing|seen|$"),
    ),
    "not by her": (
        t("a film by Ana Roth", filters=["director = Ana Roth"]),
        t("not by her", filters=["director != Ana Roth"], question="such"),
    ),
    "by the same director": (
        t("I want a western", words="a western", filters=["genre = western"], shows=1),
        t("the first one", said="Copper Rain"),
        t("others by the same director", filters=["genre = western", "director = Viktor Amsel"], question="the only one"),
        t("any genre is fine", words="", filters=["director = Viktor Amsel"], question="seen|$"),
    ),
    "same but blue": (
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t(
            "the same but blue",
            words="a comedy blue",
            similar=["@1"],
            filters=["genre = comedy", "colour = blue"],
            question="Nothing|seen|$",
        ),
    ),
    "more like the first": (
        t("horror", words="horror", filters=["genre = horror"]),
        t("more like the first", similar=["@1"], question="seen all"),
    ),
    "like a named film": (
        t(
            "something like Northern Static but not by Kaya Brandt",
            similar=["northern-static"],
            filters=["director != Kaya Brandt"],
        ),
    ),
    # ---- more, again, undo, forget, start over ----
    "something else": (
        t("a comedy", words="a comedy", filters=["genre = comedy"], shows=5),
        t("something else", shows=2),
        t("anything else?", question="seen all 7"),
        t("yes", wanted=True, shows=5),
    ),
    "undo": (
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t("only red ones", words="a comedy red", filters=["genre = comedy", "colour = red"], question="the only one|$"),
        t("undo", words="a comedy", filters=["genre = comedy"], said="Taken back"),
        t("undo", words="", filters=[], said="nothing yet"),
        t("undo", said="nothing to undo", unclear="nothing to undo"),
    ),
    "undo a like": (
        t("a drama", words="a drama", filters=["genre = drama"]),
        t("I like the first", liked=["@1"]),
        t("take that back", liked=[], said="Taken back"),
    ),
    "forget the colour": (
        t("a blue drama", words="a blue drama", filters=["colour = blue", "genre = drama"]),
        t("forget the colour", words="a drama", filters=["genre = drama"]),
        t("forget the smell", unclear="attributes here are", said="attributes here are"),
    ),
    "start over": (
        t("a red film", words="a red film", filters=["colour = red"]),
        t("I like the first", liked=["@1"], question="seen all 3"),
        t("start over", words="", filters=[], liked=[], shows=0),
    ),
    "show it again": (
        t("a horror film", words="a horror film", filters=["genre = horror"]),
        t("something else", question="seen all 4"),
        t("show me Moth Season again", wanted=["moth-season"], shows=1),
    ),
    # ---- questions about the list ----
    "why": (
        t("a comedy before 2000", words="a comedy", filters=["year < 2000", "genre = comedy"]),
        t("why this?", said="year below 2000"),
        t("why the second?", said="genre"),
        t("why the ninth?", said="I showed", unclear="I showed"),
    ),
    "compare": (
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t("compare the first two", said="In common|nothing in common"),
        t("what is the difference between 1 and 3", said="minutes"),
        t("cheaper than the second one", filters=["genre = comedy", "price < @2.price"], question="Nothing|seen|$"),
    ),
    # ---- memory across turns, a new subject ----
    "limits outlive the subject": (
        t(
            "a comedy under 16 dollars, no romance",
            words="a comedy",
            filters=["price < 16", "genre != romance", "genre = comedy"],
        ),
        t("a film with a robot", words="a film with a robot", filters=["price < 16", "genre != romance"]),
    ),
    "what do you know": (
        t("a drama from the sixties", words="a drama", filters=["year >= 1960", "year <= 1969", "genre = drama"], shows=1),
        t("what do you know about me?", said="year at least 1960"),
    ),
    # ---- conflicts, questions, nothing found ----
    "a conflict": (
        t("a western before 1950", words="a western", filters=["year < 1950", "genre = western"], question="from 1948 to 2021"),
        t("yes", words="a western", filters=["genre = western"], keeps=False, question="seen|$"),
    ),
    "which number": (t("between 100 and 120", filters=["minutes >= 100", "minutes <= 120"], question="such"),),
    "nothing in particular": (
        t("surprise me", question="Is there a genre", shows=5),
        t("comedy", words="comedy", filters=["genre = comedy"]),
    ),
    "nothing matches": (
        t("a xylophone zeppelin quartz", shows=0, said="Nothing in this catalog matches"),
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t("xylophone zeppelin quartz", said="Nothing in this catalog matches", shows=5),
        t("only red", words="a comedy red", filters=["genre = comedy", "colour = red"], question="seen|$"),
    ),
    "rude": (
        t("you are a stupid brain", said="sorry", shows=0),
        t("a comedy, you idiot", words="a comedy", filters=["genre = comedy"]),
    ),
    "the cheapest on the list": (
        t("a comedy", words="a comedy", filters=["genre = comedy"]),
        t("which of the first two is cheaper?", said="price|In common"),
        t("none of these", disliked=["@1", "@2", "@3", "@4", "@5"]),
        t("no more comedies", words="", filters=["genre != comedy"], question="such"),
    ),
    "never mind": (
        t("a drama from the 80s or 90s", words="a drama", filters=["year >= 1980", "year <= 1999", "genre = drama"]),
        t("never mind the year", filters=["genre = drama"]),
        t("cancel that", filters=["year >= 1980", "year <= 1999", "genre = drama"], said="Taken back"),
    ),
    "no such attribute": (
        t("a drama", words="a drama", filters=["genre = drama"]),
        t("something smaller", said="no size", unclear="no size"),
    ),
    "small talk": (
        t("hello!", said="Hello"),
        t("what can you do?", said="director"),
        t("thanks", said="welcome"),
    ),
    # ---- Chinese ----
    "中文: 类型与价格": (
        t("我想看喜剧片", words="喜剧片", filters=["genre = comedy"]),
        t("便宜一点", filters=["genre = comedy", "price < @min.price"], question="这里没有|看过了|$"),
        t("低于10元的", filters=["genre = comedy", "price < 10"], question="这里没有|看过了|$"),
    ),
    "中文: 第二个": (
        t("剧情片", words="剧情片", filters=["genre = drama"]),
        t("我喜欢第二个", liked=["@2"]),
        t("不喜欢第一个", disliked=["@1"], question="看过了|$"),
    ),
    "中文: 不要恐怖片": (
        t("黑色的", words="黑色", filters=["colour = black"]),
        t("不要恐怖片", filters=["colour = black", "genre != horror"], question="看过了|这里没有|$"),
    ),
    "中文: 换一个与重新开始": (
        t("科幻片", words="科幻片", filters=["genre = science fiction"]),
        t("换一个"),
        t("重新开始", words="", filters=[], shows=0),
    ),
    "中文: 为什么与比较": (
        t("九十年代的电影", filters=["year >= 1990", "year <= 1999"], question="这样的有 8 件"),
        t("为什么", said="year 为 19|year 不低于 1990"),
        t("比较前两个", said="相同之处：|没有相同之处"),
    ),
    "中文: 忘掉颜色与撤销": (
        t("蓝色的剧情片", words="蓝色的剧情片", filters=["colour = blue", "genre = drama"]),
        t("忘掉颜色", filters=["genre = drama"]),
        t("撤销", filters=["colour = blue", "genre = drama"], said="已撤销。现在的条件：.*蓝色的剧情片"),
    ),
    "中文: 像第二个但是便宜": (
        t("2000年以前的剧情片", words="剧情片", filters=["year < 2000", "genre = drama"]),
        t(
            "像第二个但是便宜一点",
            similar=["@2"],
            filters=["year < 2000", "genre = drama", "price < @2.price"],
            question="这里没有|看过了|$",
        ),
    ),
    "中文: 同一个导演与看过": (
        t("西部片", words="西部片", filters=["genre = western"], shows=1),
        t("看过第一个", known=["@1"], question="只有一件，您看过了"),
        t("不要他导的", filters=["genre = western", "director != Viktor Amsel"], question="这里没有.*要去掉"),
    ),
}

STAMPS: dict[str, tuple[T, ...]] = {
    "stamps: an animal, narrowed": (
        t("an animal with a pouch", words="an animal with a pouch", filters=["category = animals"], shows=5),
        t("only brown ones", words="an animal with a pouch brown", filters=["category = animals", "colour = brown"]),
        t("forget the colour", words="an animal with a pouch", filters=["category = animals"]),
    ),
    "stamps: a colour of a thing": (
        t("something to eat that is yellow", words="something to eat that is yellow", filters=["colour = yellow"]),
        t("no vegetables", filters=["colour = yellow", "kind != vegetables"]),
        t("something else"),
    ),
    "stamps: like the second but red": (
        t("a vehicle with wings", words="a vehicle with wings", filters=["category = vehicles"]),
        t(
            "like the second but red",
            words="a vehicle with wings red",
            similar=["@2"],
            filters=["category = vehicles", "colour = red"],
        ),
    ),
    "stamps: likes and refusals": (
        t("a bird", words="a bird", filters=["kind = birds"]),
        t("I like the first two", liked=["@1", "@2"]),
        t("not the third", disliked=["@3"]),
        t("take that back", disliked=[], said="Taken back"),
    ),
    "stamps: why and compare": (
        t("a musical instrument", words="a musical instrument"),
        t("why the second one?", said="."),
        t("compare the first two", said="In common"),
        t("tell me more about the third", said="."),
    ),
    "stamps: no price here": (
        t("a red flower", words="a red flower", filters=["colour = red", "kind = flowers"]),
        t("something cheaper", said="no price", unclear="no price"),
        t("under 20 euros", said="no price", unclear="no price"),
    ),
    "stamps: a new subject keeps the refusals": (
        t(
            "a cartoon animal, nothing with dogs",
            words="a cartoon animal",
            filters=["kind != dogs", "style = cartoon", "category = animals"],
        ),
        t("a house by the sea", words="a house by the sea", filters=["kind != dogs", "kind = houses"]),
    ),
    "stamps: a rude message is no request": (
        t("you stupid brain, shut up", said="sorry", shows=0),
        t("you are a terrible thing to waste my time", said="sorry", shows=0),
        t("a purple flower", words="a purple flower", filters=["colour = purple", "kind = flowers"]),
    ),
    "stamps: nothing matches": (
        t("mortgage refinancing quotes for Luxembourg", said="Nothing in this catalog matches", shows=0),
        t("a wombat", words="a wombat"),
    ),
    "stamps: something else, then again": (
        t("a fruit", words="a fruit", filters=["kind = fruit"], shows=5),
        t("something else", shows=5),
        t("others", shows=5),
        t("show me those again", shows=5, keeps=True),
    ),
    "stamps: seen, undone twice": (
        t("a hat", words="a hat", filters=["kind = hats"]),
        t("I have already seen the first one", known=["@1"]),
        t("undo", known=[], said="Taken back"),
        t("undo", words="", filters=[], said="nothing yet"),
    ),
    "图章: 一只猫": (
        t("一只猫", words="一只猫", shows=2),
        t("换一个", said="都看过了.*再看一遍", shows=0),
        t("我不喜欢红色", filters=["colour != red"], said="都看过了.*再看一遍"),
        t("撤销", filters=[], said="已撤销"),
        t("撤销", said="已撤销", shows=2),
    ),
    "图章: 红色的水果": (
        t("红色的水果", words="红色的水果", filters=["colour = red", "kind = fruit"]),
        t("我喜欢第一个", liked=["@1"]),
        t("忘掉颜色", words="红色的水果", filters=["kind = fruit"]),
    ),
}
