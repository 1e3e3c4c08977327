"""A label from one CSV, and results as pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as cli
from eval.labels import predict, read, share
from eval.plots import draw
from mmllm.errors import MmllmError
from mmllm.store import Store


@pytest.fixture
def store(shop_index):
    return Store(shop_index)


def write(file, rows, header="id,label"):
    file.write_text("\n".join([header, *(f"{i},{v}" for i, v in rows)]) + "\n")
    return file


def test_what_the_features_tell_is_predicted_and_chance_is_not(store):
    """Labels that follow the text features are learned; the same labels shuffled are not."""
    values = store.features["text"]["values"]
    copies = {n: str(int(values[n % len(values), 0] > np.median(values[:, 0]))) for n in range(len(store.items))}
    found = predict(store, copies, ratio=0.7)
    assert set(found["systems"]) >= {"most frequent", "text", "image", "all side by side", "fused"}
    assert found["learned"] + found["asked"] == len(store.items)
    for row in found["systems"].values():
        low, high = row["accuracy_interval"]
        assert 0 <= low <= row["accuracy"] <= high <= 1
    assert "auc" not in found["systems"]["most frequent"]


def test_a_csv_is_read_and_refused(store, tmp_path):
    ids = [i.id for i in store.items]
    file = write(tmp_path / "labels.csv", [(ids[0], "yes"), (ids[1], "no"), ("stranger", "yes")])
    assert read(file, store, id_column="id", label="label") == {store.row[ids[0]]: "yes", store.row[ids[1]]: "no"}
    for header, label, word in (("id,label", "liked", "no column 'liked'"), ("item,label", "label", "no column 'id'")):
        with pytest.raises(MmllmError, match=word):
            read(write(tmp_path / "x.csv", [(ids[0], "yes")], header), store, id_column="id", label=label)
    with pytest.raises(MmllmError, match="no row"):
        read(write(tmp_path / "x.csv", [("stranger", "yes")]), store, id_column="id", label="label")
    attribute = next(n for i in store.items for n in i.attributes)
    with pytest.raises(MmllmError, match="is an attribute"):
        read(file, store, id_column="id", label=attribute)
    with pytest.raises(MmllmError, match="cannot be read"):
        read(tmp_path / "none.csv", store, id_column="id", label="label")


def test_splits_and_single_labels_are_refused(store):
    assert share("ratio:0.8") == 0.8
    for bad in ("ratio:1", "ratio:x", "half", "global-time"):
        with pytest.raises(MmllmError, match="expected ratio"):
            share(bad)
    with pytest.raises(MmllmError, match="two labels"):
        predict(store, {n: "one" for n in range(len(store.items))}, ratio=0.8)


def test_the_command_predicts_and_draws(store, shop_index, tmp_path):
    rows = [(i.id, "even" if n % 2 else "odd") for n, i in enumerate(store.items)]
    file, out = write(tmp_path / "labels.csv", rows), tmp_path / "found.json"
    ran = CliRunner().invoke(cli.app, ["labels", str(shop_index), str(file), "--split", "ratio:0.7", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert json.loads(out.read_text())["split"] == "ratio:0.7"


def test_a_result_is_drawn_twice_alike_and_another_refused(tmp_path):
    row = {"ndcg@10": 0.2, "ndcg@10_interval": [0.1, 0.3]}
    about = {"dataset": "d", "split": "s", "test_cases": 3, "systems": {"a": row, "b": row | {"base": "a"}}}
    files = draw(about, tmp_path / "one")
    assert [f.suffix for f in files] == [".png", ".svg"] and files[0].read_bytes()[:4] == b"\x89PNG"
    assert files[0].read_bytes() == draw(about, tmp_path / "two")[0].read_bytes()
    drop = {"alone": {"ndcg@10": 0.2, "drop": 0.1, "interval": [0.0, 0.2]}}
    lost = {"adapter": "x", "split": "s", "cases": 3, "conditions": {"all": drop, "only text": drop}}
    assert all(f.stat().st_size > 1000 for f in draw(lost, tmp_path / "three"))
    with pytest.raises(MmllmError, match="without systems"):
        draw({}, tmp_path / "four")
