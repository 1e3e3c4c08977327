"""What a query may hold: a part of another kind is refused here, by its name, before a model or a file is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from PIL import Image

from mmllm import settings
from mmllm.errors import QueryError
from mmllm.speech import Heard
from mmllm.texts import LANGUAGES
from mmllm.types import Query

IDS = ("liked", "disliked", "exclude", "similar")
SOUND = "a path, bytes, or (sample rate in Hz, samples)"


def check_query(query: Query) -> None:
    """QueryError for a part that is no part of a `Query`, for words that are too long, and for a language that nothing is said in.

    Whether ids and attributes are the catalog's is not asked here.
    """
    check_text(query.text)
    if query.image is not None and not isinstance(query.image, (str, Path, bytes, bytearray, Image.Image)):
        raise QueryError(
            _came("image", query.image), expected="a path, bytes or a PIL picture", do="PIL.Image.fromarray makes one of an array"
        )
    if query.audio is not None and not (isinstance(query.audio, (str, Path, bytes, bytearray, Heard)) or _samples(query.audio)):
        raise QueryError(_came("audio", query.audio), expected=SOUND)
    for name in IDS:
        check_ids(name, getattr(query, name))
    if not isinstance(query.where, Mapping):
        raise QueryError(_came("where", query.where), expected="{attribute: value}", do='for example {"year": {">=": 1990}}')
    if query.lang not in LANGUAGES:
        raise QueryError(f"lang is {query.lang!r}", expected=" or ".join(map(repr, LANGUAGES)), do="leave it out for English")


def check_text(text: Any) -> None:
    """QueryError for words that are none, or too many."""
    if text is not None and not isinstance(text, str):
        raise QueryError(_came("text", text), expected="a string")
    if text and len(text) > settings.MAX_QUERY_CHARS:
        raise QueryError(f"a request of {len(text):,} characters", expected=f"at most {settings.MAX_QUERY_CHARS:,}")


def check_ids(name: str, ids: Any) -> None:
    """QueryError for what is no list of strings; a string alone would be read as an id for each of its letters."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, (Sequence, Set)):
        raise QueryError(_came(name, ids), expected="item ids in a list", do=f"write [{ids!r}]" if isinstance(ids, str) else "")
    if bad := [i for i in ids if not isinstance(i, str)]:
        raise QueryError(f"{name} holds {_kind(bad[0])}", expected="item ids, which are strings")


def _samples(audio: Any) -> bool:
    return isinstance(audio, tuple) and len(audio) == 2 and isinstance(audio[0], (int, float)) and audio[0] > 0


def _came(name: str, value: Any) -> str:
    return f"{name} is {_kind(value)}"


def _kind(value: Any) -> str:
    """A value as an error tells it: strings and numbers in full, of others what they are, for an array would fill the screen."""
    return repr(value) if isinstance(value, (str, int, float)) else f"of type {type(value).__name__}"
