"""One visitor of the page: what they asked, what they see, what is remembered of them. Values in, values out; the layout is `ui.py`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from mmllm.converse import Conversation
from mmllm.dialogue import State
from mmllm.errors import MmllmError, ProfileError
from mmllm.media import load_image
from mmllm.parts import Part
from mmllm.profile import KINDS, Profile, Profiles
from mmllm.recommend import Recommender
from mmllm.types import Filter, Response
from mmllm.ui_text import say

log = logging.getLogger(__name__)
CARDS = 5
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
KEPT_PIXELS = 1024
"""The longer side of a visitor's picture in their talk; encoders look at less."""
TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Ask:
    """What a visitor did: said `text` with `files`, or chose a critique, an item to be `similar` to, or a part to be taken away.

    `label` is what the chat shows of it; by default the text. `pressed`: chosen by a button, which says nothing of the visitor's language.
    """

    text: str = ""
    files: tuple[str, ...] = ()
    label: str = ""
    critique: Filter | None = None
    similar: str = ""
    removed: Part | None = None
    pressed: bool = False


@dataclass(frozen=True)
class Session:
    """A visitor: the state of their talk, their profile if they want one, what `retry` goes back to, and whether it was refused."""

    state: State = field(default_factory=State)
    lang: str = "en"
    profile: Profile | None = None
    asked: Ask | None = None
    earlier: State = field(default_factory=State)
    refused: bool = False

    @property
    def last(self) -> Response:
        """The response on the screen; an empty one where nothing was asked."""
        return self.state.last or Response((), (), {})


def conversation(recommender: Recommender, session: Session) -> Conversation:
    """The talk as it stands."""
    return Conversation(recommender, k=CARDS, state=session.state, profile=session.profile)


def answer(recommender: Recommender, session: Session, ask: Ask) -> Iterator[tuple[Session, str]]:
    """One turn: the session that follows, with the reply as far as it has come. The items are there before the words."""
    talk = conversation(recommender, session)
    try:
        response = _respond(talk, ask)
    except MmllmError as error:
        log.info("turn refused: %s", error)
        yield replace(session, asked=ask, earlier=session.state, refused=True), say("refused", session.lang, error)
        return
    after = replace(session, state=talk.state, asked=ask, earlier=session.state, refused=False)
    yield after, "…"
    said = ""
    for piece in talk.reply(response):
        said += piece
        yield after, said


def _respond(talk: Conversation, ask: Ask) -> Response:
    if ask.removed is not None:
        return talk.remove(ask.removed)
    if ask.similar:
        return talk.more_like(ask.similar)
    if ask.critique is not None:
        return talk.turn(where={ask.critique.attribute: {ask.critique.op: ask.critique.value}})
    picture = next((f for f in ask.files if Path(f).suffix.lower() in IMAGES), None)
    sound = next((f for f in ask.files if Path(f).suffix.lower() not in IMAGES), None)
    lang = talk.state.lang if ask.pressed else ""
    if picture is None:
        return talk.turn(ask.text, audio=sound, lang=lang)
    # The talk holds the picture itself: its file is deleted after a while.
    image = load_image(picture)
    image.thumbnail((KEPT_PIXELS, KEPT_PIXELS))
    return talk.turn(ask.text, image=image, audio=sound, lang=lang)


def mark(recommender: Recommender, session: Session, n: int, kind: str) -> Session:
    """Mark the n-th item of the list, from 0: "liked", "disliked" or "known"."""
    talk = conversation(recommender, session)
    {"liked": talk.like, "disliked": talk.dislike, "known": talk.know}[kind](session.state.listed[n])
    return replace(session, state=talk.state)


def cleared(recommender: Recommender, session: Session) -> Session:
    """A new talk; what is kept in a profile stays."""
    fresh = Conversation(recommender, k=CARDS, profile=session.profile).state
    return Session(replace(fresh, lang=session.state.lang), session.lang, session.profile)


# ---- the profile ---------------------------------------------------------------------------------------------------------


def new_token() -> str:
    """A name for a browser that nobody can guess: whoever knows it reads the profile."""
    return uuid4().hex


def remembered(recommender: Recommender, session: Session, token: str) -> Session:
    """The session with the profile of a browser; what was liked before and in this talk is in both from now on."""
    if not TOKEN.fullmatch(token):
        raise ProfileError("the name that this browser gave", expected="32 hexadecimal digits", do="clear this site's data")
    profile = Profiles().open(f"browser:{token}", recommender.store.manifest.catalog)
    kept, now = Conversation(recommender, k=CARDS, profile=profile).state, session.state
    against = {"liked": now.disliked, "disliked": now.liked, "known": ()}
    marks = {
        kind: tuple(dict.fromkeys((*(i for i in getattr(kept, kind) if i not in against[kind]), *getattr(now, kind))))
        for kind in KINDS
    }
    profile.keep(**marks)
    return replace(session, state=replace(now, **marks), profile=profile)  # type: ignore[arg-type]


def exported(session: Session) -> str:
    """All that is kept of the visitor, as JSON; "" without a profile."""
    if session.profile is None:
        return ""
    return json.dumps(session.profile.profiles.export(session.profile.name), ensure_ascii=False, indent=1)


def forgotten(session: Session) -> Session:
    """Everything about the visitor is deleted, here and in the profile."""
    return Session(State(lang=session.state.lang), lang=unkept(session).lang)


def unkept(session: Session) -> Session:
    """The profile is deleted; this talk goes on with what it knows."""
    if session.profile is not None:
        session.profile.profiles.forget(session.profile.name)
    return replace(session, profile=None)
