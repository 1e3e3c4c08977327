"""Greedy decoding beside the model: what is guessed to come next, and tokens as pieces of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

GUESSED = 5
"""How many tokens are guessed: a pass over six takes hardly longer than one over a single token, since it waits for the weights."""
MATCHED = 3


def guess(known: Sequence[int]) -> list[int]:
    """What followed when the latest tokens last stood in the text; of up to `MATCHED` of them, as many as stood there. None may have."""
    for n in range(min(MATCHED, len(known) - 1), 0, -1):
        tail = list(known[-n:])
        for at in range(len(known) - n - 1, -1, -1):
            if list(known[at : at + n]) == tail:
                return list(known[at + n : at + n + GUESSED])
    return []


def agreed(guessed: Sequence[int], said: Sequence[int]) -> int:
    """How many of the guessed tokens the model says as well, from the first on."""
    return next((n for n, (g, s) in enumerate(zip(guessed, said, strict=False)) if g != s), min(len(guessed), len(said)))


def pieces(tokens: Iterator[int], decode: Callable[[list[int]], str], stop: Sequence[str]) -> Iterator[str]:
    """Text as its tokens come; half a character waits for its other half, and at a stop string it ends."""
    made: list[int] = []
    shown = ""
    for token in tokens:
        made.append(token)
        text = decode(made)
        if text.endswith("\ufffd"):
            continue
        if any(s in text for s in stop):
            cut = min(text.find(s) for s in stop if s in text)
            yield text[len(shown) : max(cut, len(shown))]
            return
        yield text[len(shown) :]
        shown = text
