"""The real weights on the real stamps (marked `real`): `make stamps` builds what these need."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mmllm import Query, adapter, settings, weights
from mmllm.lm import LanguageModel
from mmllm.rerank import Reranker
from tests.conftest import STAMPS

pytestmark = pytest.mark.real
MEDIA = STAMPS / "media"


def titles(response):
    return [r.title.casefold() for r in response.recommendations]


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("an animal with a pouch", ("wombat", "kangaroo", "koala", "pelican")),
        ("something to eat that is yellow", ("lemon", "banana", "corn", "pepper")),
        ("a vehicle with wings", ("plane", "raptor")),
        ("一只猫", ("cat",)),
    ],
)
def test_words_bring_a_fitting_stamp(stamps, text, fitting):
    found = titles(stamps.recommend(Query(text=text), k=5))
    assert any(f in t for t in found for f in fitting), found


def shipped(stamps, name):
    manifest = stamps.store.manifest
    language_model = weights.fingerprint(weights.path(settings.preset(manifest.preset).lm))
    encoders = {**manifest.encoders, "projections": manifest.heads}
    return adapter.load(settings.data_folder("adapters") / name, lm_fingerprint=language_model, encoders=encoders)


@pytest.mark.parametrize("name", ["general", "movies"])
def test_a_shipped_adapter_is_over_the_weights_that_this_machine_has(stamps, name):
    loaded = shipped(stamps, name)
    assert loaded.config.name == name and loaded.lora


def test_the_shipped_general_adapter_reads_what_only_a_description_says(stamps):
    loaded = shipped(stamps, "general")
    lm = LanguageModel.load(loaded.config.lm)
    lm.attach_lora(loaded.lora)
    reranker = Reranker(store=stamps.store, lm=lm, adapter=loaded, weight=1.0)
    asked = ["animals-mammals-pig", "animals-marsupials-kangaroo", "animals-birds-magpie"]
    ranked = reranker.rank(Query(text="an animal with a pouch"), asked)
    assert ranked[0].id == "animals-marsupials-kangaroo", ranked


def test_a_picture_brings_itself_then_its_kin(stamps):
    response = stamps.recommend(Query(image=MEDIA / "animals-marsupials-wombat.png"), k=5)
    assert response.recommendations[0].id == "animals-marsupials-wombat"
    kin = [r.item.attributes["category"] for r in response.recommendations[1:]]
    assert kin.count("animals") >= 3, titles(response)


def test_a_picture_with_words_brings_itself_first(stamps):
    response = stamps.recommend(Query(text="an animal like this", image=MEDIA / "animals-marsupials-koala.png"), k=5)
    assert response.recommendations[0].id == "animals-marsupials-koala", titles(response)


def test_a_spoken_wombat_brings_the_wombat(stamps):
    response = stamps.recommend(Query(audio=MEDIA / "animals-marsupials-wombat_voice.ogg"), k=5)
    assert "wombat" in response.transcript.text.casefold()
    assert response.recommendations[0].id == "animals-marsupials-wombat"


def test_silence_gives_no_transcript(stamps):
    rng = np.random.default_rng(0)
    for samples in (np.zeros(32000, np.float32), rng.normal(0, 1e-4, 32000).astype(np.float32)):
        response = stamps.recommend(Query(text="a dog", audio=(16000, samples)))
        assert response.transcript.text == "" and any("no speech" in n for n in response.notes)


def test_packed_scores_equal_separate_prompts(stamps):
    r = stamps.reranker
    prefix = r.prefix(Query(text="a yellow fruit", liked=["food-fruit-banana"]))
    segments = [r.segment(n) for n in range(0, 950, 95)]
    packed, separate = r.lm.score(prefix, segments), r.lm.score_separately(prefix, segments)
    assert torch.allclose(packed, separate, atol=1e-3)


def test_explanations_name_only_what_the_catalog_says(stamps):
    from mmllm.claims import supported

    response = stamps.recommend(Query(text="a red fruit"), k=5, lm_explanations=2)
    for r in response.recommendations:
        if r.explanation.source == "lm":
            assert supported(r.explanation.text, r.title, r.explanation.evidence) == []
        else:
            assert r.explanation.text.startswith(r.title) and r.explanation.note


def test_a_liked_item_is_a_reason_only_where_it_is_near(stamps):
    def reasons(query):
        response = stamps.recommend(query, k=5)
        return {r.title: [e.weight for e in r.explanation.evidence if e.kind == "neighbour"] for r in response.recommendations}

    far = reasons(Query(text="you stupid machine", liked=["animals-marsupials-kangaroo"]))
    assert not any(far.values()), far
    near = reasons(Query(liked=["animals-marsupials-koala"]))
    assert near["A wombat"] and near["A wombat"][0] > 0.4


def test_no_connection_is_opened(stamps, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError(f"a connection was opened: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert stamps.recommend(Query(text="a boat"), k=3).recommendations


def test_langchain(stamps):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from mmllm.integrations.langchain import MmllmReranker, MmllmRetriever

    found = MmllmRetriever(recommender=stamps, k=3).invoke("a red fruit")
    assert len(found) == 3 and all(d.metadata["explanation"] for d in found)
    ranked = MmllmReranker(reranker=stamps.reranker, top_n=2).compress_documents(found, "a red fruit")
    assert len(ranked) == 2 and "relevance_score" in ranked[0].metadata
    with pytest.raises(Exception, match="no id"):
        MmllmReranker(reranker=stamps.reranker).compress_documents([Document("x")], "y")


def test_the_page_answers(stamps):
    import gradio as gr

    from mmllm.ui import build
    from mmllm.ui_page import Page
    from mmllm.ui_session import Ask, Session, answer

    build(stamps)
    turns = list(answer(stamps, Session(), Ask("a red fruit")))
    assert len(turns) > 1 and turns[0][1] == "…" and len(turns[-1][1]) > 20
    after = turns[-1][0]
    assert len(after.state.listed) == 5
    with gr.Blocks():
        page = Page(stamps)
        assert "<img" in str(page.view(after)) and len(page.view(after)) == len(page.seen)
    refused = list(answer(stamps, after, Ask()))
    assert "the query is empty" in refused[0][1] and refused[0][0].state == after.state
