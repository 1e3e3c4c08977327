"""Pieces of the page: its theme, the files it serves, messages, a card, the tab that browses, the tab of the profile."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Iterator
from functools import lru_cache
from html import escape as plain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from mmllm.catalog import document, matches
from mmllm.catalog_row import inside
from mmllm.errors import CatalogError, MediaError
from mmllm.lexical import words as stems
from mmllm.media import load_image
from mmllm.recommend import Recommender
from mmllm.schema import Attribute, Schema
from mmllm.texts import LANGUAGES
from mmllm.types import Filter, Item
from mmllm.ui_cards import escape, grid
from mmllm.ui_session import Ask, Session, exported
from mmllm.ui_text import TEXTS, say

log = logging.getLogger(__name__)
PICTURE = 320
"""The longer side in pixels of a picture on the page."""
SHOWN = 24
"""How many items one leaf of the catalog holds."""
ATTRIBUTES = 6
LOCALES = {"en": "en", "zh": "zh", "zh-CN": "zh", "zh-TW": "zh"}
I18N = gr.I18n(**{
    locale: {key: words[LANGUAGES.index(lang)] for key, words in TEXTS.items()} for locale, lang in LOCALES.items()
})  # fmt: skip


FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "sans-serif")


def theme() -> gr.themes.Base:
    """Soft, with the machine's own letters, and darker teals: white or teal words on its own reach 2.2 to 3.7 of the contrast of 4.5 that small
    text needs."""
    return gr.themes.Soft(primary_hue="teal", font=FONT).set(
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
        block_label_background_fill_dark="*primary_800",
        block_title_background_fill_dark="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_800",
        button_secondary_background_fill_hover_dark="*primary_800",
        input_border_width="1px",
        input_border_color="*neutral_500",
        input_border_color_dark="*neutral_400",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_800",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_700",
    )


class Files:
    """A catalog's pictures, made small, and sounds, as files that Gradio serves. Nothing else of the catalog's folder goes out."""

    def __init__(self, recommender: Recommender, keeper: gr.HTML) -> None:
        self.root, self.keeper = Path(recommender.store.manifest.catalog), keeper
        self.pictures = any(item.image is not None for item in recommender.store.items)
        self._small = lru_cache(4096)(self._thumbnail)

    def picture(self, item: Item) -> str | None:
        """The address of the item's picture; None where it has none, or none that can be shown."""
        return self._small(item.image) if item.image is not None else None

    def sound(self, file: str) -> str:
        """The address of a recording."""
        path = str(self.keeper.move_resource_to_block_cache(self._inside(file)))
        self.keeper.keep_in_cache.add(path)  # it is the catalog's: uploads are deleted after a while, a card may stand for longer
        return _address(path)

    def _thumbnail(self, relative: str) -> str | None:
        try:
            image = load_image(self._inside(relative))
        except MediaError as error:
            log.warning("no picture: %s", error)
            return None
        image.thumbnail((PICTURE, PICTURE))
        return _address(gr.processing_utils.save_pil_to_cache(image, self.keeper.GRADIO_CACHE))

    def _inside(self, relative: str) -> Path:
        if not inside(self.root, relative):
            raise CatalogError(f"the media path {relative!r} leads out of the catalog", expected="a file inside its folder")
        return self.root / relative


def _address(path: str) -> str:
    return f"gradio_api/file={quote(path)}"


