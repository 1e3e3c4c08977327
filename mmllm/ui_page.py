"""The chat page's layout and its events. Words, a picture or a voice in; a streamed reply and item cards out.

`ui_session` says what a visitor's acts do, `ui_pieces` holds cards and tabs, `ui_cards` how items look, `ui_text` what all is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from mmllm import ui_cards, ui_session
from mmllm.parts import SUGGESTED, parts, suggest
from mmllm.recommend import Recommender
from mmllm.talk import examples
from mmllm.ui_pieces import I18N, Browse, Card, Files, ProfileTab, blocks, status, text_block
from mmllm.ui_session import CARDS, Ask, Session
from mmllm.ui_style import SAVE, THEME, TO_TABLE
from mmllm.ui_text import language, of_critique, of_part, say


class Page:
    """The components of the page by name, and what its events change."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender, self.schema = recommender, recommender.schema
        self.session = gr.State(Session())
        # What the chat shows, kept here: a turn that waited for another one would find the chat as it was when it was asked.
        self.history = gr.State([])
        self.token = gr.BrowserState(
            "", storage_key="mmllm", secret="mmllm"
        )  # a random name: a fixed key lets it outlive a restart
        with gr.Row(elem_id="head"):
            self.intro = gr.HTML("<h1>mmllm</h1>")
            self.theme = gr.Button(I18N("theme"), size="sm", elem_id="theme", min_width=120)
        with gr.Tabs():
            with gr.Tab(I18N("tab_chat")), gr.Row(equal_height=False):
                with gr.Column(scale=5, min_width=320):
                    self._talk()
                with gr.Column(scale=6, min_width=320):
                    self.status = gr.HTML()
                    self.table = gr.HTML(visible=False)
                    self.cards = [Card() for _ in range(CARDS)]
                    self.compare = gr.Button(I18N("compare"), size="sm", visible=False)
                    self.stages = gr.HTML()
            with gr.Tab(I18N("tab_browse")):
                self.browse = Browse(self.schema)
            with gr.Tab(I18N("tab_profile")):
                self.profile = ProfileTab()
        self.files = Files(recommender, self.table)

    def _talk(self) -> None:
        # Not Markdown: what the catalog says in a reply is text.
        self.chat = gr.Chatbot(
            label=I18N("conversation"),
            elem_id="chat",
            height=420,
            allow_tags=False,
            render_markdown=False,
            buttons=["copy"],
            feedback_options=None,
            allow_file_downloads=False,
            latex_delimiters=[],
        )
        self.box = gr.MultimodalTextbox(
            label=I18N("request"),
            show_label=False,
            placeholder=str(I18N("placeholder")),
            sources=["upload", "microphone"],
            file_types=["image", "audio"],
            file_count="multiple",
            max_plain_text_length=100_000,  # a longer text that is pasted becomes a file, which no request can be
            autofocus=True,
            elem_id="request",
        )
        self.chips = gr.CheckboxGroup(label=I18N("state"), choices=[], visible=False, elem_classes="chips")
        with gr.Row(elem_classes="buttons", elem_id="critiques"):
            self.critiques = [gr.Button("", size="sm", variant="secondary", visible=False) for _ in range(SUGGESTED)]
        with gr.Row(elem_classes="buttons") as self.offered:
            self.examples = [gr.Button(text, size="sm", variant="secondary") for text in examples(self.recommender)]
        with gr.Row(elem_classes="buttons"):
            self.more, self.why, self.undo, self.retry, self.stop, self.clear = (
                gr.Button(I18N(key), size="sm") for key in ("more", "why", "undo", "retry", "stop", "clear")
            )

    @property
    def _turn(self) -> dict[str, Any]:
        """What the events of a turn have in common. The reply itself shows that it is coming: the cards are there before its words.

        Gradio's progress stays "full" and is hidden by the style, which spares the browser a new layout in every frame. Without it cards are
        drawn after all the words, some seconds later; chips and critiques mostly are with it too.

        What is sent while a reply comes is sent when it has ended; without "always_last" it would be lost.
        """
        return {
            "outputs": [self.box, self.chat, self.history, self.session, *self.seen],
            "api_visibility": "private",
            "concurrency_id": "turn",
            "show_progress": "full",
            "trigger_mode": "always_last",
        }

    @property
    def _nothing(self) -> list[Any]:
        """A turn's outputs as they are."""
        return [gr.skip()] * (4 + len(self.seen))

    @property
    def seen(self) -> list[Any]:
        """What shows a session: its parts, critiques, cards and stages, the table, and the profile."""
        cards = [part for card in self.cards for part in card.all]
        talk = [self.chips, self.offered, *self.critiques]
        return [*talk, *cards, self.compare, self.stages, self.status, self.table, *self.profile.all]

    def view(self, session: Session) -> list[Any]:
        """The values of `seen`."""
        found, lang = session.last.recommendations[:CARDS], session.lang
        # A card speaks the language of the reply that it belongs to; what stands around it the browser's.
        cards = [Card.filled(ui_cards.card(r, self.files, session.last.lang), session, r.id) for r in found]
        cards += [Card.empty()] * (CARDS - len(found))
        return [
            self._chips(session),
            gr.update(visible=session.asked is None),  # examples: once something was asked, critiques take their place
            *self._critiques(session),
            *(part for card in cards for part in card),
            gr.update(visible=len(found) > 1),
            ui_cards.stages(session.last, lang),
            "",
            gr.update(value="", visible=False),
            *self.profile.shown(session, self.schema),
        ]

    def _chips(self, session: Session) -> Any:
        chips = [(of_part(p, self.schema, session.lang), p.key) for p in parts(session.state)]
        return gr.update(choices=chips, value=[key for _, key in chips], visible=bool(chips))

    def _critiques(self, session: Session) -> list[Any]:
        labels = [of_critique(f, self.schema, session.lang) for f in suggest(self.schema, session.state)]
        shown = [gr.update(value=text, visible=True) for text in labels]
        return shown + [gr.update(visible=False)] * (SUGGESTED - len(shown))

    # ---- events ----------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks) -> None:
        """Tie every control to what it does."""
        page.load(self.on_load, [self.token, self.session], [self.session, self.intro, *self.seen], api_visibility="private")
        self.theme.click(None, js=THEME)
        asked = [self._asks(self.box.submit, self._typed, self.box)]
        asked += [self._asks(button.click, lambda s, text: Ask(text, pressed=True), button) for button in self.examples]
        for button, text, key in (
            (self.more, "something else", "more"),
            (self.why, "why this?", "why"),
            (self.undo, "undo", "undo"),
        ):
            asked.append(self._asks(button.click, lambda s, text=text, key=key: Ask(text, label=say(key, s.lang), pressed=True)))
        for n, button in enumerate(self.critiques):
            asked.append(self._asks(button.click, lambda s, n=n: self._critique(s, n)))
        for n, card in enumerate(self.cards):
            asked.append(self._asks(card.similar.click, lambda s, n=n: self._similar(s, n)))
            for button, kind in ((card.like, "liked"), (card.dislike, "disliked"), (card.seen, "known")):
                self._marks(button, n, kind)
        asked.append(self._asks(self.chips.input, self._removed, self.chips))
        retried = self.retry.click(self.on_retry, [self.history, self.session], **self._turn)
        self.stop.click(None, cancels=[*asked, retried], api_visibility="private")
        for clear in (self.clear.click, self.chat.clear):  # the chat has a bin of its own
            clear(self.on_clear, self.session, [self.chat, self.history, self.session, *self.seen], api_visibility="private")
        chosen = [card.choose for card in self.cards]
        compared = self.compare.click(
            self.on_compare, [self.session, *chosen], [self.status, self.table], api_visibility="private"
        )
        compared.then(None, js=TO_TABLE)  # the table stands above the cards, the button below them
        self._connect_tabs()

    def _asks(self, event: Callable[..., Any], ask: Callable[..., Ask | None], *given: Any) -> Any:
        """Tie an event to a turn: `ask` makes it of the session and the values of `given`."""

        def turn(history: list[Any], session: Session, *values: Any) -> Iterator[Any]:
            made = ask(session, *values)
            # A generator that gives nothing would empty its outputs.
            yield from self.turn(history, session, made) if made is not None else (self._nothing,)

        return event(turn, [self.history, self.session, *given], **self._turn)

    def _marks(self, button: gr.Button, n: int, kind: str) -> None:
        def mark(session: Session) -> list[Any]:
            if n >= len(session.state.listed):
                return [gr.skip()] * len(outputs)
            session = ui_session.mark(self.recommender, session, n, kind)
            return [
                session,
                status("noted", session),
                self._chips(session),
                *Card.marks(session, session.state.listed[n]),
                *self.profile.shown(session, self.schema),
            ]

        card = self.cards[n]
        outputs = [self.session, self.status, self.chips, card.like, card.dislike, card.seen, *self.profile.all]
        button.click(mark, self.session, outputs, api_visibility="private")

    def turn(self, history: list[Any], session: Session, ask: Ask) -> Iterator[list[Any]]:
        """One turn: the cards first, then the words of the reply as they come."""
        history = [*history, *blocks(ask)]
        first = True
        for after, said in ui_session.answer(self.recommender, session, ask):
            told = [*history, {"role": "assistant", "content": [text_block(said)]}]
            if first:
                # What was refused is put back, to be mended.
                box = {"text": ask.text, "files": list(ask.files)} if after.refused else None
                yield [box, told, told, after, *self.view(after)]
            else:
                yield [gr.skip(), told, told, gr.skip(), *[gr.skip()] * len(self.seen)]
            first = False

    def on_load(self, token: str, session: Session, request: gr.Request) -> list[Any]:
        lang = language(request.headers.get("accept-language"))
        # Until somebody has said something, the browser's language is the best guess.
        session = replace(session, lang=lang, state=replace(session.state, lang=lang))
        if token:
            session = ui_session.remembered(self.recommender, session, token)
        name = Path(self.recommender.store.manifest.catalog).name
        count = f"{len(self.schema.items):,}"
        intro = f"<h1>mmllm</h1><p>{ui_cards.escape(say('catalog', session.lang, name, count))}</p>"
        return [session, intro, *self.view(session)]

    def on_retry(self, history: list[Any], session: Session) -> Iterator[list[Any]]:
        if session.asked is None:
            yield self._nothing
            return
        last = max((n for n, m in enumerate(history) if m["role"] == "user"), default=len(history))
        yield from self.turn(history[:last], replace(session, state=session.earlier), session.asked)

    def on_clear(self, session: Session) -> list[Any]:
        session = ui_session.cleared(self.recommender, session)
        return [[], [], session, *self.view(session)]

    def on_compare(self, session: Session, *chosen: bool) -> Any:
        ids = [i for i, yes in zip(session.state.listed, chosen, strict=False) if yes]
        if len(ids) < 2:
            return [status("choose_two", session), gr.skip()]
        items = [self.schema.items[i] for i in ids]
        return ["", gr.update(value=ui_cards.comparison(items, self.files, session.lang), visible=True)]

    @staticmethod
    def _typed(session: Session, message: dict[str, Any]) -> Ask | None:
        ask = Ask((message["text"] or "").strip(), tuple(message["files"]))
        return ask if ask.text or ask.files else None

    def _critique(self, session: Session, n: int) -> Ask | None:
        found = suggest(self.schema, session.state)
        return Ask(critique=found[n], label=of_critique(found[n], self.schema, session.lang)) if n < len(found) else None

    def _similar(self, session: Session, n: int) -> Ask | None:
        if n >= len(session.state.listed):
            return None
        id_ = session.state.listed[n]
        return Ask(similar=id_, label=f"{say('similar', session.lang)}: {self.schema.items[id_].title}")

    def _removed(self, session: Session, kept: list[str]) -> Ask | None:
        gone = next((p for p in parts(session.state) if p.key not in kept), None)
        if gone is None:
            return None
        return Ask(removed=gone, label=say("without", session.lang, of_part(gone, self.schema, session.lang)))

    def _connect_tabs(self) -> None:
        b, tab = self.browse, self.profile
        for event, step in ((b.show.click, None), (b.words.submit, None), (b.before.click, -1), (b.after.click, 1)):

            def leaf(session: Session, page: int, *given: Any, step: int | None = step) -> Any:
                return b.leaf(session, self.files, 0 if step is None else page + step, *given)

            event(leaf, [self.session, b.page, b.words, *b.controls], [b.page, b.count, b.html], api_visibility="private")
        tab.remember.input(
            self.on_remember, [tab.remember, self.session], [self.token, self.session, *self.seen], api_visibility="private"
        )
        tab.export.click(lambda s: tab.shown(s, self.schema, export=True), self.session, tab.all, api_visibility="private")
        tab.save.click(None, tab.json, js=SAVE)
        tab.forget.click(
            self.on_forget,
            self.session,
            [self.token, self.chat, self.history, self.session, *self.seen],
            api_visibility="private",
        )

    def on_remember(self, yes: bool, session: Session) -> list[Any]:
        token = ui_session.new_token() if yes else ""
        session = ui_session.remembered(self.recommender, session, token) if yes else ui_session.unkept(session)
        return [token, session, *self.view(session)]

    def on_forget(self, session: Session) -> list[Any]:
        session = ui_session.forgotten(session)
        return ["", [], [], session, *self.view(session)]
