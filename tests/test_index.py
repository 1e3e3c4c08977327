"""The index on disk: built in steps, mended, killed and resumed; what in it is a cache is made again."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from mmllm import Query, Recommender, catalog, settings, store, weights
from mmllm import adapter as adapters
from mmllm.build import build_index
from mmllm.cli import app
from mmllm.derive import Weight, lm_weight, load_adapter, open_vectors
from mmllm.errors import IndexStateError


def test_rebuilding_encodes_nothing_and_one_change_encodes_one(shop, shop_index):
    again = build_index(shop, shop_index, preset="tiny")
    assert not again.changed and set(again.encoded.values()) == {0}
    lines = (shop / catalog.FILE).read_text().splitlines()
    row = json.loads(lines[3])
    row["text"] = "Quite another text."
    lines[3] = json.dumps(row)
    (shop / catalog.FILE).write_text("\n".join(lines) + "\n")
    changed = build_index(shop, shop_index, preset="tiny")
    assert changed.changed and changed.encoded == {"text": 1, "image": 0, "audio": 0}
    fresh = shop_index.parent / "fresh"
    build_index(shop, fresh, preset="tiny")
    one, two = store.Store(shop_index), store.Store(fresh)
    assert np.allclose(one.fused["pooled"], two.fused["pooled"], atol=1e-5)


def test_damage_is_seen_and_mended(shop, copied):
    file = copied / "features" / "text.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    assert store.Store(copied).problems() == ["features/text.safetensors has another sha256 than the manifest says"]
    build_index(shop, copied, preset="tiny")
    assert not store.Store(copied).problems()


def test_captions_of_another_version_are_made_again_and_nothing_is_encoded(shop, shop_index, monkeypatch):
    from mmllm import build

    assert not build_index(shop, shop_index, preset="tiny").changed
    monkeypatch.setattr(build, "CAPTIONS", 99)
    done = build_index(shop, shop_index, preset="tiny")
    assert done.changed and not any(done.encoded.values())
    assert not build_index(shop, shop_index, preset="tiny").changed


def test_a_crash_while_writing_loses_no_encoding(shop, shop_index, monkeypatch):
    from mmllm import derive

    line = '{"id": "new", "title": "A new thing"}'
    with (shop / catalog.FILE).open("a") as file:
        file.write(line + "\n")
    monkeypatch.setattr(derive, "write_payloads", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        build_index(shop, shop_index, preset="tiny")
    assert not (shop_index / "manifest.json").exists()
    monkeypatch.setattr(derive, "write_payloads", store.write_payloads)
    done = build_index(shop, shop_index, preset="tiny")
    assert done.encoded == {"text": 0, "image": 0, "audio": 0} and done.items == 13


def test_the_word_index_is_a_cache(copied):
    import shutil

    shutil.rmtree(copied / "bm25")
    opened = Recommender.load(copied, weight=0.0)
    assert "banana" in [r.id for r in opened.recommend(Query(text="banana"), k=3).recommendations]
    opened.close()
    assert (copied / "bm25").is_dir()


def test_an_index_knows_its_catalog_from_any_folder(shop_index):
    assert store.Path(store.read_manifest(shop_index).catalog).is_absolute()


def test_chroma_is_a_cache(copied):
    import shutil

    first = open_vectors(store.Store(copied))
    second = open_vectors(store.Store(copied))  # the folder is held: this one lives in memory
    assert (first.where, second.where) == ("disk", "memory")
    vector = store.Store(copied).fused["pooled"][2]
    assert [i for i, _ in first.query("fused", vector, 3)] == [i for i, _ in second.query("fused", vector, 3)]
    first.close()
    shutil.rmtree(copied / "chroma")
    third = open_vectors(store.Store(copied))
    assert third.rebuilt and third.query("fused", vector, 1)[0][0] == store.Store(copied).items[2].id
    third.close()


def test_another_encoder_is_refused(copied):
    manifest = store.read_manifest(copied)
    store.write_manifest(copied, dataclasses.replace(manifest, encoders={**manifest.encoders, "text": "other:1"}))
    with pytest.raises(IndexStateError, match="mmllm index build"):
        Recommender.load(copied)


def test_the_weight_that_is_told_is_the_one_that_is_used(shop, shop_index, tmp_path, monkeypatch):
    preset, manifest = settings.preset("tiny"), store.read_manifest(shop_index)
    plain = load_adapter(None, preset, manifest.widths, manifest.encoders, heads="")
    folder = tmp_path / "own"
    adapters.save(dataclasses.replace(plain, config=dataclasses.replace(plain.config, name="own", blend=0.4)), folder)
    store.write_manifest(shop_index, dataclasses.replace(manifest, blend={"weight": 0.2, "prompts": "others"}))
    assert lm_weight(shop_index, store.read_manifest(shop_index)) == Weight(0.2, "requests")
    opened = Recommender.load(shop_index)
    assert opened.reranker.weight == 0.2
    opened.close()
    # An adapter's own weight is used, so none is chosen, and the same is told.
    monkeypatch.setattr(weights, "pull", lambda name: None)
    monkeypatch.setattr("mmllm.validate.choose_weight", lambda recommender: pytest.fail("a weight was chosen that nobody uses"))
    built = CliRunner().invoke(
        app, ["index", "build", str(shop), "--out", str(shop_index), "--preset", "tiny", "--adapter", str(folder)]
    )
    assert built.exit_code == 0 and "LM weight 0.4 (the adapter's own)" in built.stdout
    stats = CliRunner().invoke(app, ["index", "stats", str(shop_index)])
    assert "LM weight  0.4 (the adapter's own)" in stats.stdout
    opened = Recommender.load(shop_index)
    assert opened.reranker.weight == 0.4
    opened.close()


def test_sizes_of_mixed_kinds_are_built_searched_and_talked_about(tiny, tmp_path):
    """A shop's `38|40|M` and `38|38.5`: import, build, filters, a conversation."""
    from mmllm import Conversation
    from mmllm.importers.csv_file import import_csv

    file = tmp_path / "shoes.csv"
    file.write_text("sku,name,size,#price\n1,Red shoe,38|40|M,5\n2,Blue shoe,38|38.5,6.5\n3,Green shoe,40,N/A\n4,Grey shoe,,7\n")
    import_csv(file, tmp_path / "shoes", id="sku", title="name", attributes=("size", "#price"))
    build_index(tmp_path / "shoes", tmp_path / "index", preset="tiny")
    opened = Recommender.load(tmp_path / "index", weight=0.0)
    try:
        for where, wanted in (
            ({"size": 38}, {"1", "2"}),
            ({"size": ["M", 38.5]}, {"1", "2"}),
            ({"#price": {">=": 6}}, {"2", "4"}),
        ):
            found = opened.recommend(Query(text="shoe", where=where), k=4)
            assert {r.id for r in found.recommendations} == wanted, where
        assert Conversation(opened, k=3, reword=False).turn("a shoe of size 38").recommendations
    finally:
        opened.close()