class Card:
    """One item of the list, and what can be said of it."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_classes="card") as self.box:
            self.html = gr.HTML()
            with gr.Row(elem_classes="buttons"):
                self.like, self.dislike, self.seen, self.similar = (
                    gr.Button(I18N(key), size="sm", variant="secondary") for key in ("like", "dislike", "seen", "similar")
                )
                self.choose = gr.Checkbox(label=I18N("choose"), container=False, min_width=90)
        self.all = [self.box, self.html, self.like, self.dislike, self.seen, self.choose]

    @staticmethod
    def empty() -> list[Any]:
        """The card without an item."""
        return [gr.update(visible=False), "", *[gr.skip()] * 3, False]

    @staticmethod
    def filled(html: str, session: Session, id_: str) -> list[Any]:
        """The card of an item."""
        return [gr.update(visible=True), html, *Card.marks(session, id_), False]

    @staticmethod
    def marks(session: Session, id_: str) -> list[Any]:
        """What was said of the item: in words, and in colour beside them."""
        state, lang = session.state, session.lang
        rows = (
            (state.liked, "liked", "like", "primary"),
            (state.disliked, "disliked", "dislike", "stop"),
            (state.known, "known", "seen", "primary"),
        )
        return [
            gr.update(value=say(yes if id_ in ids else no, lang), variant=variant if id_ in ids else "secondary")
            for ids, yes, no, variant in rows
        ]


class Browse:
    """The catalog, leaf by leaf, with a filter for each of its first attributes."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.attributes = tuple(a for a in schema.attributes.values() if a.kind in ("text", "number"))[:ATTRIBUTES]
        self.page = gr.State(0)
        with gr.Row():
            self.words = gr.Textbox(label=I18N("contains"), max_length=200)
            self.controls = [c for a in self.attributes for c in _controls(a)]
        with gr.Row(elem_classes="buttons"):
            self.show, self.before, self.after = (gr.Button(I18N(key), size="sm") for key in ("filter", "before", "after"))
        self.count = gr.Markdown()
        self.html = gr.HTML()

    def leaf(self, session: Session, files: Files, page: int, words: str, *given: Any) -> tuple[int, str, str]:
        """The items of one leaf that meet the filters; -> (the leaf, how many there are, the items)."""
        wanted, filters = set(stems(words or "")), self._filters(given)
        found = [i for i in self.schema.items.values() if matches(i, filters) and wanted <= set(stems(document(i)))]
        if not found:
            return 0, say("none", session.lang), ""
        page = min(max(page, 0), (len(found) - 1) // SHOWN)
        shown = found[page * SHOWN : (page + 1) * SHOWN]
        first = page * SHOWN + 1
        return page, say("counts", session.lang, first, first + len(shown) - 1, len(found)), grid(shown, files, session.lang)

    def _filters(self, given: tuple[Any, ...]) -> list[Filter]:
        values, filters = iter(given), []
        for a in self.attributes:
            if a.kind == "text":
                chosen = next(values)
                filters += [Filter(a.name, "in", tuple(chosen))] if chosen else []
            else:
                # A bound that cuts nothing off is none: it would hide the items without that attribute.
                low, high = next(values), next(values)
                filters += [Filter(a.name, ">=", low)] if low is not None and low > a.low else []
                filters += [Filter(a.name, "<=", high)] if high is not None and high < a.high else []
        return filters


def _controls(a: Attribute) -> Iterator[Any]:
    if a.kind == "text":
        yield gr.Dropdown([str(v) for v in a.values], value=[], label=a.name, multiselect=True, min_width=140)
    else:
        yield gr.Number(a.low, label=f"{a.name} ≥", min_width=90)
        yield gr.Number(a.high, label=f"{a.name} ≤", min_width=90)


class ProfileTab:
    """What is remembered of the visitor; export and forget."""

    def __init__(self) -> None:
        self.remember = gr.Checkbox(label=I18N("remember"))
        self.told = gr.HTML()
        with gr.Row(elem_classes="buttons"):
            self.export, self.forget = gr.Button(I18N("export"), size="sm"), gr.Button(I18N("forget"), size="sm", variant="stop")
        self.json = gr.Code(label="JSON", language="json", interactive=False, visible=False)
        self.save = gr.Button(I18N("download"), size="sm", visible=False)
        self.all = [self.remember, self.told, self.json, self.save]

    @staticmethod
    def shown(session: Session, schema: Schema, *, export: bool = False) -> list[Any]:
        """The tab for a visitor; with the export where they asked for it."""
        rows = "".join(
            f"<li>{say(f'part_{kind}', session.lang, escape(schema.items[i].title))}</li>"
            for kind in ("liked", "disliked", "known")
            for i in getattr(session.state, kind)
        )
        kept = f"<ul>{rows}</ul>" if rows else f"<p>{say('nothing', session.lang)}</p>"
        text = exported(session) if export else ""
        html = f"<p>{say('privacy', session.lang)}</p><h3>{say('remembered', session.lang)}</h3>{kept}"
        visible = gr.update(value=text, visible=bool(text))
        return [session.profile is not None, html, visible, gr.update(visible=bool(text))]


def blocks(ask: Ask) -> list[dict[str, Any]]:
    """What the visitor said, as the chat shows it; a picture is shown and a sound can be played only if its type is told."""
    blocks = [
        {"type": "file", "file": {"path": f, "mime_type": mimetypes.guess_type(f)[0]}, "alt_text": Path(f).name}
        for f in ask.files
    ]
    if words := ask.label or ask.text:
        blocks.append(text_block(words))
    return [{"role": "user", "content": blocks}] if blocks else []


def status(key: str, session: Session) -> str:
    """A message that screen readers speak. Gradio's own (gr.Info) puts a button into a button, which they stumble over."""
    return f"<p role='status'>{say(key, session.lang)}</p>"


def text_block(words: str) -> dict[str, Any]:
    """A text of the chat. Without Markdown the chat still takes tags for tags, and drops them."""
    return {"type": "text", "text": plain(words, quote=False)}
