"""Values that pass between stages: frozen, in the order data flows.

Dimensions, named once: B batch, N items or candidates, M modalities, D embedding width, K soft tokens per item,
H width of the language model, T text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

MODALITIES: tuple[str, ...] = ("text", "image", "audio")
"""The M modalities, in the order of every [.., M, ..] axis."""

Scalar = str | int | float | bool
AttributeValue = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Item:
    """One line of `catalog.jsonl`. `image` and `audio` are paths relative to the catalog folder."""

    id: str
    title: str
    text: str = ""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    image: str | None = None
    audio: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """A condition on one attribute: `year >= 1990`, `colour = yellow`. A multi-valued attribute matches if any value does.

    With several values, `in` asks for any of them, `all` for every one, and `!=` for none.
    """

    attribute: str
    op: Literal["=", "!=", ">=", "<=", ">", "<", "in", "all"]
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Segment:
    """A span of speech: `start` and `end` in seconds from the beginning of its file."""

    start: float
    end: float
    text: str
    file: str | None = None


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording; no segments when nothing was."""

    language: str | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def text(self) -> str:
        """All segments joined by blanks."""
        return " ".join(s.text.strip() for s in self.segments)


@dataclass(frozen=True)
class Caption:
    """What a picture shows: phrases by `source` ("phrases:CLIP" or "model:NAME"), each at least as sure as `confidence` in [0, 1].

    No phrases when nothing was sure enough.
    """

    phrases: tuple[str, ...] = ()
    source: str = ""
    confidence: float = 0.0

    @property
    def text(self) -> str:
        """All phrases joined by commas."""
        return ", ".join(self.phrases)


@dataclass(frozen=True)
class Query:
    """What a person asks now. Everything is optional, but one of text, image, audio, liked or where has to be there: a filter alone lists what
    meets it. `disliked` and `exclude` alone ask for nothing.

    `image` is a path, bytes or a PIL picture; `audio` a path, bytes, (sample rate in Hz, samples [n] or [n, channels]), or a `speech.Heard`,
    whose words are then taken to be in `text` already.
    `liked` and `disliked` are item ids. `where` maps an attribute to a value, a list of values (any of them), or
    an {operator: value} such as {">=": 1990}; `in`, `all` and `!=` take lists. `exclude` are ids not to be shown again. `similar` are those
    of `liked` that were only referred to ("like the second"): a reason does not say that they were liked. `lang` ("en" or "zh")
    is the language of reasons and notes, whatever the words are in; a `Conversation` sets it by them. What is none of this is a QueryError
    of whoever is given the query.
    """

    text: str | None = None
    image: Any = None
    audio: Any = None
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    similar: Sequence[str] = ()
    lang: str = "en"


@dataclass(frozen=True)
class Candidate:
    """Retrieved: `score` is the fused retriever score, `scores` the value of each retriever that found the item."""

    id: str
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranked:
    """Reranked: `rank` from 1, `scores` holds `retriever`, `lm` and what each retriever gave; `shares` sum to 1."""

    id: str
    rank: int
    score: float
    scores: Mapping[str, float]
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """A row of fact that an explanation may use.

    kind: attribute (one the request names), words, transcript, caption, picture, meaning, sound, neighbour (near to what was liked),
    similar (near to what was referred to), people (who liked the same);
    fact (an attribute the request does not name), title, modality.
    `weight` is a similarity in [-1, 1] or a share in [0, 1]; `start`/`end` are seconds into `file`.
    """

    kind: str
    name: str
    value: str
    weight: float | None = None
    file: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Explanation:
    """`source` says who worded it: "lm" (every sentence passed the check) or "template"; `note` says why not the LM."""

    text: str
    source: Literal["lm", "template"]
    evidence: tuple[Evidence, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Recommendation:
    """One explained item; titles come from the catalog, never from the model."""

    id: str
    title: str
    rank: int
    score: float
    scores: Mapping[str, float]
    shares: Mapping[str, float]
    explanation: Explanation
    item: Item


@dataclass(frozen=True)
class Response:
    """What `Recommender.recommend` returns. `stages` are those that ran, in order; `notes` what a stage could not do.

    `shares` tell what each part of the query counted for in its fused vector: modality -> share, which sum to 1; empty without one.
    The rest is filled in by a conversation: `said` answers a turn that asks for no items ("why this?"), `understood` and `unclear` say what the
    turn was taken for and what was not understood, `question` is the one that is asked back, `lang` the language of all of it.
    """

    recommendations: tuple[Recommendation, ...]
    stages: tuple[str, ...]
    timings_ms: Mapping[str, float]
    transcript: Transcript | None = None
    notes: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    said: str = ""
    understood: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    question: str = ""
    lang: str = "en"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the shape printed by `mmllm recommend --json`. Of an item there are its id, its title and its attributes."""
        recs = []
        for r in self.recommendations:
            row = asdict(r)
            row.pop("item")
            row["attributes"] = {k: list(v) if isinstance(v, tuple) else v for k, v in r.item.attributes.items()}
            row["explanation"]["evidence"] = [
                {k: v for k, v in e.items() if v is not None} for e in row["explanation"]["evidence"]
            ]
            recs.append(row)
        return {
            "recommendations": recs,
            "stages": list(self.stages),
            "timings_ms": {k: round(v, 1) for k, v in self.timings_ms.items()},
            "transcript": None if self.transcript is None else {**asdict(self.transcript), "text": self.transcript.text},
            "notes": list(self.notes),
            "shares": dict(self.shares),
            "said": self.said,
            "understood": list(self.understood),
            "unclear": list(self.unclear),
            "question": self.question,
            "lang": self.lang,
        }


@dataclass(frozen=True)
class CatalogProblem:
    """One thing wrong in a catalog: the line (from 1, 0 for the whole file), the field and what is wrong."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, field {self.field!r}: {self.message}" if self.line else self.message


PathLike = str | Path
Progress = Callable[[str, int, int], None]
"""Called with (stage, done, of) by what takes long."""
