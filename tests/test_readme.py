"""What README and its Chinese twin tell a newcomer to do, done: the shop from a table, every snippet of Python; and what they have to name."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mmllm import Recommender, cli_data, settings, weights
from mmllm.build import build_index
from mmllm.cli import app
from mmllm.ui_text import TEXTS
from tests.conftest import BUILT, ROOT, STAMPS

READMES = ("README.md", "README.zh-CN.md")


def text(readme):
    return (ROOT / readme).read_text(encoding="utf-8")


def blocks(readme, kind):
    """The code blocks of a kind ("" for plain ones), in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(readme), flags=re.MULTILINE | re.DOTALL)
    return [body for name, body in found if name == kind]


@pytest.mark.parametrize("readme", READMES)
def test_the_shop_of_the_readme_can_be_built_and_asked(readme, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "pull", lambda name: None)
    (table,) = blocks(readme, "csv")
    Path("shop.csv").write_text(table, encoding="utf-8")
    for name in re.findall(r"\w+\.png", table):
        Image.new("RGB", (32, 32), "grey").save(name)
    (commands,) = [b.splitlines() for b in blocks(readme, "") if "data import csv" in b]
    done = []
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "serve":
            continue
        own = ["--preset", "tiny", "--no-blend"] if words[:2] == ["index", "build"] else []
        result = CliRunner().invoke(app, [*words, *own])
        assert result.exit_code == 0, (command, result.stderr)
        done.append(words[:2])
    assert done == [["data", "import"], ["data", "validate"], ["index", "build"]]
    assert shlex.split(commands[-1])[1:] == ["serve", "index/shop"]
    opened = Recommender.load("index/shop")
    assert len(opened.store.items) == 3 and opened.store.items[0].attributes["colour"] == ("red", "white")
    opened.close()
    (python,) = [b for b in blocks(readme, "python") if "build_index" in b]
    called = next(
        n for n in ast.walk(ast.parse(python)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "build_index"
    )
    inspect.signature(build_index).bind(*called.args)
    assert not build_index(Path("catalogs/shop"), Path("index/shop"), preset="tiny").changed


def test_both_readmes_name_every_importer_variable_and_preset():
    importers = {c.name for c in cli_data.importers.registered_commands}
    variables = set(re.findall(r'environ\.get\("(\w+)"', inspect.getsource(settings))) - {"XDG_CACHE_HOME"}
    assert {"MMLLM_HOME", "MMLLM_WEIGHTS", "MMLLM_THREADS", "HF_HUB_OFFLINE", "MMLLM_WHISPER_ENGINE"} == variables
    for readme in READMES:
        told = text(readme)
        (line,) = re.findall(r"^mmllm data import (\S+\|\S+)", told, flags=re.MULTILINE)
        assert set(line.split("|")) == importers, readme
        for name in (*variables, *settings.PRESETS, "lm_explanations", "similar", "`names`", "examples.txt"):
            assert name in told, (readme, name)


def test_what_the_page_keeps_is_told_by_the_name_of_its_box():
    told = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
    assert f"“{TEXTS['remember'][0]}”" in told and f"“{TEXTS['forget'][0]}”" in told and "browser:" in told
    assert f"“{TEXTS['remember'][0]}”" in text("README.md")


@pytest.mark.real
@pytest.mark.parametrize("readme", READMES)
def test_every_snippet_runs_and_the_conversation_is_of_its_own_list(readme, stamps_index, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "index" / "stamps").mkdir(parents=True)
    (tmp_path / "index" / "stamps" / "built").symlink_to(BUILT)
    Image.open(STAMPS / "media" / "animals-marsupials-koala.png").convert("RGB").save("photo.jpg")
    snippets = [b for b in blocks(readme, "python") if "build_index" not in b]
    assert len(snippets) >= 2
    for snippet in snippets:
        names: dict = {}
        exec(snippet, names)  # README's own lines
        printed = capsys.readouterr().out
        if "talk" in names:
            first, second, why = printed.splitlines()
            assert why.startswith(ast.literal_eval(second)[0]) and "on the list" not in why and "wombat" in first
            names["talk"].recommender.close()
        elif "recommender" in names:
            assert printed.startswith("1 ") and [r.rank for r in names["ranked"]] == [1, 2]
            names["recommender"].close()
        else:
            assert len(names["best"]) == 3 and all(d.metadata["attributes"]["category"] == "animals" for d in names["best"])
            names["retriever"].recommender.close()
