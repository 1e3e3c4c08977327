"""The chat page, served: over an index, or over a recommender that is loaded already. What is on it is `ui_page`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from mmllm.recommend import Recommender
from mmllm.talk import examples
from mmllm.types import Query
from mmllm.ui_page import Page
from mmllm.ui_pieces import I18N, theme
from mmllm.ui_style import CSS, LABELS

UPLOADS = (600, 3600)
"""Every so many seconds, what visitors uploaded or recorded longer than so many seconds ago is deleted; all of it when the page ends."""


def serve(index: Path, *, host: str = "127.0.0.1", port: int = 7860, block: bool = True) -> Any:
    """Load the index and open the page."""
    recommender = Recommender.load(index)
    recommender.encoders.whisper  # noqa: B018 - loaded now, so that the first spoken request does not wait for it
    recommender.recommend(Query(text=" ".join(examples(recommender)) or "anything"), k=1)  # nor the first one in words
    return open_page(recommender, host=host, port=port, block=block)


def open_page(recommender: Recommender, *, host: str = "127.0.0.1", port: int = 7860, block: bool = True) -> Any:
    """The page over a recommender that is loaded already; Gradio's (app, local address, shared address)."""
    page = build(recommender)
    page.queue(max_size=32, default_concurrency_limit=1)
    return page.launch(
        server_name=host,
        server_port=port,
        theme=theme(),
        css=CSS,
        js=LABELS,
        i18n=I18N,
        max_file_size="20mb",
        show_error=True,
        ssr_mode=False,
        prevent_thread_lock=not block,
    )


def build(recommender: Recommender) -> gr.Blocks:
    """The page over one recommender; every visitor has a session of their own."""
    with gr.Blocks(title="mmllm", analytics_enabled=False, delete_cache=UPLOADS) as page:
        Page(recommender).connect(page)
    return page
