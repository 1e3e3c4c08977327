"""A made catalog with one of each defect: each is found once, the clean item never; hostile words stay words."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageOps
from typer.testing import CliRunner

from mmllm import catalog, settings
from mmllm.cli import app
from mmllm.quality import RULES, UNSURE
from mmllm.report import clipped_percent, examine, language, loudest_db
from mmllm.report_page import MOST, render
from mmllm.types import Item
from tests.test_near_duplicates import again, drawing

run = CliRunner().invoke
ENGLISH = "The quick brown fox jumps over the lazy dog and runs into the forest."
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald."
HOSTILE = "<script>alert('x')</script> & \"quoted\" [bold]"


def tone(level: float, seconds: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(int(16000 * seconds)) * 0.2)).astype(np.float32)


@pytest.fixture
def flawed(tmp_path, monkeypatch):
    """16 usable lines and one that is not."""
    monkeypatch.setattr(settings, "MAX_AUDIO_SECONDS", 2.0)
    folder = tmp_path / "flawed"
    (folder / "m").mkdir(parents=True)
    grey = ImageOps.grayscale(drawing(50))
    pictures = {
        "clean": drawing(1),
        "blank": Image.new("RGB", (200, 200), "white"),
        "blank-too": Image.new("RGB", (200, 200), "white"),
        "tiny": drawing(2).resize((40, 63)),
        "twin-a": drawing(3),
        "twin-b": again(drawing(3)),
        "red": ImageOps.colorize(grey, "#c00000", "white"),
        "green": ImageOps.colorize(grey, "#005d00", "white"),
    }
    for name, image in pictures.items():
        image.save(folder / "m" / f"{name}.png")
    (folder / "m" / "broken.png").write_bytes(b"no picture")
    sounds = {
        "clean": tone(0.5),
        "silent": tone(0.0005),
        "clipped": np.clip(tone(3.0), -1, 1),
        "long": tone(0.5, 2.5),
    }
    for name, samples in sounds.items():
        soundfile.write(folder / "m" / f"{name}.wav", samples, 16000)
    (folder / "m" / "noise.wav").write_bytes(b"RIFFnonsense")
    items = [
        Item("clean", "A brown fox", ENGLISH, {}, "m/clean.png", ("m/clean.wav",)),
        *(Item(n, f"Title of {n}", ENGLISH, {}, f"m/{n}.png") for n in [*pictures][1:]),
        Item("broken", "Title of broken", ENGLISH, {}, "m/broken.png"),
        *(Item(n, f"Title of {n}", ENGLISH, {}, None, (f"m/{n}.wav",)) for n in ("silent", "clipped", "long", "noise")),
        Item("same-1", "Same  Title", GERMAN),
        Item("same-2", "same title", ENGLISH),
        Item("wordless", HOSTILE, "..."),
    ]
    catalog.write(items, folder)
    with (folder / catalog.FILE).open("a") as file:
        file.write("{broken\n")
    return folder


EXPECTED = {
    "unusable_line": ["line 17"],
    "unreadable_image": ["broken"],
    "blank_image": ["blank", "blank-too"],
    "near_duplicate_image": ["twin-a", "twin-b"],
    "other_colours": ["red", "green"],
    "tiny_image": ["tiny"],
    "unreadable_audio": ["noise"],
    "long_audio": ["long"],
    "silent_audio": ["silent"],
    "clipped_audio": ["clipped"],
    "empty_text": ["wordless"],
    "duplicate_title": ["same-1", "same-2"],
}


def test_each_defect_is_found_once_and_the_clean_item_never(flawed):
    seen = []
    report = examine(flawed, progress=lambda *step: seen.append(step))
    assert {kind: [f.item for f in report.of(kind)] for kind in RULES} == EXPECTED
    assert report.counts() == {kind: len(items) for kind, items in EXPECTED.items()}
    assert "clean" not in {f.item for f in report.findings}
    assert report.items == 16
    assert report.modalities == {"text": 16, "image": 9, "audio": 5}
    assert report.combinations == {"text+image": 8, "text+audio": 4, "text": 3, "text+image+audio": 1}
    assert report.languages == {"en": 14, "de": 1, UNSURE: 1}
    assert seen[-2:] == [("image", 9, 9), ("audio", 5, 5)]


def test_what_was_measured_is_given_with_the_limit(flawed):
    by_item = {f.item: f for f in examine(flawed).findings}
    assert by_item["tiny"].measured == 63 and by_item["tiny"].limit == "at least 64 px"
    assert by_item["silent"].measured == pytest.approx(20 * np.log10(0.0005 / 2**0.5), abs=0.5)
    assert by_item["blank"].measured == 0
    assert by_item["clipped"].measured > 50 and by_item["long"].measured.startswith("m/long.wav lasts 2 s")
    assert by_item["twin-a"].group == by_item["twin-b"].group != by_item["red"].group
    assert 0 < by_item["twin-b"].measured <= 0.08 < by_item["red"].measured
    assert by_item["broken"].measured.startswith("m/broken.png is not a picture")


def test_levels_at_the_limits():
    click = np.zeros((16000, 1), np.float32)
    click[100] = 1
    assert loudest_db(click, 16000) == pytest.approx(10 * np.log10(1 / 800)) and loudest_db(click * 0, 16000) == -120
    assert clipped_percent(click) == 0  # one sample is no flat top
    stereo = np.zeros((10, 2), np.float32)
    stereo[2:5, 1] = -1
    assert clipped_percent(stereo) == 30


@pytest.mark.parametrize(
    ("text", "code"), [(GERMAN, "de"), ("红色的连衣裙，夏季新款", "zh"), ("", UNSURE), ("12345", UNSURE), ("XJ-9", UNSURE)]
)
def test_language(text, code):
    assert language(text) == code


def test_the_page_escapes_stands_alone_and_names_its_parts(flawed):
    report = examine(flawed)
    page = render(report, catalog.validate(flawed).items)
    assert "<script" not in page and "&lt;script&gt;alert" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:image/jpeg;base64,|#)", page) and "http" not in page.replace("http-equiv", "")
    assert page.count("<img ") == len(re.findall(r"<img [^>]*alt=\"Picture of [^\"]+\"", page)) == 7
    assert page.count("<h1") == 1 and page.count("<h2") == len(RULES)
    ids = re.findall(r" id=\"([^\"]+)\"", page)
    assert len(ids) == len(set(ids)) and set(re.findall(r"href=\"#([^\"]+)\"", page)) <= set(ids)
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_the_page_of_many_findings_says_what_it_leaves_out(tmp_path):
    catalog.write([Item(str(n), f"Thing {n}") for n in range(MOST + 7)], tmp_path)
    page = render(examine(tmp_path), catalog.read(tmp_path).items)
    assert page.count('class="card"') == MOST and "And 7 more" in page


def test_command(flawed, tmp_path):
    out = tmp_path / "pages" / "report.html"
    plain = run(app, ["data", "report", str(flawed), "-o", str(out)])
    assert plain.exit_code == 0 and "Blank pictures" in plain.stdout and "image: 9 done" in plain.stderr
    assert out.read_text().startswith("<!doctype html>") and not list(out.parent.glob("*.part"))
    answer = json.loads(run(app, ["data", "report", str(flawed), "--json"]).stdout)
    assert answer["counts"] == {kind: len(items) for kind, items in EXPECTED.items()}
    assert {"kind", "item", "measured", "limit"} <= set(answer["findings"][0]) and set(answer["rules"]) == set(RULES)


def test_bad_input_is_one_line_and_exit_1(flawed, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / catalog.FILE).write_text("{broken\n")
    for arguments, word in (
        ([str(tmp_path / "nowhere")], "no catalog.jsonl"),
        ([str(tmp_path / "empty")], "no usable item"),
        ([str(flawed), "-o", str(tmp_path)], "is a folder"),
        ([str(flawed), "-o", "/proc/nowhere/report.html"], "cannot be written"),
    ):
        result = run(app, ["data", "report", *arguments])
        assert result.exit_code == 1 and word in result.stderr, result.stderr
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1
