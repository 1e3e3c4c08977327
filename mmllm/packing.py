"""Candidates behind one prefix in one sequence: who sees whom, which positions, how many at once. Pure functions over embeddings.

A segment sees the prefix and itself only, and positions restart after the prefix, so that a candidate's score is what a separate prompt
would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def causal(start: int, end: int) -> Tensor:
    """[end - start, end]: what each of the places from `start` sees of all places up to `end`."""
    return torch.arange(end)[None, :] <= torch.arange(start, end)[:, None]


def pack(prefix: int, segments: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(allowed [T, prefix + T], positions [T], readouts [N]) of segments [L_i, H] in a row, behind a prefix of so many places."""
    lengths = torch.tensor([len(s) for s in segments])
    owner = torch.repeat_interleave(torch.arange(len(segments)), lengths)
    offset = torch.cat([torch.arange(n) for n in lengths.tolist()])
    own = (owner[:, None] == owner[None, :]) & (offset[:, None] >= offset[None, :])
    allowed = torch.cat([torch.ones(len(owner), prefix, dtype=torch.bool), own], dim=1)
    return allowed, prefix + offset, lengths.cumsum(0) - 1


def common(segments: Sequence[Tensor]) -> int:
    """How many rows all segments begin with; the last row of each, its readout, is never among them."""
    most = min(len(s) for s in segments) - 1
    first = segments[0][:most]
    same = torch.stack([(s[:most] == first).all(dim=1) for s in segments]).all(dim=0)
    return most if bool(same.all()) else int((~same).int().argmax())


def groups(segments: Sequence[Tensor], limit: int) -> Iterator[list[Tensor]]:
    """Segments in order, in groups of at most `limit` places; a longer one stands alone."""
    group: list[Tensor] = []
    size = 0
    for segment in segments:
        if group and size + len(segment) > limit:
            yield group
            group, size = [], 0
        group.append(segment)
        size += len(segment)
    yield group


def padded(lists: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """(embeds [B, T, H], allowed [B, T, T], positions [B, T], readouts of each) of several prefixes [P, H] with their segments in one batch."""
    sizes = [len(prefix) + sum(map(len, segments)) for prefix, segments in lists]
    longest, (first, _) = max(sizes), lists[0]
    embeds = first.new_zeros(len(lists), longest, first.shape[1])
    # A padded place sees itself, so that nothing becomes NaN.
    allowed = torch.eye(longest, dtype=torch.bool).repeat(len(lists), 1, 1)
    positions = torch.zeros(len(lists), longest, dtype=torch.long)
    readouts = []
    for n, ((prefix, segments), size) in enumerate(zip(lists, sizes, strict=True)):
        start = len(prefix)
        own, places, last = pack(start, segments)
        embeds[n, :size] = torch.cat([prefix, *segments])
        allowed[n, :start, :start] = causal(0, start)
        allowed[n, start:size, :size] = own
        positions[n, :size] = torch.cat([torch.arange(start), places])
        readouts.append(start + last)
    return embeds, allowed, positions, readouts


def additive(allowed: Tensor) -> Tensor:
    """[..., 1, T, S]: what a mask adds to attention's scores, for all heads."""
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min).unsqueeze(-3)
