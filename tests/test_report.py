from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from mmllm import catalog
from mmllm.cli import app
from mmllm.report import RULES, language, near, page, report
from mmllm.types import Item

HOSTILE = "<script>alert('x')</script>"


def drawing(seed: int, *, colour: str = "red", side: int = 120) -> Image.Image:
    image = Image.new("RGB", (side, side), "white")
    rng = np.random.default_rng(seed)
    for _ in range(6):
        x, y, w, h = rng.integers(0, side - 30, 2).tolist() + rng.integers(10, 60, 2).tolist()
        ImageDraw.Draw(image).rectangle((x, y, x + w, y + h), fill=colour if rng.random() < 0.5 else "black")
    return image


@pytest.fixture
def flawed(tmp_path):
    """One of each defect, and a clean item."""
    folder = tmp_path / "flawed"
    (folder / "media").mkdir(parents=True)
    tone = 0.3 * np.sin(np.arange(16000) / 20).astype(np.float32)
    sounds = {"clean": tone, "silent": tone * 1e-4, "clipped": np.clip(tone * 30, -1, 1)}
    for name, samples in sounds.items():
        soundfile.write(folder / "media" / f"{name}.wav", samples, 16000)
    (folder / "media" / "broken.wav").write_bytes(b"RIFF nonsense")
    pictures = {
        "clean": drawing(1),
        "one": drawing(2),
        "again": drawing(2).resize((140, 140)),
        "other-colour": drawing(2, colour="blue"),
        "tiny": drawing(3, side=120).resize((30, 30)),
        "blank": Image.new("RGB", (100, 100), "white"),
        "blank2": Image.new("RGB", (100, 100), "grey"),
    }
    for name, image in pictures.items():
        image.save(folder / "media" / f"{name}.png")
    (folder / "media" / "broken.png").write_bytes(b"no picture")
    text = "A drawing of some boxes on white paper."
    items = [Item(n, f"Title {n}", text, {}, f"media/{n}.png") for n in ("clean", *list(pictures)[1:], "broken")]
    items[0] = Item("clean", "Title clean", text, {}, "media/clean.png", ("media/clean.wav",))
    items += [
        Item(n, f"Sound {n}", text, audio=(f"media/{f}.wav",)) for n, f in (("s1", "silent"), ("s2", "clipped"), ("s3", "broken"))
    ]
    items += [
        Item("bare", HOSTILE),
        Item("t1", "Twice", "Ein Hund schläft auf dem warmen Sofa im Wohnzimmer."),
        Item("t2", "twice", text),
    ]
    catalog.write(items, folder)
    return folder


def test_every_defect_is_found_once_and_nothing_else(flawed):
    found = report(flawed)
    by_kind = {kind: sorted(f.item for f in found.findings if f.kind == kind) for kind in RULES}
    assert by_kind == {
        "near-duplicate picture": ["again", "one"],
        "tiny picture": ["tiny"],
        "blank picture": ["blank", "blank2"],
        "unreadable picture": ["broken"],
        "silent sound": ["s1"],
        "clipped sound": ["s2"],
        "unreadable sound": ["s3"],
        "empty text": ["bare"],
        "duplicate title": ["t1", "t2"],
        "bad line": [],
    }
    assert found.items == 14 and found.languages["de"] == 1
    assert found.shares["image"] == round(8 / 14, 4) and found.shares["audio"] == round(4 / 14, 4)


def test_a_bad_line_is_a_finding_and_not_the_end(flawed):
    with (flawed / catalog.FILE).open("a") as out:
        out.write('{"id": "x"}\n')
    assert report(flawed).counts()["bad line"] == 1


def test_near_joins_chains_and_keeps_colours_apart():
    hashes = np.array([0b0, 0b111111, 0b111111111111, 1 << 63 | 0xFFFF0000], dtype=np.uint64)
    colours = np.zeros((4, 192), np.float32)
    assert near(hashes, colours) == [[0, 1, 2]], "the first and the third are near through the second"
    colours[2] = 200
    assert near(hashes, colours) == [[0, 1]]
    assert near(np.zeros(0, np.uint64), np.zeros((0, 192), np.float32)) == []


def test_the_page_stands_alone_and_runs_nothing_from_the_catalog(flawed):
    html = page(report(flawed), flawed)
    assert HOSTILE not in html and "&lt;script&gt;" in html
    assert "data:image/jpeg;base64," in html and "http" not in html.replace("http-equiv", "")
    assert html.count("<li>") == len(report(flawed).findings)


def test_language_needs_letters():
    assert language("42") == "unsure" and language("一只黑色的猫在沙发上睡觉，旁边还有一只小狗和一杯热茶。") == "zh"


def test_the_command(flawed, tmp_path):
    run = CliRunner().invoke(app, ["data", "report", str(flawed), "-o", str(tmp_path / "deep" / "r.html")])
    assert run.exit_code == 0, run.output
    assert "blank picture" in run.output and (tmp_path / "deep" / "r.html").read_text().startswith("<!doctype html>")
    run = CliRunner().invoke(app, ["data", "report", str(flawed), "--json"])
    assert json.loads(run.stdout[run.stdout.index("{") :])["counts"]["blank picture"] == 2
    run = CliRunner().invoke(app, ["data", "report", str(tmp_path / "nowhere")])
    assert run.exit_code == 1 and "no catalog.jsonl" in run.output
