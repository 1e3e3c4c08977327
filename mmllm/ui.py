"""The chat page; the only file that imports gradio. Words, a picture or a voice in; a streamed reply and item cards out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from mmllm.catalog import NAMES, as_text
from mmllm.converse import Conversation, State
from mmllm.errors import MmllmError
from mmllm.media import load_image
from mmllm.recommend import Recommender
from mmllm.talk import examples
from mmllm.types import Evidence, Recommendation, Response

log = logging.getLogger(__name__)
CARDS = 5
FOLLOW_UPS = ("Something else", "Why this?", "Compare the first two", "Undo")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
CSS = """
.card { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 10px; }
.card img { object-fit: contain; background: white; border-radius: 8px; }
.card .prose { font-size: 0.95em; }
footer { display: none !important; }
"""


def serve(index: Path, *, host: str = "127.0.0.1", port: int = 7860, block: bool = True) -> Any:
    """Load the index and open the page."""
    recommender = Recommender.load(index)
    recommender.encoders.whisper  # noqa: B018 - loaded now, so that the first spoken request does not wait for it
    page = build(recommender)
    page.queue(max_size=32, default_concurrency_limit=1)
    return page.launch(
        server_name=host,
        server_port=port,
        theme=gr.themes.Soft(primary_hue="teal"),
        css=CSS,
        max_file_size="20mb",
        show_error=True,
        ssr_mode=False,
        prevent_thread_lock=not block,
    )


def build(recommender: Recommender) -> gr.Blocks:
    """The page over one recommender; every visitor has a state of their own."""
    name = Path(recommender.store.manifest.catalog).name
    requests = examples(recommender)
    with gr.Blocks(title="mmllm", analytics_enabled=False) as page:
        state, ids = gr.State(State()), gr.State([])
        gr.Markdown(
            f"# mmllm\nAsk the catalog **{_plain(name)}** ({len(recommender.store.items)} items) in words, with a picture, or aloud."
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                chat = gr.Chatbot(label="Conversation", height=460, allow_tags=False, buttons=["copy"], feedback_options=None)
                box = gr.MultimodalTextbox(
                    label="Your request",
                    show_label=False,
                    placeholder="What are you looking for?",
                    sources=["upload", "microphone"],
                    file_types=["image", "audio"],
                    file_count="multiple",
                    max_plain_text_length=2000,
                    autofocus=True,
                )
                with gr.Row():
                    chips = [gr.Button(text, size="sm", variant="secondary") for text in requests]
                with gr.Row():
                    chips += [gr.Button(text, size="sm", variant="secondary") for text in FOLLOW_UPS]
                clear = gr.Button("Start over", size="sm")
            with gr.Column(scale=6, min_width=320):
                cards = [_card(n) for n in range(CARDS)]
        flat = [part for card in cards for part in card]

        def answer(message: dict[str, Any], history: list[Any], current: State) -> Iterator[Any]:
            yield from _answer(recommender, message, history, current)

        outputs = [box, chat, state, ids, *flat]
        box.submit(answer, [box, chat, state], outputs, api_name="chat")
        for chip in chips:

            def ask(text: str, history: list[Any], current: State) -> Iterator[Any]:
                yield from _answer(recommender, {"text": text, "files": []}, history, current)

            chip.click(ask, [chip, chat, state], outputs, api_visibility="private")
        clear.click(lambda: (None, [], State(), [], *_empty_cards()), None, outputs, api_visibility="private")
        for n, (_, _, _, _, like, dislike) in enumerate(cards):
            for button, kind in ((like, "like"), (dislike, "dislike")):

                def mark(current: State, shown: list[str], n: int = n, kind: str = kind) -> Any:
                    return _mark(recommender, current, shown, n, kind)

                button.click(mark, [state, ids], [state, like, dislike], api_visibility="private")
    return page


def _card(n: int) -> tuple[gr.Column, gr.Image, gr.Markdown, gr.Markdown, gr.Button, gr.Button]:
    with gr.Column(visible=False, elem_classes="card") as box, gr.Row():
        image = gr.Image(
            label=f"Picture {n + 1}",
            show_label=False,
            height=120,
            width=120,
            interactive=False,
            buttons=[],
            scale=1,
            min_width=120,
        )
        with gr.Column(scale=4, min_width=180):
            words = gr.Markdown()
            with gr.Accordion("Evidence", open=False):
                why = gr.Markdown()
            with gr.Row():
                like, dislike = gr.Button("Like", size="sm"), gr.Button("Not this", size="sm")
    return box, image, words, why, like, dislike


def _empty_cards() -> list[Any]:
    return [u for _ in range(CARDS) for u in (gr.update(visible=False), None, "", "", gr.update(), gr.update())]


def _answer(recommender: Recommender, message: dict[str, Any], history: list[Any], current: State) -> Iterator[Any]:
    """One turn: cards first, then the words of the reply as they come."""
    text, files = (message.get("text") or "").strip(), list(message.get("files") or [])
    history = [*history, *_user_blocks(text, files)]
    unchanged = [gr.skip()] * (CARDS * 6)
    talk = Conversation(recommender, k=CARDS, state=current)
    try:
        picture = next((f for f in files if Path(f).suffix.lower() in IMAGES), None)
        sound = next((f for f in files if Path(f).suffix.lower() not in IMAGES), None)
        response = talk.turn(text, image=picture, audio=sound)
    except MmllmError as error:
        log.info("turn refused: %s", error)
        yield None, [*history, _assistant(f"I could not do that: {_plain(str(error))}")], current, gr.skip(), *unchanged
        return
    found = [r.id for r in response.recommendations]
    cards = _cards(recommender, response, talk.state)
    said = ""
    yield None, [*history, _assistant("…")], talk.state, found, *cards
    for piece in talk.reply(response):
        for word in re.findall(r"\S+\s*|\s+", piece):
            said += word
            yield gr.skip(), [*history, _assistant(said)], gr.skip(), gr.skip(), *unchanged


def _user_blocks(text: str, files: list[str]) -> list[dict[str, Any]]:
    blocks: list[Any] = [{"type": "file", "file": {"path": f}} for f in files]
    if text:
        blocks.append({"type": "text", "text": _plain(text)})
    return [{"role": "user", "content": blocks}] if blocks else []


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def _cards(recommender: Recommender, response: Response, state: State) -> list[Any]:
    updates: list[Any] = []
    for r in response.recommendations[:CARDS]:
        updates += [
            gr.update(visible=True),
            _picture(recommender, r),
            _words(r),
            _evidence(r, response),
            *_buttons(state, r.id),
        ]
    return updates + _empty_cards()[len(updates) :]


def _picture(recommender: Recommender, r: Recommendation) -> Any:
    if r.item.image is None:
        return None
    try:
        return load_image(Path(recommender.store.manifest.catalog) / r.item.image)
    except MmllmError as error:
        log.warning("no picture for %s: %s", r.id, error)
        return None


def _words(r: Recommendation) -> str:
    shown = " · ".join(_plain(as_text(v)) for n, v in r.item.attributes.items() if n != NAMES)
    return f"**{r.rank}. {_plain(r.title)}**\n\n{_plain(r.explanation.text)}\n\n<small>{shown}</small>"


def _evidence(r: Recommendation, response: Response) -> str:
    lines = [f"- {_row(e)}" for e in r.explanation.evidence if e.kind != "modality"]
    shares = ", ".join(f"{m} {s:.0%}" for m, s in r.shares.items())
    scores = ", ".join(f"{n} {v:.3f}" for n, v in r.scores.items())
    lines += [f"- match by modality: {shares}", f"- scores: {scores}", f"- stages: {', '.join(response.stages)}"]
    return "\n".join(lines)


def _row(e: Evidence) -> str:
    text = f"{e.kind}: {_plain(e.name)} = {_plain(e.value)}"
    return f"{text} ({e.start:.1f}–{e.end:.1f} s)" if e.start is not None and e.end is not None else text


def _buttons(state: State, id_: str) -> tuple[Any, Any]:
    like = gr.update(variant="primary" if id_ in state.liked else "secondary")
    return like, gr.update(variant="stop" if id_ in state.disliked else "secondary")


def _mark(recommender: Recommender, current: State, shown: list[str], n: int, kind: str) -> tuple[Any, Any, Any]:
    if n >= len(shown):
        return current, gr.skip(), gr.skip()
    talk = Conversation(recommender, k=CARDS, state=current)
    (talk.like if kind == "like" else talk.dislike)(shown[n])
    gr.Info("Noted: it counts from your next request. Say “something else” to see more.")
    return talk.state, *_buttons(talk.state, shown[n])


def _plain(text: str) -> str:
    """Catalog text is shown as text: no markup of its own."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", escaped)
