"""The command line: one clear line and exit code 1 on bad input; help loads nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mmllm import catalog
from mmllm.cli import app

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


def test_json_has_the_promised_shape(shop_index):
    result = run(app, ["recommend", str(shop_index), "red apple", "--json", "-k", "2"])
    answer = json.loads(result.stdout)
    assert set(answer) == {"recommendations", "stages", "timings_ms", "transcript", "notes"}
    first = answer["recommendations"][0]
    assert set(first) == {"id", "title", "rank", "score", "scores", "shares", "explanation"}
    assert set(first["explanation"]) == {"text", "source", "evidence", "note"} and first["explanation"]["evidence"]


def test_rerank_verify_stats_and_chat(shop_index):
    ranked = json.loads(run(app, ["rerank", str(shop_index), "an animal", "--candidates", "dog,saw", "--json"]).stdout)
    assert {r["id"] for r in ranked} == {"dog", "saw"} and [r["rank"] for r in ranked] == [1, 2]
    assert "all files intact" in run(app, ["index", "verify", str(shop_index)]).stdout
    stats = run(app, ["index", "stats", str(shop_index)]).stdout
    assert "items      12" in stats and "tiny-text" in stats and "untrained" in stats
    talk = run(app, ["chat", str(shop_index)], input="red apple\n/like 1\n/like 99\n/what\nsomething else\n/quit\n")
    assert talk.exit_code == 0 and "noted" in talk.stdout
    assert talk.stderr.count("error: ") == 2


def test_unknown_weights_and_presets():
    assert "unknown weights" in run(app, ["models", "path", "gpt-9"]).stderr
    assert "unknown preset" in run(app, ["models", "pull", "--preset", "huge"]).stderr
