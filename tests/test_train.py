"""Training on tiny models: what is trained is what is served, a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from typer.testing import CliRunner

from eval import __main__ as cli
from eval.plots import draw
from mmllm import Query, Recommender, catalog, interactions, settings, splits
from mmllm.blending import blend, case_ndcg
from mmllm.build import build_index
from mmllm.data import RankList
from mmllm.errors import MmllmError
from mmllm.lm import LanguageModel
from mmllm.packed import distill_loss, list_loss
from mmllm.rank_model import Case, ItemFeatures, retrieved, score_parts
from mmllm.recipe import Recipe
from mmllm.rerank import Reranker, joined
from mmllm.stages import match_stage, rate
from mmllm.train import prepare, run

RECIPE = """
name = "shop"
index = "index"
splits = ["leave-last-out"]
collaborative = 4
steps = 6
batch = 2
validate_every = 3
validation_cases = 4
validation_candidates = 5
lora_rank = 2
{more}
[lists]
candidates = 5
positives = 1
ahead = 2
depth = 8
history = 4
"""


@pytest.fixture
def liked(shop, shop_index):
    """40 people who like one kind of thing, then the next kind, and never the third."""
    rng = np.random.default_rng(0)
    ids = [i.id for i in catalog.read(shop).items]
    rows = []
    for user in range(40):
        kept = [4 * ((user + step) % 3) + n for step in (0, 1) for n in rng.permutation(4)]
        rows += [(f"u{user}", ids[i], 5.0, 1000 * user + n) for n, i in enumerate(kept)]
    catalog.write_interactions(rows, shop)
    return shop


def recipe(folder, more="", name="recipe.toml"):
    file = folder / name
    file.write_text(RECIPE.format(more=more))
    return file


def test_what_is_trained_is_what_is_served(liked, shop_index, tmp_path):
    file = recipe(tmp_path)
    file.write_text(file.read_text() + "[match]\nepochs = 2\nwidth = 8\nbatch = 4\n")
    file.write_text(file.read_text() + "[distill]\nsteps = 2\nbatch = 2\ncandidates = 5\nreader_rate = 0.1\n")
    found = run(file, tmp_path / "adapter")
    split = splits.SPLITS["leave-last-out"](interactions.read(liked))
    assert found["splits"] == {"leave-last-out": split.hash}, "the harness asks the same split"
    assert found["step"] in (0, 3, 6) and {"retriever", "lm", "match", "blend", "weight", "share"} <= set(found)
    adapter = tmp_path / "adapter"
    assert {
        "mmllm.json",
        "recipe.toml",
        "metrics.json",
        "metrics.jsonl",
        "loss.png",
        "adapter",
        "fusion",
        "collaborative.safetensors",
        "match.safetensors",
    } <= {p.name for p in adapter.iterdir()} and not [p for p in adapter.iterdir() if p.name.startswith(".")]
    assert len((adapter / "metrics.jsonl").read_text().splitlines()) == 3, "what was distilled, and two steps"
    assert json.loads((adapter / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-lm"
    build_index(liked, tmp_path / "served", preset="tiny", adapter=adapter)
    opened = Recommender.load(tmp_path / "served")
    try:
        reranker = opened.reranker
        assert (
            reranker.adapter.config.form == "soft"
            and reranker.weight == json.loads((adapter / "metrics.json").read_text())["weight"]
        )
        setup = prepare(Recipe.read(adapter / "recipe.toml"), tmp_path)
        ids = setup.lists.learned.items
        # The trained weights into the training path; axes of equal weight may come out turned when factors are computed again.
        setup.model.items = ItemFeatures.of(opened.store, ids, reranker.adapter.factors).only(setup.recipe.inputs)
        setup.model.fusion.load_state_dict(load_file(adapter / "fusion" / "model.safetensors"))
        setup.model.match.load_state_dict(load_file(adapter / "match.safetensors"))
        set_peft_model_state_dict(setup.model.lm.model, load_file(adapter / "adapter" / "adapter_model.safetensors"))
        setup.model.lm.weights_changed()
        case = Case(np.array([0, 3]), np.array([1, 2, 5, 7]), np.zeros(4), np.array([5]))
        (_, matched), *_ = score_parts(setup.model.eval(), [case], readouts=False)
        np.testing.assert_allclose(setup.model.whole([case.history])[0][case.candidates], matched, atol=1e-5)
        rows, query = opened.store.rows([ids[i] for i in case.candidates]), Query(liked=[ids[0], ids[3]])
        for share in (0.0, 0.4, 1.0):  # the match alone, both, the readouts alone
            config = replace(reranker.adapter.config, readout=share)
            served = Reranker(store=opened.store, lm=reranker.lm, adapter=replace(reranker.adapter, config=config), weight=1.0)
            assert served.judge(query) == ("match" if share == 0 else "lm")
            trained = joined(*score_parts(setup.model.eval(), [case])[0], share)
            # z-scores of a tiny model's readouts, which hardly differ, multiply what differs by rounding.
            np.testing.assert_allclose(trained, served.score(query, rows), atol=5e-3 if share == 0.4 else 1e-4)
        # It learned from likes: words alone keep the retriever's order, and it is said.
        notes = opened.recommend(Query(text="something red"), k=3).notes
        assert reranker.weight == 0 or any("no liked items" in note for note in notes)
        assert opened.recommend(Query(liked=[ids[0]]), k=3).recommendations
    finally:
        opened.close()


def test_a_resumed_run_is_the_uninterrupted_one(liked, shop_index, tmp_path):
    file = recipe(tmp_path)
    file.write_text(file.read_text() + "[match]\nepochs = 2\nwidth = 8\nbatch = 4\ntaught = 0.5\n")
    file.write_text(file.read_text() + "[distill]\nsteps = 4\nbatch = 2\ncandidates = 5\nfusion_rate = 1e-3\nlikes = 0.3\n")
    run(file, tmp_path / "whole")
    left = []
    # After the match's first epoch, at the distill stage's step 3, at step 2 and 3 of the last stage.
    for stop in (1, 3, 2, 1, None):
        left.append(run(file, tmp_path / "parts", stop_after=stop))
    assert [list(x.items())[0] for x in left[:4]] == [("match_epoch", 1), ("distill_step", 3), ("step", 2), ("step", 3)]
    for name in ("fusion/model.safetensors", "adapter/adapter_model.safetensors", "match.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert all(torch.allclose(whole[k], parts[k], atol=1e-6) for k in whole)
    one, other = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("whole", "parts"))
    assert one["lm"] == pytest.approx(other["lm"], abs=1e-6)


def test_a_refit_learns_the_validation_part_too_and_keeps_what_was_chosen(liked, shop_index, tmp_path):
    match = "[match]\nepochs = 2\nwidth = 8\nbatch = 4\n"
    files = {name: recipe(tmp_path, more, f"{name}.toml") for name, more in (("once", ""), ("again", "refit = true"))}
    for file in files.values():
        file.write_text(file.read_text() + match)
    once, again = (run(file, tmp_path / name) for name, file in files.items())
    split = splits.SPLITS["leave-last-out"](interactions.read(liked))
    assert (once["interactions"], again["interactions"]) == (len(split.train), len(split.refit))
    assert again["refit"] and not once["refit"]
    chosen = ("step", "blend", "weight", "share", "match_weight", "retriever", "validation_cases")
    assert {k: once[k] for k in chosen} == {k: again[k] for k in chosen}
    assert not [p for p in (tmp_path / "again").iterdir() if p.name.startswith(".")]
    for stop in (1, 2, 1, None, 1, None):  # in both trainings
        run(files["again"], tmp_path / "parts", stop_after=stop)
        if (tmp_path / "parts" / "mmllm.json").is_file():
            break
    for name in ("fusion/model.safetensors", "match.safetensors"):
        first, whole, parts = (load_file(tmp_path / n / name) for n in ("once", "again", "parts"))
        assert all(torch.allclose(whole[k], parts[k], atol=1e-6) for k in whole)
        assert any(not torch.allclose(first[k], whole[k], atol=1e-6) for k in whole)


def test_training_lowers_the_loss_and_learns_the_taste(liked, shop_index, tmp_path):
    """The retriever is left out of the loss, so that all has to come from the model."""
    file = recipe(tmp_path, "retriever = 0.0\nlora_rate = 1e-2\nfusion_rate = 1e-2\nmodality_dropout = 0.0\n")
    file.write_text(file.read_text().replace("steps = 6", "steps = 60").replace("validate_every = 3", "validate_every = 20"))
    run(file, tmp_path / "adapter")
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.05


def test_the_language_model_learns_to_score_as_the_retriever_does(liked, shop_index, tmp_path):
    """Without a step of ranking; without a rate of its own the fusion stays what the match made it."""
    file = recipe(tmp_path, "modality_dropout = 0.0\n")
    less = file.read_text().replace("steps = 6", "steps = 0").replace("validate_every = 3", "validate_every = 20")
    file.write_text(less + "[match]\nepochs = 1\nwidth = 8\nbatch = 4\n")
    matched = run(file, tmp_path / "matched")
    file.write_text(file.read_text() + "[distill]\nsteps = 60\nbatch = 4\ncandidates = 6\nlora_rate = 1e-2\n")
    found = run(file, tmp_path / "taught")
    file.write_text(file.read_text() + "fusion_rate = 1e-2\n")
    run(file, tmp_path / "both")
    file.write_text(file.read_text().replace("fusion_rate = 1e-2", "reader_rate = 1e-2"))
    run(file, tmp_path / "read")
    assert "lm" in found and "lm" not in matched and found["step"] == 0
    rows = [json.loads(line) for line in (tmp_path / "both" / "distill.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 60 and rows[-1]["loss"] < rows[0]["loss"] - 0.1, [r["loss"] for r in rows]
    one, other = (load_file(tmp_path / n / "fusion" / "model.safetensors") for n in ("matched", "taught"))
    assert all(torch.equal(one[k], other[k]) for k in one)
    reader = load_file(tmp_path / "read" / "fusion" / "model.safetensors")
    assert reader["reader"].any() and all(torch.equal(one[k], reader[k]) for k in one), (
        "the language model's own map, and nothing else"
    )
    assert (tmp_path / "taught" / "adapter").is_dir() and not (tmp_path / "matched" / "adapter").exists()


def test_what_the_teacher_brought_is_kept_where_ranking_spoils_it(liked, shop_index, tmp_path, monkeypatch):
    """Also in a refit, which ends at the step that was chosen: at none."""
    worse = iter([0.5, 0.9, 0.2, 0.1])  # distilled, before ranking, after three steps and after six

    def fake(model, cases, *, readouts=True):
        return {"lm": 0.0, "greedy": next(worse), "weight": 0.5, "share": 1.0, "blend": 0.0}

    monkeypatch.setattr("mmllm.packed.validate", fake)
    file = recipe(tmp_path, "refit = true\n")
    file.write_text(file.read_text() + "[distill]\nsteps = 3\nbatch = 2\ncandidates = 5\n")
    assert run(file, tmp_path / "adapter")["step"] == 0
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [0, 3, 6] and "loss" not in rows[0]


def test_a_match_that_is_taught_comes_nearer_to_what_the_retriever_expects(liked, shop_index, tmp_path):
    file = recipe(tmp_path, "modality_dropout = 0.0\n")
    plain = (
        file.read_text().replace("steps = 6", "steps = 0")
        + "[match]\nepochs = 10\nwidth = 8\nbatch = 4\nrate = 0.01\ndropout = 0.0\n"
    )
    setup = prepare(Recipe.read(file), tmp_path)
    rows = np.stack([s[:4] for s in setup.lists.sequences])
    apart = []
    for taught in (0.0, 0.9):
        file.write_text(plain + f"taught = {taught}\n")
        setup = prepare(Recipe.read(file), tmp_path)
        assert (setup.expected is not None) == bool(taught)
        (tmp_path / str(taught)).mkdir()
        assert match_stage(setup, tmp_path / str(taught), main=True, progress=lambda *_: None, stop_after=None) is None
        with torch.no_grad():
            table = setup.model.catalog()
            scores = setup.model.match.users(table[rows]) @ setup.model.match.items(table).T * setup.model.match.scale
        found = [torch.from_numpy(setup.lists.expected(rows[n : n + 1], int(f), 2.0))[0] for n, f in enumerate(setup.lists.fold)]
        apart.append(float(-(torch.stack(found) * (scores + setup.popularity).log_softmax(-1)).sum(-1).mean()))
    assert apart[1] < apart[0] - 0.05, apart


def test_in_half_precision_the_model_learns_alike_and_answers_in_full(liked, shop_index, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})  # a tiny model is fast enough without
    file = recipe(tmp_path, 'precision = "bfloat16"')
    setup = prepare(Recipe.read(file), tmp_path)
    batch = [setup.lists.make(n) for n in range(2)]
    whole = setup.model.eval()(batch)
    setup.model.train()
    half = setup.model(batch)
    assert all(s.dtype == torch.float32 for s in half) and not torch.equal(half[0], whole[0])
    assert torch.allclose(half[0], whole[0], atol=0.05)
    torch.stack([s.sum() for s in half]).sum().backward()
    assert all(p.dtype == torch.float32 for p in setup.model.parameters() if p.requires_grad)
    assert run(file, tmp_path / "adapter")["lm"] >= 0
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MmllmError, match='without instructions .*precision = "float32"'):
        prepare(Recipe.read(file), tmp_path)


def test_without_lora_only_the_fusion_is_trained(liked, shop_index, tmp_path):
    file = recipe(tmp_path, 'inputs = ["text", "image"]\nnoise = ["image"]')
    file.write_text(file.read_text().replace("lora_rank = 2", "lora_rank = 0"))
    run(file, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "adapter").exists() and not (tmp_path / "adapter" / "collaborative.safetensors").exists()
    assert json.loads((tmp_path / "adapter" / "mmllm.json").read_text())["lora"] is False


def test_a_stopped_run_can_be_finished_where_it_stands(liked, shop_index, tmp_path):
    file = recipe(tmp_path)
    with pytest.raises(MmllmError, match="no checkpoint"):
        run(file, tmp_path / "adapter", finish=True)
    run(file, tmp_path / "adapter", stop_after=4)
    found = run(file, tmp_path / "adapter", finish=True)
    assert found["step"] == 3 and (tmp_path / "adapter" / "mmllm.json").is_file()


def test_a_stopped_distill_stage_can_be_finished_with_the_match_before_it(liked, shop_index, tmp_path):
    file = recipe(tmp_path)
    plain = file.read_text().replace("steps = 6", "steps = 0") + "[match]\nepochs = 1\nwidth = 8\nbatch = 4\n"
    file.write_text(plain + "[distill]\nsteps = 6\nbatch = 2\ncandidates = 5\n")
    assert run(file, tmp_path / "adapter", stop_after=4) == {"distill_step": 4}
    matched = load_file(tmp_path / "adapter" / ".match" / "state.safetensors")
    assert {"lm", "match"} <= set(run(file, tmp_path / "adapter", finish=True))
    kept = load_file(tmp_path / "adapter" / "match.safetensors")
    assert all(torch.equal(weight, matched[f"model.match.{name}"]) for name, weight in kept.items())
    assert (tmp_path / "adapter" / "adapter").is_dir()


def test_a_match_alone_needs_no_language_model(liked, shop_index, tmp_path, monkeypatch):
    file = recipe(tmp_path)
    file.write_text(
        file.read_text().replace("steps = 6", "steps = 0") + "[match]\nepochs = 12\nwidth = 8\nbatch = 4\nrate = 0.01\n"
    )
    monkeypatch.setattr(LanguageModel, "score_lists", lambda *_: pytest.fail("the language model was asked"))
    found = run(file, tmp_path / "adapter")
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "match.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.05 and found["share"] == 0 and "lm" not in found
    assert not (tmp_path / "adapter" / "adapter").exists() and not (tmp_path / "adapter" / ".match").exists()


def test_a_match_ranks_items_that_nobody_liked_over_the_whole_catalog(liked, shop_index, tmp_path):
    """A fifth of the items is in no training: their recall is measured, and what is lost with each input."""
    text = RECIPE.format(more='inputs = ["text", "image"]').replace("steps = 6", "steps = 0")
    file = tmp_path / "recipe.toml"
    file.write_text(
        text.replace("leave-last-out", "leave-last-out" + splits.COLD)
        + "[match]\nepochs = 2\nwidth = 8\nbatch = 4\ntaught = 0.5\nliked_only = true\n"
    )
    found = run(file, tmp_path / "adapter")
    cold = splits.make("leave-last-out" + splits.COLD, interactions.read(liked))
    assert found["splits"] == {cold.name: cold.hash} and found["interactions"] == len(cold.train)
    common = ["--index", str(shop_index), "--split", cold.name, "--whole"]
    out, lost = tmp_path / "result.json", tmp_path / "lost.json"
    runner = CliRunner()
    given = ["--systems", "popularity", "--adapter", f"own={tmp_path / 'adapter'}", "--out", str(out)]
    ran = runner.invoke(cli.app, ["rank", str(liked), *common, *given])
    assert ran.exit_code == 0, ran.output
    result = json.loads(out.read_text())
    assert result["metric_of_cases"] == "recall@50" and set(result["systems"]) == {"popularity", "own (match)"}
    mean = np.mean(result["cases"]["own (match)"])
    assert result["systems"]["own (match)"]["recall@50"] == pytest.approx(mean, abs=1e-5)
    ran = runner.invoke(cli.app, ["ablate", str(liked), str(tmp_path / "adapter"), *common, "--out", str(lost)])
    assert ran.exit_code == 0, ran.output
    rows = json.loads(lost.read_text())["conditions"]
    assert rows["all"]["match"]["drop"] == 0.0 and {"only text", "image as noise", "80% missing"} <= set(rows)
    assert len(draw(json.loads(lost.read_text()), tmp_path / "lost")) == 2
    ran = runner.invoke(
        cli.app, ["rank", str(liked), *common, "--systems", "popularity", "--adapter", "z=zero-shot", "--out", str(out)]
    )
    assert ran.exit_code == 1 and "without a match" in ran.output


def test_lists_in_one_padded_pass_score_as_alone(tiny):
    lm = LanguageModel.load(settings.preset("tiny").lm)
    generator = torch.Generator().manual_seed(0)
    lists = [
        (torch.randn(p, lm.width, generator=generator), [torch.randn(n, lm.width, generator=generator) for n in sizes])
        for p, sizes in ((5, (2, 3)), (9, (1,)), (3, (4, 2, 2)))
    ]
    with torch.no_grad():
        together = lm.score_lists(lists)
    for found, folded, (prefix, segments) in zip(together, lm.score_lists(lists, folded=True), lists, strict=True):
        assert torch.allclose(found, lm.score_separately(prefix, segments), atol=1e-4)
        assert torch.allclose(found, folded, atol=1e-4)


def test_cases_are_scored_by_the_weights_as_they_are_now(liked, shop_index, tmp_path):
    """Evaluation runs on a copy of the weights, which training would leave behind."""
    setup = prepare(Recipe.read(recipe(tmp_path)), tmp_path)
    case = Case(np.array([0, 3]), np.array([1, 2, 5, 7]), np.zeros(4), np.array([5]))
    before = score_parts(setup.model.eval(), [case])[0][0]
    with torch.no_grad():
        for name, weight in setup.model.lm_module.named_parameters():
            if "lora_B" in name:
                weight.add_(0.5)
    after = score_parts(setup.model, [case])[0][0]
    one = RankList(case.history, case.candidates, np.zeros(0), np.zeros(0))
    assert not np.allclose(before, after) and np.allclose(after, setup.model([one])[0].detach().numpy(), atol=1e-4)


def test_trackers_are_told_what_the_logs_say_and_one_that_is_missing_is_named(liked, shop_index, tmp_path, monkeypatch):
    from accelerate import tracking

    class Kept(tracking.GeneralTracker):
        name, requires_logging_directory, tracker = "kept", False, None

        def __init__(self):
            super().__init__()
            self.told = []

        def store_init_configuration(self, values):
            raise AssertionError("nothing of the recipe is sent")

        def log(self, values, step=None, **_):
            self.told += [(name, step, value) for name, value in values.items()]

    kept, file = Kept(), recipe(tmp_path)
    file.write_text(file.read_text() + "[match]\nepochs = 2\nwidth = 8\nbatch = 4\n")
    run(file, tmp_path / "adapter", log_with=[kept])
    written = set()
    for stage, name in (("match", "match.jsonl"), ("rank", "metrics.jsonl")):
        for row in map(json.loads, (tmp_path / "adapter" / name).read_text().splitlines()):
            written |= {(f"{stage}/{k}", row["step"], v) for k, v in row.items() if k != "step"}
    assert set(kept.told) == written and any(name == "rank/loss" for name, _, _ in written)
    monkeypatch.setattr(tracking, "get_available_trackers", list)
    with pytest.raises(MmllmError, match="'tensorboard' is not installed.*pip install tensorboard"):
        run(file, tmp_path / "again", log_with=["tensorboard"])
    with pytest.raises(MmllmError, match="tracker 'paper'; expected one of .*tensorboard"):
        run(file, tmp_path / "again", log_with=["paper"])


def test_a_bad_recipe_is_named(tmp_path):
    for text, word in (
        ("nonsense", "cannot be read"),
        ('name = "x"', "neither of"),
        ('name = "x"\nindex = "i"\nstep = 3', "'step' is not known"),
        ('name = "x"\nindex = "i"\nsplits = ["mine"]', "split 'mine'"),
        ('name = "x"\nindex = "i"\nform = "words"', "form 'words'"),
        ('name = "x"\nindex = "i"\nform = "text"\n[match]\nepochs = 2', "with form text"),
        ('name = "x"\nindex = "i"\nindexes = ["j"]', "both of"),
        ('name = "x"\nindexes = ["j"]\nrefit = true', "refit with 'indexes'"),
        ('name = "x"\nindexes = ["j"]\n[match]\nepochs = 2', "with 'indexes'"),
        ('name = "x"\nindexes = ["j"]\n[distill]\nsteps = 2', "with 'indexes'"),
        ('name = "x"\nindex = "i"\nlora_rank = 0\n[distill]\nsteps = 2', "something to learn"),
        ('name = "x"\nindex = "i"\nform = "text"\nlora_rank = 0\n[distill]\nsteps = 2\nfusion_rate = 1.0', "something to learn"),
        ('name = "x"\nindex = "i"\nprecision = "int8"', "precision 'int8'"),
        ('name = "x"\nindex = "i"\n[match]\ntaught = 2.0', "share from 0 to 1"),
        ('name = "x"\nindex = "i"\n[match]\nsteps = 3', "'steps' is not known"),
        ('name = "x"\nindex = "i"\n[lists]\nlength = 3', "'length' is not known"),
    ):
        file = tmp_path / "r.toml"
        file.write_text(text)
        with pytest.raises(MmllmError, match=word):
            Recipe.read(file)


def test_a_twin_is_its_base_but_for_what_stands_in_it(liked, shop_index, tmp_path):
    whole = recipe(tmp_path, "modality_dropout = 0.0")
    whole.write_text(whole.read_text() + "[match]\nepochs = 1\nwidth = 8\nbatch = 4\n")
    (tmp_path / "twins").mkdir()
    twin = tmp_path / "twins" / "text.toml"
    twin.write_text('base = "../recipe.toml"\nname = "text"\ninputs = ["text"]\n[match]\nwidth = 6\n[lists]\nhistory = 3\n')
    found, own = Recipe.read(twin), Recipe.read(whole)
    want = replace(
        own,
        name="text",
        inputs=("text",),
        match=replace(own.match, width=6),
        lists=replace(own.lists, history=3),
        index="../index",
    )
    assert found == want and found != own
    run(twin, tmp_path / "adapter")
    kept = Recipe.read(tmp_path / "adapter" / "recipe.toml")
    assert kept == found, "the adapter's recipe needs no other file"
    below = tmp_path / "twins" / "below.toml"
    below.write_text('base = "text.toml"\nname = "below"\n')
    with pytest.raises(MmllmError, match="its base text.toml has a base itself"):
        Recipe.read(below)
    below.write_text('base = "nowhere.toml"\n')
    with pytest.raises(MmllmError, match="nowhere.toml cannot be read"):
        Recipe.read(below)


def test_a_checkpoint_of_another_recipe_is_refused(liked, shop_index, tmp_path):
    run(recipe(tmp_path), tmp_path / "adapter", stop_after=1)
    with pytest.raises(MmllmError, match="another recipe"):
        run(recipe(tmp_path, "seed = 3", "other.toml"), tmp_path / "adapter")


def test_small_pieces_by_hand():
    one = RankList(
        np.array([0]), np.array([1, 2]), np.array([1.0, 0.0], dtype=np.float32), np.array([1.0, -1.0], dtype=np.float32)
    )
    even = torch.tensor([0.0, 0.0])
    want = np.log(1 + np.exp(-2)) + 0.5 * np.log(2)
    assert float(list_loss([even], [one], retriever=1.0, alone=0.5)) == pytest.approx(want, abs=1e-6)
    z = np.array([1.0, -1.0])
    want = np.mean((np.array([0.5, -0.5]) - z) ** 2) + 0.3 * np.log(1 + np.exp(-1.0))
    assert float(distill_loss([torch.tensor([2.0, 1.0])], [one], likes=0.3)) == pytest.approx(want, abs=1e-6)
    nothing = replace(one, gains=np.zeros(2, dtype=np.float32))
    assert float(distill_loss([torch.tensor([2.0, 1.0])], [nothing], likes=0.3)) == pytest.approx(0.25, abs=1e-6)
    assert rate(0, 100, 0.1) == pytest.approx(0.1) and rate(9, 100, 0.1) == 1.0 and rate(99, 100, 0.1) < 0.001
    case = Case(np.array([0]), np.array([4, 5, 6]), np.array([3.0, 2.0, 1.0]), np.array([6, 9]))
    assert case_ndcg(case, np.array([0.0, 1.0, 2.0])) == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert blend(case, np.array([0.0, 0.0, 5.0]), 1.0).argmax() == 2 and blend(case, np.array([0.0, 0.0, 5.0]), 0.0).argmax() == 0


def test_a_target_enters_only_if_it_was_retrieved():
    from mmllm.interactions import Cases

    cases = Cases(5, np.array([0]), (np.array([0]),), (np.array([4]),), (np.array([0, 1]),), np.array([False]))
    found = retrieved(cases, np.array([[9.0, 8.0, 3.0, 2.0, 1.0]]), 2)
    assert found[0].candidates.tolist() == [2, 3]
