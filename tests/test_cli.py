"""The command line: one clear line and exit code 1 on bad input; help loads nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmllm import catalog
from mmllm.cli import app, parse_where
from mmllm.errors import QueryError
from mmllm.terminal import ProgressBars

run = CliRunner().invoke


def test_import_and_help_load_neither_torch_nor_gradio():
    code = (
        "import sys, mmllm\n"
        "from typer.testing import CliRunner\n"
        "from mmllm.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'gradio', 'transformers', 'chromadb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["INDEX", "x", "--image", "BAD.png"], "not a picture"),
        (["INDEX", "x", "--image", "EMPTY.png"], "empty"),
        (["INDEX", "x", "--audio", "EMPTY.png"], "empty"),
        (["INDEX", "x", "--audio", "NONE.wav"], "not a file"),
        (["INDEX", "x", "--liked", "nobody"], "unknown item id 'nobody'"),
        (["INDEX", "x", "--where", "size=3"], "unknown attribute 'size'"),
        (["INDEX", "x", "--where", "kind~3"], "name, operator and value"),
        (["INDEX", "x", "--where", "price>=cheap"], "a number"),
        (["INDEX", "x", "--where", "price>=10,20"], "one value after >="),
        (["INDEX"], "the query is empty"),
        (["INDEX", "x", "-k", "0"], "k is 0"),
        (["NOWHERE", "x"], "no finished index"),
    ],
)
def test_bad_input_is_one_line_and_exit_1(shop_index, tmp_path, arguments, word):
    (tmp_path / "BAD.png").write_bytes(b"no picture")
    (tmp_path / "EMPTY.png").write_bytes(b"")
    places = {"INDEX": str(shop_index), "NOWHERE": str(tmp_path / "nowhere")}
    full = [places.get(a, str(tmp_path / a) if a.endswith((".png", ".wav")) else a) for a in arguments]
    result = run(app, ["recommend", *full])
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and word in lines[0]
    assert (shop_index / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("conditions", "where"),
    [
        (["kind!=dogs,cats"], {"kind": {"!=": ["dogs", "cats"]}}),
        (["year==1990"], {"year": {"=": 1990}}),
        (["price (EUR) >= 5", "a/b, c=x"], {"price (EUR)": {">=": 5}, "a/b, c": {"=": "x"}}),
        (["colour=red|blue"], {"colour": {"in": ["red", "blue"]}}),
        (["colour=red,", "colour!=blue"], {"colour": {"=": "red", "!=": ["blue"]}}),
    ],
)
def test_no_part_of_a_condition_is_dropped(conditions, where):
    assert parse_where(conditions) == where


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        (["year>=1990,2000"], "one value after >="),
        (["colour=red", "colour=blue"], "asked for twice"),
        (["colour=red,blue", "colour=green"], "asked for twice"),
        (["year>=1", "year>=2"], "asked for twice"),
        (["colour="], "name, operator and value"),
        (["colour=,"], "name, operator and value"),
        (["=red"], "name, operator and value"),
        (["year=>1990"], "name, operator and value"),
    ],
)
def test_a_condition_that_could_be_dropped_is_refused(conditions, word):
    with pytest.raises(QueryError, match=word):
        parse_where(conditions)


def test_options_out_of_range_and_a_page_without_an_index(shop_index, tmp_path):
    assert run(app, ["serve", str(shop_index), "--port", "99999999"]).exit_code == 2
    assert run(app, ["index", "search", str(shop_index), "x", "-k", "-3"]).exit_code == 2
    result = run(app, ["rerank", str(shop_index), "x", "--candidates", " , "])
    assert result.exit_code == 1 and "expected ids, separated by commas" in result.stderr
    page = Path(__file__).parent.parent / "app.py"
    child = subprocess.run([sys.executable, str(page), str(tmp_path)], capture_output=True, text=True, env=dict(os.environ))
    assert child.returncode == 1 and child.stderr.splitlines()[-1].startswith("error: no finished index")
    assert "Traceback" not in child.stderr


def test_broken_catalog_line_keeps_the_index(shop, shop_index):
    with (shop / catalog.FILE).open("a") as file:
        file.write("{broken\n")
    before = (shop_index / "manifest.json").read_bytes()
    result = run(app, ["data", "validate", str(shop)])
    assert result.exit_code == 1 and "line 13, field 'line'" in result.stderr and "12 items" in result.stdout
    from mmllm.build import build_index
    from mmllm.errors import CatalogError

    with pytest.raises(CatalogError, match="line 13"):
        build_index(shop, shop_index, preset="tiny")
    assert (shop_index / "manifest.json").read_bytes() == before
    assert build_index(shop, shop_index, preset="tiny", skip_bad=True).skipped == 1


def test_bad_interactions_keep_the_index(shop, shop_index):
    catalog.write_interactions([("u", "banana", 5.0, 1), ("u", "nobody", 5.0, 2)], shop)
    good = run(app, ["data", "validate", str(shop)])
    assert good.exit_code == 0 and "2 interactions, 1 of them with items that are not in the catalog" in good.stdout
    (shop / "interactions.csv").write_text("user,item,rating,time\nu,banana,5,1\n")
    before = (shop_index / "manifest.json").read_bytes()
    result = run(app, ["data", "validate", str(shop)])
    assert result.exit_code == 1 and "no column 'timestamp'" in result.stderr and "0 interactions" in result.stdout
    from mmllm.build import build_index
    from mmllm.errors import CatalogError

    with pytest.raises(CatalogError, match="no column 'timestamp'"):
        build_index(shop, shop_index, preset="tiny")
    assert (shop_index / "manifest.json").read_bytes() == before and not (shop_index / ".partial").exists()


def test_a_shops_export_is_imported_and_validated(tmp_path):
    file, out = tmp_path / "shop.csv", tmp_path / "out"
    file.write_text("sku;name;price\n1;Cat;5,00\n2;Dog;12,50 €\n3;Cow;ask us\n;Nobody;1,00\n")
    asked = ["data", "import", "csv", str(file), "-o", str(out), "--id", "sku", "--title", "name", "--attributes", "price"]
    asked += ["--delimiter", ";"]
    refused = run(app, asked)
    assert refused.exit_code == 1 and "shop.csv line 5, field 'sku': empty" in refused.stderr and "--skip-bad" in refused.stderr
    result = run(app, [*asked, "--skip-bad"])
    assert result.exit_code == 0 and "3 items and 0 interactions" in result.stdout
    assert "left out: shop.csv line 5, field 'sku'" in result.stderr and "1 rows were left out" in result.stderr
    assert "price: text, 3 values; 3 of 3 are no number: '5,00', '12,50 €', 'ask us'; `mmllm data import csv --decimal`" in (
        run(app, ["data", "validate", str(out)]).stdout
    )
    run(app, [*asked, "--skip-bad", "--decimal", ","])
    assert "price: mixed, 3 values; 1 of 3 is no number: 'ask us'" in run(app, ["data", "validate", str(out)]).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["TMP/none", "--out", "TMP/new"], "none is not a folder"),
        (["TMP/shop.csv", "--out", "TMP/new"], "mmllm data import csv"),
        (["TMP/shop/catalog.jsonl", "--out", "TMP/new"], "pass the folder of a catalog.jsonl"),
        (["TMP/shop", "--out", "TMP/shop.csv"], "expected a folder for the index"),
        (["TMP/shop", "--out", "TMP/new", "--adapter", "nobodys"], "no adapter 'nobodys'; .*general"),
        (["TMP/shop", "--out", "TMP/new", "--adapter", "words"], "no adapter 'words'"),
        (["TMP/empty", "--out", "TMP/new"], "no pictures or sounds"),
        (["TMP/bad", "--out", "TMP/new"], "line 1, field 'line'"),
    ],
)
def test_a_build_looks_at_what_it_was_given_before_it_fetches_weights(shop, tmp_path, monkeypatch, arguments, words):
    import re

    from mmllm import weights

    (tmp_path / "shop.csv").write_text("sku,name\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / catalog.FILE).write_text("{")
    monkeypatch.setattr(weights, "pull", lambda name: pytest.fail("weights were fetched"))
    result = run(app, ["index", "build", *(a.replace("TMP", str(tmp_path)) for a in arguments)])
    assert result.exit_code == 1 and re.search(words, result.stderr)


def test_a_shipped_adapter_is_found_by_its_name():
    from mmllm import adapter, settings

    assert adapter.find(Path("general")) == settings.data_folder("adapters") / "general"


def test_json_has_the_promised_shape(shop_index):
    result = run(app, ["recommend", str(shop_index), "red apple", "--json", "-k", "2"])
    answer = json.loads(result.stdout)
    told = {"said", "question", "understood", "unclear", "shares", "lang"}
    assert set(answer) == {"recommendations", "stages", "timings_ms", "transcript", "notes", *told} and answer["lang"] == "en"
    first = answer["recommendations"][0]
    assert set(first) == {"id", "title", "rank", "score", "scores", "shares", "explanation", "attributes"}
    assert first["attributes"] == {"kind": "fruit", "colour": ["red"], "price": 20}
    assert set(first["explanation"]) == {"text", "source", "evidence", "note"} and first["explanation"]["evidence"]


def test_rerank_verify_stats_and_chat(shop_index):
    ranked = json.loads(run(app, ["rerank", str(shop_index), "an animal", "--candidates", "dog,saw", "--json"]).stdout)
    assert {r["id"] for r in ranked} == {"dog", "saw"} and [r["rank"] for r in ranked] == [1, 2]
    assert "all files intact" in run(app, ["index", "verify", str(shop_index)]).stdout
    stats = run(app, ["index", "stats", str(shop_index)]).stdout
    assert "items      12" in stats and "tiny-text" in stats and "untrained" in stats
    assert "LM weight  0.0 (none was chosen)" in stats
    talk = run(app, ["chat", str(shop_index)], input="red apple\n/like 1\n/like 99\n/what\nsomething else\n/quit\n")
    assert talk.exit_code == 0 and "noted" in talk.stdout
    assert talk.stderr.count("error: ") == 2


def test_unknown_weights_and_presets():
    assert "unknown weights" in run(app, ["models", "path", "gpt-9"]).stderr
    assert "unknown preset" in run(app, ["models", "pull", "--preset", "huge"]).stderr


@pytest.fixture
def listener(tiny, monkeypatch):
    """The preset's Whisper says how many seconds it heard; nothing of the command is replaced but the weights."""
    from mmllm import speech, weights
    from mmllm.types import Segment, Transcript

    class Clock:
        def hear(self, audio, *, language=None):
            if not np.any(audio):
                return speech.Heard(Transcript(), np.zeros(1))
            return speech.Heard(Transcript(language or "en", (Segment(0.0, 1.0, f"{len(audio) / 16000:.1f} s"),)), np.zeros(1))

    asked = []
    monkeypatch.setattr(weights, "pull", lambda name: asked.append(name))
    monkeypatch.setattr(speech, "open_transcriber", lambda name, *, engine=None: asked.append((name, engine)) or Clock())
    return asked


