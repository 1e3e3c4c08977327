"""Laws of the comparison: copies meet, others do not, colours count, blocks change nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from mmllm import near_duplicates
from mmllm.near_duplicates import Signature, groups, signature


def drawing(seed: int, size: int = 160) -> Image.Image:
    """Shapes of many colours on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, w, h = rng.integers(0, 110, 2).tolist() + rng.integers(20, 60, 2).tolist()
        draw.ellipse((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def again(image: Image.Image, quality: int = 90) -> Image.Image:
    """Half the size, as a JPEG."""
    out = io.BytesIO()
    image.resize((image.width // 2, image.height // 2)).save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def rows(found) -> list[tuple[tuple[int, ...], bool]]:
    return [(g.rows, g.same_colours) for g in found]


def test_copies_meet_and_strangers_do_not():
    strangers = [drawing(n) for n in range(30)]
    pictures = [*strangers, again(strangers[3]), again(strangers[3], 95), again(strangers[20])]
    found = groups([signature(p) for p in pictures])
    assert rows(found) == [((3, 30, 31), True), ((20, 32), True)]
    assert all(0 < d <= near_duplicates.SAME for g in found for d in g.differences)


def test_another_colour_of_one_shape_is_told_apart():
    grey = ImageOps.grayscale(drawing(1))
    red, green = (ImageOps.colorize(grey, dark, "white") for dark in ("#c00000", "#005d00"))
    found = groups([signature(p) for p in (red, drawing(2), green, again(red))])
    assert rows(found) == [((0, 3), True), ((0, 2, 3), False)]


def test_one_hash_alone_is_no_shape():
    colours = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert groups([Signature(np.uint64(7), c) for c in colours]) == []


def test_the_ends_of_a_chain_are_one_group_and_no_second_shape():
    start = np.asarray(drawing(4).resize((32, 32)), dtype=np.int16).clip(60, 200)
    chain = [Signature(np.uint64(7), (start + step).astype(np.uint8)) for step in (0, 2, 4)]
    ends = groups([chain[0], chain[2]])
    assert rows(ends) == [((0, 1), False)]  # on their own they are too far apart to be the same
    assert rows(groups(chain)) == [((0, 1, 2), True)]


@pytest.mark.parametrize("block", [1, 2, 7])
def test_blocks_change_nothing(monkeypatch, block):
    pictures = [drawing(n % 6) for n in range(15)]
    signatures = [signature(p) for p in pictures]
    whole = rows(groups(signatures))
    assert whole == [(tuple(range(n, 15, 6)), True) for n in range(6)]
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    assert rows(groups(signatures)) == whole


def test_one_or_none():
    assert groups([]) == [] and groups([signature(drawing(0))]) == []
