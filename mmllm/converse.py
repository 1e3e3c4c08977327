"""Conversation: a turn -> slots -> state -> Recommender -> reply. State is kept in code, never in the model.

`understand` reads a turn, `dialogue.step` changes the state, and here the state is shown: what it asks for is recommended, conflicts are asked
about with items shown all the same, and nothing that was shown, refused or known comes again unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmllm import talk
from mmllm.catalog import resolve_filters, title_in
from mmllm.dialogue import QUIET, Question, State, Turn, filter_values, step, where
from mmllm.errors import QueryError
from mmllm.explain import explain
from mmllm.lexical import words as stems
from mmllm.media import load_audio
from mmllm.parts import MARKS, Part, without
from mmllm.profile import Profile
from mmllm.query_check import check_query, check_text
from mmllm.recommend import Recommender
from mmllm.speech import Heard
from mmllm.talk import remaining
from mmllm.texts import language, say
from mmllm.types import Filter, Query, Recommendation, Response
from mmllm.understand import Reader, understand

MATCHES = {"all-minilm-l6-v2": 0.4}
"""Below this cosine of the best text, and without shared words, nothing matches; for an encoder that is not named, shared words decide."""


@dataclass
class Conversation:
    """One visitor's talk with a Recommender. Not shared between visitors.

    With a `profile`, likes, dislikes and what is known are kept there. `reword`: the reply puts its first reason to the language model.
    """

    recommender: Recommender
    k: int = 5
    state: State = field(default_factory=State)
    profile: Profile | None = None
    reword: bool = True

    def __post_init__(self) -> None:
        if self.profile is not None and self.state == State():
            here = self.recommender.store.row
            kept = {kind: tuple(i for i in ids if i in here) for kind, ids in self.profile.marks().items()}
            self.state = State(liked=kept["liked"], disliked=kept["disliked"], known=kept["known"])

    def turn(
        self, text: str | None = "", *, image: Any = None, audio: Any = None, where: dict[str, Any] | None = None, lang: str = ""
    ) -> Response:
        """Answer one turn; the state changes only if the turn succeeds. It is answered in the language of its words, or in `lang` ("en", "zh").

        Raises what `Recommender.recommend` raises; a turn that is only not understood raises nothing, it is told in `Response.unclear`.
        """
        check_query(Query(text, image, audio, where={} if where is None else where, lang=lang or "en"))
        schema = self.recommender.schema
        heard = self._hear(audio)
        spoken = heard.transcript.text.strip() if heard is not None else ""
        said = f"{(text or '').strip()} {spoken}".strip()
        sound = heard is not None and not spoken
        if not said and image is None and not sound and not where:
            raise QueryError("the query is empty", expected="words, a picture, a sound, a liked item or a filter")
        check_text(said)  # with what was spoken
        now = replace(self.state, lang=lang or language(said, self.state.lang))
        # "Like this" beside a picture means the picture.
        before = replace(now, last=None, focus="") if image is not None else now
        read: list[str] = []
        turn = understand(said, schema, before, self._noted(read)) if said else Turn("ask")
        if (image is not None or sound) and (turn.act in QUIET or turn.act in ("more", "again")):
            turn = Turn("ask", words=said if turn.act != "hello" else "")
        if where:
            turn = replace(turn, act="ask", filters=(*turn.filters, *resolve_filters(where, self.recommender.store.items)))
        keeps = heard if heard is not None and (sound or turn.fresh or image is not None or not self.state.asks) else None
        response = self._take(turn, step(now, turn, image=image, sound=keeps))
        if heard is not None and response.transcript is None:
            response = replace(response, transcript=heard.transcript)
        return replace(response, stages=("understand:lm", *response.stages)) if read else response

    def _noted(self, read: list[str]) -> Reader | None:
        """The recommender's reader, if it has one; what it was asked about is written into `read`."""
        reader = self.recommender.reader

        def noted(text: str, words: Sequence[str]) -> Sequence[bool]:
            assert reader is not None
            read.extend(words)
            return reader(text, words)

        return noted if reader is not None else None

    def more_like(self, id_: str) -> Response:
        """Items like this one, within what else was asked for."""
        self.recommender.store.rows([id_])
        turn = Turn("ask", similar=(id_,))
        return self._take(turn, step(self.state, turn))

    def remove(self, part: Part) -> Response:
        """Take one part of the state away. What is left of the request is searched for; without a mark of an item, nothing is."""
        state = without(self.state, part)
        return self._take(Turn("ask" if state.asks and part.kind not in MARKS else "note"), state)

    def _take(self, turn: Turn, state: State) -> Response:
        """Show the state that a turn led to, and make it the state."""
        response, state = self._show(turn, state)
        response = _in(state.lang, response)
        self.state = replace(state, last=response if turn.act != "reset" else None)
        self._remember()
        return response

    def _hear(self, audio: Any) -> Heard | None:
        if audio is None or isinstance(audio, Heard):
            return audio
        samples = load_audio(audio)  # what cannot be decoded is refused before a model is loaded
        return self.recommender.encoders.whisper.hear(samples)

    def _show(self, turn: Turn, state: State) -> tuple[Response, State]:
        """The response to a turn and the state with what was shown in it."""
        schema, last = self.recommender.schema, state.last or Response((), (), {})
        told = (*turn.told, *talk.marks(turn, schema, state.lang))
        if turn.act == "undo":
            return replace(last, said=talk.undone(state, schema), understood=(), unclear=()), state
        if turn.act == "reset":
            if self.profile is None:
                return Response((), ("reset",), {}, notes=(say("forgotten", state.lang),)), state
            # What is kept under a name outlives the request: two words must not empty a profile.
            kept = replace(state, liked=self.state.liked, disliked=self.state.disliked, known=self.state.known)
            return Response((), ("reset",), {}, notes=(say("forgotten_but_kept", state.lang),)), kept
        if turn.act == "note" or (turn.act in QUIET and turn.act != "about"):
            said = talk.answer(turn, state, self.recommender)
            return replace(last, said=said, understood=told, unclear=turn.unclear, question=""), state
        if turn.act == "about" or turn.act == "again" or turn.wanted:
            ids = turn.targets or turn.wanted or state.listed
            if not ids:
                return Response((), ("understand",), {}, said=say("nothing_shown", state.lang)), state
            said = talk.about(turn, state, self.recommender) if turn.act == "about" else ""
            shown = last.recommendations if turn.act == "about" or ids == state.listed else self._present(state, ids)
            told_in = last.lang if shown is last.recommendations else state.lang
            response = Response(
                shown, ("understand", "present"), {}, said=said, understood=told, unclear=turn.unclear, lang=told_in
            )
            return response, self._seen(state, ids)
        if not state.asks:
            response, state = self._offer(state, turn)
        else:
            response, state = self._search(turn, state)
        question = state.question.text if state.question else ""
        response = replace(response, understood=told, unclear=turn.unclear, question=question)
        return response, self._seen(state, tuple(r.id for r in response.recommendations))

    def query(self, state: State) -> Query:
        """The request of a state, without what is hidden."""
        refused = set(state.disliked)
        liked = tuple(dict.fromkeys((*state.liked, *(i for i in state.similar if i not in refused))))
        values = [str(v) for f in state.filters if f.op in ("=", "in", "all") for v in filter_values(f) if isinstance(v, str)]
        said = set(stems(state.words))
        # Filters narrow; their words also rank what is left, and are there to be given as a reason.
        text = " ".join((state.words, *(v for v in values if not set(stems(v)) <= said))).strip()
        similar = tuple(i for i in state.similar if i not in state.liked)
        filters = where(state.filters)
        return Query(text or None, state.image, state.sound, liked, state.disliked, filters, similar=similar, lang=state.lang)

    def _search(self, turn: Turn, state: State) -> tuple[Response, State]:
        schema = self.recommender.schema
        hidden = talk.hidden(state)
        left = remaining(schema, state, hidden)
        dropped: tuple[Filter, ...] = ()
        if not left:
            state, dropped = self._relax(state, hidden)
            left = remaining(schema, replace(state, filters=tuple(f for f in state.filters if f not in dropped)), hidden)
        if not left:
            return Response((), ("understand",), {}, said=say("all_seen", state.lang)), state
        searched = replace(state, filters=tuple(f for f in state.filters if f not in dropped))
        query = self.query(searched)
        if not talk.something(query):
            return Response(self._present(state, left[: self.k]), ("understand", "present"), {}), state
        inside = set(left)
        outside = tuple(i for i in schema.items if i not in inside) if state.avoid else hidden
        response = self.recommender.recommend(replace(query, exclude=outside), k=self.k)
        if not response.recommendations and not turn.content:
            if state.content:
                return replace(response, said=say("all_seen", state.lang)), state
            # Words that only name values cannot fail to match: a text encoder that does not read them found nothing.
            return replace(response, recommendations=self._present(searched, left[: self.k])), state
        unmatched = turn.content and self._matches_nothing(turn, state, response)
        if unmatched:
            marked = turn.liked or turn.disliked or turn.known or turn.avoid or turn.forget
            if not (searched.filters or state.similar or marked):
                # Nothing came of it: what was asked before stands, and its list stays on the screen.
                earlier = replace(state.before[-1], before=state.before[:-1], lang=state.lang)
                said = talk.no_match(turn.words, self.recommender, state.lang)
                return replace(earlier.last or Response((), (), {}), transcript=response.transcript, said=said), earlier
            words = "" if turn.fresh else state.words.removesuffix(turn.words).strip()
            state = replace(state, words=words, content=tuple(c for c in state.content if c not in turn.content))
            response = replace(response, notes=(*response.notes, say("rest_searched", state.lang, words=turn.words)))
        # With nothing but filters all scores are equal: the one case in which it helps to ask.
        unranked = not (query.text or query.liked or query.image is not None or query.audio is not None)
        if state.question is None and turn.filters and unranked and len(left) > self.k:
            state = talk.narrow(schema, state, left)
        return response, state

    def _relax(self, state: State, hidden: tuple[str, ...]) -> tuple[State, tuple[Filter, ...]]:
        """Where nothing is left: the filters to lay aside for this once, and the question whether to drop them for good."""
        schema = self.recommender.schema
        met = remaining(schema, state, ())
        options = [(f,) for f in state.filters] + [state.filters[:-1], state.filters]
        free = [
            (len(remaining(schema, replace(state, filters=tuple(f for f in state.filters if f not in o)), hidden)), o)
            for o in options
        ]
        best = next((o for count, o in free if count), ())
        if met:
            again = Turn(wanted=met[: self.k])
            return replace(state, question=Question(talk.exhausted(schema, state, met), (("again", again),))), best
        drop = Turn(forget=tuple(dict.fromkeys(f.attribute for f in best)))
        return replace(state, question=Question(talk.conflict(schema, state, best), (("drop", drop),))), best

    def _matches_nothing(self, turn: Turn, state: State, response: Response) -> bool:
        """True where no item shares the words and none is near in meaning, so that whatever came is luck."""
        if state.image is not None or state.sound is not None:
            return False
        asked = set(turn.content)
        schema = self.recommender.schema
        ids = [r.id for r in response.recommendations]
        if any(2 * len(asked & schema.stems[i]) >= len(asked) for i in ids):
            return False
        least = MATCHES.get(self.recommender.encoders.preset.text)
        return least is None or max((r.scores.get("text", 0.0) for r in response.recommendations), default=0.0) < least

    def _offer(self, state: State, turn: Turn) -> tuple[Response, State]:
        """For a turn that asks for nothing in particular: a question, and one item of each kind."""
        if turn.act != "ask" or turn.disliked or turn.known or turn.avoid or turn.forget:
            return Response((), ("understand",), {}, said=say("ask_back", state.lang)), state
        ids, state = talk.spread(self.recommender.schema, state, self.k)
        return Response(self._present(state, ids), ("understand", "present"), {}), state

    def _present(self, state: State, ids: tuple[str, ...]) -> tuple[Recommendation, ...]:
        return self.recommender.present(self.query(state), ids)

    def _seen(self, state: State, ids: tuple[str, ...]) -> State:
        """What is on the screen, and what the person named as a model ("like Heat"), need not be shown again."""
        return replace(state, shown=tuple(dict.fromkeys((*state.shown, *state.similar, *ids))))

    def like(self, id_: str) -> None:
        """Remember a like; it takes a dislike of the same item back."""
        self._mark(Turn("note", liked=(id_,)))

    def dislike(self, id_: str) -> None:
        """Remember a dislike; it takes a like of the same item back."""
        self._mark(Turn("note", disliked=(id_,)))

    def know(self, id_: str) -> None:
        """Remember that an item is known already: it is not shown again."""
        self._mark(Turn("note", known=(id_,)))

    def _mark(self, turn: Turn) -> None:
        self.recommender.store.rows([*turn.liked, *turn.disliked, *turn.known])
        self.state = step(self.state, turn)
        self._remember()

    def _remember(self) -> None:
        if self.profile is not None:
            self.profile.keep(liked=self.state.liked, disliked=self.state.disliked, known=self.state.known)

    def reply(self, response: Response) -> Iterator[str]:
        """The spoken answer in pieces: what was heard and understood, the items, then the first one's reason, reworded by the LM where that
        passes the check, and the question that is asked back."""
        yield from talk.opening(response)
        if response.recommendations and not response.said:
            first = response.recommendations[0]
            yield (self.recommender.reworded(first, response.lang) if self.reword else first).explanation.text
        yield from talk.closing(response)


def _in(lang: str, response: Response) -> Response:
    """A response in a language: a list that is kept from an earlier turn has its reasons told again, and its stages say who worded them."""
    kept = tuple(
        replace(r, explanation=explain(title_in(r.item, lang), r.explanation.evidence, None, lang))
        if response.lang != lang
        else r
        for r in response.recommendations
    )
    stages = tuple("explain:template" if s == "explain" and lang != "en" else s for s in response.stages)
    return replace(response, recommendations=kept, stages=stages, lang=lang)
