"""Conversation: turns -> query state -> Recommender -> reply. State is kept in code, never in the model.

A turn brings words, a picture or a sound; likes and dislikes stay until they are cleared and move the next turn; "something else" repeats the
last request without the items shown; "start over" forgets all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mmllm.explain import explain
from mmllm.recommend import Recommender
from mmllm.types import Query, Recommendation, Response

MORE = re.compile(r"\s*(something|anything|show me|any)?\s*(else|more|other(s| ones)?|another( one)?)\W*", re.IGNORECASE)
RESET = re.compile(r"\s*(start over|reset|clear|forget( it| all| everything)?)\W*", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """What the conversation knows: the last request, likes and dislikes in the order given, items shown for this request."""

    query: Query = Query()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass
class Conversation:
    """One visitor's talk with a Recommender. Not shared between visitors."""

    recommender: Recommender
    k: int = 5
    state: State = field(default_factory=State)

    def turn(self, text: str = "", *, image: Any = None, audio: Any = None, where: dict[str, Any] | None = None) -> Response:
        """Answer one turn; the state changes only if the turn succeeds."""
        if RESET.fullmatch(text) and image is None and audio is None:
            self.state = State()
            return Response((), ("reset",), {}, notes=("Everything is forgotten. What are you looking for?",))
        more = bool(MORE.fullmatch(text)) and image is None and audio is None
        if more and (self.state.query.text or self.state.query.image is not None or self.state.liked):
            query, shown = self.state.query, self.state.shown
        else:
            query, shown = Query(text=text or None, image=image, audio=audio, where=where or {}), ()
        full = replace(query, liked=self.state.liked, disliked=self.state.disliked, exclude=shown)
        response = self.recommender.recommend(full, k=self.k)
        if response.transcript is not None and response.transcript.text:
            # What was said becomes the request, so that "something else" need not transcribe it again.
            said = " ".join(t for t in (query.text, response.transcript.text) if t)
            query = replace(query, text=said, audio=None)
        ids = tuple(r.id for r in response.recommendations)
        self.state = replace(self.state, query=query, shown=(*shown, *ids))
        return response

    def like(self, id_: str) -> None:
        """Remember a like; it takes a dislike of the same item back."""
        self._mark(id_, "liked", "disliked")

    def dislike(self, id_: str) -> None:
        """Remember a dislike; it takes a like of the same item back."""
        self._mark(id_, "disliked", "liked")

    def _mark(self, id_: str, to: str, away: str) -> None:
        self.recommender.store.rows([id_])
        kept = tuple(i for i in getattr(self.state, away) if i != id_)
        marked = tuple(dict.fromkeys((*getattr(self.state, to), id_)))
        changed: dict[str, Any] = {to: marked, away: kept}
        self.state = replace(self.state, **changed)

    def reply(self, response: Response) -> Iterator[str]:
        """The spoken answer in pieces: what was heard, then the first item's reason, reworded by the LM where that passes the check."""
        if response.transcript is not None and response.transcript.text:
            yield f"I heard: “{response.transcript.text}”\n\n"
        if not response.recommendations:
            yield response.notes[-1] if response.notes else "Nothing in the catalog fits that."
            return
        names = ", ".join(r.title for r in response.recommendations)
        yield f"I found {len(response.recommendations)}: {names}.\n\n"
        best = self.explained(response.recommendations[0])
        yield best.explanation.text
        for note in response.notes:
            if not note.startswith(("the LM", "no words")):
                yield f"\n\n_{note}_"

    def explained(self, recommendation: Recommendation) -> Recommendation:
        """The same item with its reason put to the LM."""
        rows = recommendation.explanation.evidence
        words = explain(recommendation.title, rows, self.recommender.reranker.lm)
        return replace(recommendation, explanation=words)
