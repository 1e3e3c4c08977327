"""Which pictures are nearly the same, among thousands, without comparing every pair in Python.

A picture becomes a perceptual hash (ImageHash's phash: 64 signs of the lowest DCT frequencies of its grey levels) and 32x32
colours. Hashes are compared in blocks of numpy; only pairs whose hashes are near have their colours compared. The hash alone
would not do: in a shop's catalog every shoe is photographed from the same side (on 6,000 fashion photos 21,630 pairs have near
hashes, and 59 are the same photo or nearly), and a red and a green hat of one shape have the same hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

HASH_BITS = 6
"""Pairs of hashes that differ in at most this many of 64 bits are looked at; unrelated pictures differ in 32 on average."""
SAME = 0.08
"""Colour difference up to which two pictures count as the same: see `colour_difference`. Chosen by looking: a picture at half its
size or as a JPEG of quality 30 differs by 0.01 to 0.06 (medians of three catalogs), two shoes of one make by 0.1 and more."""
SHAPE = 0.99
"""Correlation of grey levels from which two pictures of different colours count as one shape."""
SIDE = 32
BLOCK = 512


@dataclass(frozen=True)
class Signature:
    """`bits`: uint64 scalar, the perceptual hash; `colours`: uint8 [32, 32, 3], the picture squeezed to a square."""

    bits: np.uint64
    colours: np.ndarray


@dataclass(frozen=True)
class Group:
    """Pictures linked by near pairs: rows of the input, and for each the difference to its nearest in the group.

    `same_colours` False means that the shapes agree and the colours do not.
    """

    rows: tuple[int, ...]
    differences: tuple[float, ...]
    same_colours: bool


def signature(image: Image.Image) -> Signature:
    """RGB picture -> what is compared of it."""
    from imagehash import phash

    bits = np.packbits(phash(image).hash.ravel()).view(np.uint64)[0]
    return Signature(bits, np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))


def contrast(colours: np.ndarray) -> np.ndarray:
    """Mean distance of a picture's colours from their median, which is the background for a thing on white: [N, S, S, 3] -> [N]."""
    values = colours.astype(np.float32)
    return np.abs(values - np.median(values, axis=(1, 2), keepdims=True)).mean(axis=(1, 2, 3))


def grey(colours: np.ndarray) -> np.ndarray:
    """Grey levels (ITU-R 601), centred and of length 1, so that a product is a correlation: [N, S, S, 3] -> [N, S * S]."""
    levels = (colours.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).reshape(len(colours), -1)
    levels -= levels.mean(axis=1, keepdims=True)
    return levels / np.maximum(np.linalg.norm(levels, axis=1, keepdims=True), 1e-6)


def colour_difference(a: np.ndarray, b: np.ndarray, contrast_a: np.ndarray, contrast_b: np.ndarray) -> np.ndarray:
    """Mean distance of the colours of two pictures, in units of their own contrast: [P, S, S, 3] twice -> [P].

    0 for the same picture, about 1 for unrelated ones. By contrast, a small thing on white counts as much as a large one.
    """
    distance = np.abs(a.astype(np.int16) - b).mean(axis=(1, 2, 3))
    return distance / np.maximum((contrast_a + contrast_b) / 2, 1.0)


def groups(signatures: Sequence[Signature]) -> list[Group]:
    """Near-duplicates, then pictures of one shape in other colours; in the order of their first rows.

    Blank pictures have to be left out by the caller: they all resemble one another.
    """
    if len(signatures) < 2:
        return []
    bits = np.array([s.bits for s in signatures], dtype=np.uint64)
    colours = np.stack([s.colours for s in signatures])
    left, right, difference, correlation = _near_pairs(bits, colours)
    same = difference <= SAME
    found = _components(len(signatures), left[same], right[same], difference[same], same_colours=True)
    cluster = np.arange(len(signatures))
    for group in found:
        cluster[list(group.rows)] = group.rows[0]
    # Two members of one group are no second shape, even if their own difference is over the limit.
    other = ~same & (correlation >= SHAPE) & (cluster[left] != cluster[right])
    found += _components(len(signatures), left[other], right[other], difference[other], same_colours=False)
    return found


def _near_pairs(bits: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows i < j whose hashes are near, the difference of their colours, the correlation of their greys: [P] four times."""
    own, levels = contrast(colours), grey(colours)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, len(bits), BLOCK):
        distance = np.bitwise_count(bits[start : start + BLOCK, None] ^ bits[None, start:])
        i, j = np.nonzero(distance <= HASH_BITS)
        i, j = i[j > i] + start, j[j > i] + start
        for at in range(0, len(i), 2048):
            a, b = i[at : at + 2048], j[at : at + 2048]
            difference = colour_difference(colours[a], colours[b], own[a], own[b])
            parts.append((a, b, difference, np.einsum("pd,pd->p", levels[a], levels[b])))
    if not parts:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0), np.zeros(0)
    left, right, difference, correlation = (np.concatenate(column) for column in zip(*parts, strict=True))
    return left, right, difference, correlation


def _components(n: int, left: np.ndarray, right: np.ndarray, difference: np.ndarray, *, same_colours: bool) -> list[Group]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, left, difference)
    np.minimum.at(nearest, right, difference)
    _, labels = connected_components(coo_array((np.ones(len(left)), (left, right)), shape=(n, n)), directed=False)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(nearest)).tolist():
        members.setdefault(int(labels[row]), []).append(row)
    return [Group(tuple(rows), tuple(float(nearest[r]) for r in rows), same_colours) for rows in members.values()]