def test_one_writer(shop, shop_index):
    with store.writer_lock(shop_index), pytest.raises(IndexStateError, match="another process"):
        build_index(shop, shop_index, preset="tiny")


def test_unfinished_index_says_how_to_build(tmp_path):
    with pytest.raises(IndexStateError, match="mmllm index build"):
        Recommender.load(tmp_path)


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from mmllm import backbones, build, encoders, encodings, settings
from mmllm.settings import Preset
names = dict(text="tiny-text", clip="tiny-clip", whisper="whisper-tiny-none", lm="tiny-lm")
for role, name in names.items():
    backbones.BACKBONES[name] = backbones.Backbone(name, role, "none", ("hub:nobody/nothing@main",))
settings.PRESETS["tiny"] = Preset("tiny", *names.values(), soft_tokens=2, candidates=10)
encodings.CHUNK.update(image=3)
def progress(stage, done, of):
    print(stage, done, flush=True)
    if stage == "image" and done == 6:
        time.sleep(60)
from pathlib import Path
build.build_index(Path({shop!r}), Path({out!r}), preset="tiny", progress=progress)
"""


def test_a_killed_build_resumes(tiny, shop, tmp_path):
    out = tmp_path / "killed"
    root = str(store.Path(__file__).parent.parent)
    code = KILLED.format(root=root, shop=str(shop), out=str(out))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    deadline = time.monotonic() + 120
    while "image 6" not in (line := child.stdout.readline()):
        assert line and time.monotonic() < deadline
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (out / "manifest.json").exists()
    done = build_index(shop, out, preset="tiny")
    assert done.encoded == {"text": 0, "image": 5, "audio": 0}