def sound(file, seconds, level=0.1):
    import soundfile

    soundfile.write(file, (level * np.sin(np.arange(int(seconds * 16000)) * 0.3)).astype(np.float32), 16000)
    return str(file)


def test_transcribe_prints_times_or_json(listener, tmp_path):
    spoken, silent = sound(tmp_path / "a.wav", 2), sound(tmp_path / "b.wav", 1, 0.0)
    found = run(app, ["transcribe", spoken, silent, "--json", "--preset", "tiny", "--language", "de"])
    first, second = json.loads(found.stdout)
    segment = {"start": 0.0, "end": 1.0, "text": "2.0 s"}
    assert first == {"file": spoken, "text": "2.0 s", "language": "de", "segments": [segment]}
    assert second == {"file": silent, "text": "", "language": None, "segments": []}
    plain = run(app, ["transcribe", spoken, silent, "--preset", "tiny", "--engine", "openai-whisper"])
    assert "0.00    1.00  2.0 s" in plain.stdout and "b.wav: no speech was heard" in plain.stdout
    assert listener[-1] == ("whisper-tiny-none", "openai-whisper")


def test_transcribe_names_the_bad_file_and_keeps_the_good(listener, tmp_path):
    good = sound(tmp_path / "good.wav", 2)
    (tmp_path / "bad.wav").write_bytes(b"RIFFnonsense")
    result = run(app, ["transcribe", str(tmp_path / "bad.wav"), good, "--json", "--preset", "tiny"])
    assert result.exit_code == 1 and [a["file"] for a in json.loads(result.stdout)] == [good]
    assert "bad.wav is not a sound" in result.stderr and "error: 1 of 2 files" in result.stderr
    alone = run(app, ["transcribe", str(tmp_path / "bad.wav"), "--preset", "tiny"])
    assert alone.exit_code == 1 and len(alone.stderr.splitlines()) == 1 and "bad.wav is not a sound" in alone.stderr
    missing = run(app, ["transcribe", str(tmp_path / "none.wav"), "--preset", "tiny"])
    assert missing.exit_code == 1 and "none.wav is not a file" in missing.stderr


