"""What the page shows of items, as HTML: cards with their evidence, shares as bars, a table that compares, a grid to browse.

Every text of a catalog passes `escape`: it is shown as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape as _escape
from typing import Protocol

from mmllm.catalog import NAMES, as_text, title_in
from mmllm.types import Evidence, Item, Recommendation, Response
from mmllm.ui_text import TEXTS, say

STAGES = ("encode", "retrieve", "rerank", "explain")


class Media(Protocol):
    """Where the browser gets a catalog's pictures and sounds."""

    pictures: bool
    """Whether the catalog has any picture: where it has none, no place is kept for them."""

    def picture(self, item: Item) -> str | None:
        """The address of the item's picture; None where it has none that can be shown."""

    def sound(self, file: str) -> str:
        """The address of a recording of the catalog."""


def escape(text: str) -> str:
    """Text for HTML. Braces and dollars too: the component that shows it reads templates.

    >>> escape("<b>{{x}} ${y}")
    '&lt;b&gt;&#123;&#123;x&#125;&#125; &#36;&#123;y&#125;'
    """
    out = _escape(text, quote=True)
    for sign in "{}$`\\":
        out = out.replace(sign, f"&#{ord(sign)};")
    return out


def card(r: Recommendation, media: Media, lang: str) -> str:
    """Picture, title, reason, attributes; evidence, shares and scores behind a click."""
    title = title_in(r.item, lang)
    head = f"<h3>{r.rank}. <bdi>{escape(title)}</bdi></h3><p>{escape(reason(r.explanation.text, title))}</p>{_attributes(r.item)}"
    rows = "".join(f"<li>{_row(e, r, media, lang)}</li>" for e in r.explanation.evidence if e.kind != "modality")
    scores = ", ".join(f"{escape(n)} {v:.3f}" for n, v in r.scores.items())
    told = f"<p class='facts'>{say('scores', lang)}: {scores}</p>" if scores else ""
    more = f"<summary>{say('evidence', lang)}</summary><ul>{rows}</ul>{bar('shares', r.shares, lang)}{told}"
    return f"<div class='item'>{_picture(r.item, media, lang)}<div class='words'>{head}<details>{more}</details></div></div>"


def reason(text: str, title: str) -> str:
    """A reason under its title, which it need not say again.

    >>> reason("A kettle: its kind is tools.", "A kettle"), reason("A kettle is red.", "A kettle")
    ('Its kind is tools.', 'A kettle is red.')
    """
    if text.startswith(f"{title}：") and text != f"{title}：":
        return text.removeprefix(f"{title}：")
    rest = text.removeprefix(f"{title}: ")
    return rest[:1].upper() + rest[1:] if rest != text else text


def _attributes(item: Item) -> str:
    values = [(n, as_text(v)) for n, v in item.attributes.items() if n != NAMES]
    told = "".join(f"<span title='{escape(n)}'>{escape(v)}</span>" for n, v in values)
    return f"<p class='facts'>{told}</p>"


def _picture(item: Item, media: Media, lang: str) -> str:
    address = media.picture(item)
    if address is None:
        return "" if not media.pictures else f"<div class='picture none'>{say('no_picture', lang)}</div>"
    return f"<img class='picture' src='{escape(address)}' alt='{escape(item.title)}' loading='lazy'>"


def _row(e: Evidence, r: Recommendation, media: Media, lang: str) -> str:
    told = f"<b>{say(f'kind_{e.kind}', lang)}</b>: "
    if e.kind == "transcript" and e.file is not None and e.start is not None and e.end is not None:
        label = escape(say("play", lang, title_in(r.item, lang), f"{e.start:.1f}"))
        # The fragment makes the browser begin at the span's second and stop at its end.
        source = f"{escape(media.sound(e.file))}#t={e.start:.2f},{e.end:.2f}"
        player = f"<audio controls preload='none' src='{source}' aria-label='{label}'></audio>"
        return f"{told}“{escape(e.value)}” ({e.start:.1f}–{e.end:.1f} s) {player}"
    if e.kind in ("neighbour", "similar", "people"):
        return f"{told}{escape(e.value)}" + (f" ({e.weight:.2f})" if e.weight is not None else "")
    name = say(f"name_{e.name}", lang) if f"name_{e.name}" in TEXTS else e.name
    return f"{told}{escape(name)} = {escape(e.value)}"


def bar(key: str, shares: Mapping[str, float], lang: str, unit: str = "%") -> str:
    """Shares as one bar with its legend; of milliseconds where the unit is "ms"."""
    total = sum(shares.values())
    if not total:
        return ""
    names = {n: say(n, lang) if n in TEXTS else n for n in shares}
    told = {n: f"{v:.1f} ms" if unit == "ms" else f"{v / total:.0%}" for n, v in shares.items()}
    label = f"{say(key, lang)}: " + ", ".join(f"{names[n]} {told[n]}" for n in shares)
    pieces = "".join(f"<i class='share s{n}' style='width:{v / total:.1%}'></i>" for n, v in enumerate(shares.values()))
    legend = " ".join(f"<span><i class='dot s{n}'></i>{escape(names[m])} {told[m]}</span>" for n, m in enumerate(shares))
    return (
        f"<div class='shares' role='img' aria-label='{escape(label)}'><b>{say(key, lang)}</b>"
        f"<div class='bar'>{pieces}</div><div class='legend'>{legend}</div></div>"
    )


def stages(response: Response, lang: str) -> str:
    """How long each stage of the turn took, what its parts counted for, and which stages ran."""
    times = {n: response.timings_ms[n] for n in STAGES if n in response.timings_ms}
    counted = bar("counted", response.shares, lang) if len(response.shares) > 1 else ""
    ran = f"<p class='facts'>{escape(', '.join(response.stages))}</p>" if response.stages else ""
    return counted + bar("stages", times, lang, "ms") + ran


def comparison(items: Sequence[Item], media: Media, lang: str) -> str:
    """The items side by side; rows in which they differ are marked, not by colour alone."""
    names = list(dict.fromkeys(n for i in items for n in i.attributes if n != NAMES))
    head = "".join(f"<th scope='col'>{_picture(i, media, lang)}<br><bdi>{escape(i.title)}</bdi></th>" for i in items)
    rows = []
    for name in names:
        cells = [as_text(i.attributes[name]) if name in i.attributes else say("not_known", lang) for i in items]
        differ = len(set(cells)) > 1
        tds = "".join(f"<td>{escape(c)}</td>" for c in cells)
        rows.append(
            f"<tr{' class=differ' if differ else ''}><th scope='row'>{escape(name)}{' ≠' if differ else ''}</th>{tds}</tr>"
        )
    attribute = f"<th scope='col'>{say('attribute', lang)}</th>"
    table = f"<table><thead><tr>{attribute}{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div class='comparison' role='region' tabindex='0' aria-label='{say('choose', lang)}'>{table}</div>"


def grid(items: Sequence[Item], media: Media, lang: str) -> str:
    """Items to browse."""
    cells = []
    for i in items:
        title = f"<h3 title='{escape(i.title)}'><bdi>{escape(i.title)}</bdi></h3>"  # a long one is cut off by the style
        cells.append(f"<li>{_picture(i, media, lang)}{title}{_attributes(i)}</li>")
    return f"<ul class='grid'>{''.join(cells)}</ul>"