def test_transcribe_refuses_an_unknown_engine_and_denoise_without_its_extra(tiny, listener, monkeypatch, tmp_path):
    from mmllm import speech

    good = sound(tmp_path / "good.wav", 1)
    monkeypatch.setitem(sys.modules, "noisereduce", None)
    assert run(app, ["transcribe", good, "--denoise", "--preset", "tiny"]).exit_code == 0  # a tone has no voice to bring out
    monkeypatch.setattr(speech, "voices", lambda audio: [speech.Voice(0, len(audio), 0.9)])
    result = run(app, ["transcribe", good, "--denoise", "--preset", "tiny"])
    assert result.exit_code == 1 and "mmllm[denoise]" in result.stderr and "-e '.[denoise]'" in result.stderr
    result = run(app, ["transcribe", good, "--engine", "kaldi", "--preset", "tiny"])
    assert result.exit_code == 1 and "engine is 'kaldi'; expected faster-whisper or openai-whisper" in result.stderr


def test_a_bar_is_of_one_stage_whatever_its_loss(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bars = ProgressBars()
    seen = []
    for step in range(1, 5):
        bars(f"train (loss {5 - step})", step, 4)
        seen.append(bars.bar)
        assert bars.bar.pos == step and bars.bar.label == f"train (loss {5 - step})"
    bars("match", 1, 2)
    assert len(set(map(id, seen))) == 1 and bars.bar is not seen[0] and bars.bar.pos == 1
