"""The retriever and the reranker for LangChain over the tiny index."""

from __future__ import annotations

import pytest

from mmllm.errors import QueryError

documents = pytest.importorskip("langchain_core.documents")
Document = documents.Document


@pytest.fixture
def langchain():
    from mmllm.integrations import langchain

    return langchain


def test_what_stands_for_every_request_is_part_of_it(recommender, langchain):
    retriever = langchain.MmllmRetriever(recommender=recommender, k=12, where={"kind": "tool"}, liked=["hammer"], exclude=["saw"])
    assert {d.metadata["id"] for d in retriever.invoke("something")} == {"wrench", "drill"}
    assert len(langchain.MmllmRetriever(recommender=recommender, k=3).invoke("a red thing")) == 3


def test_both_open_an_index_folder(shop_index, langchain):
    retriever = langchain.MmllmRetriever.load(shop_index, k=2, where={"kind": "animal"})
    found = retriever.invoke("black")
    assert len(found) == 2 and all(d.metadata["attributes"]["kind"] == "animal" for d in found)
    retriever.recommender.close()
    ranked = langchain.MmllmReranker.load(shop_index, top_n=1).compress_documents(found, "a black cat")
    assert len(ranked) == 1 and "relevance_score" in ranked[0].metadata


def test_parts_of_an_item_stay_together_and_either_id_will_do(recommender, langchain):
    reranker = langchain.MmllmReranker(reranker=recommender.reranker, top_n=9)
    parts = [
        Document("a", metadata={"id": "dog"}),
        Document("b", id="saw"),
        Document("c", metadata={"id": "dog"}),
        Document("d", metadata={"id": None}, id="cat"),
    ]
    found = reranker.compress_documents(parts, "an animal")
    assert sorted(d.page_content for d in found) == ["a", "b", "c", "d"]
    order = "".join(d.page_content for d in found)
    assert "ac" in order and [d.metadata["relevance_score"] for d in found] == sorted(
        (d.metadata["relevance_score"] for d in found), reverse=True
    )
    assert len(langchain.MmllmReranker(reranker=recommender.reranker, top_n=2).compress_documents(parts, "x")) == 2
    with pytest.raises(QueryError, match="no id"):
        reranker.compress_documents([Document("x")], "y")
    with pytest.raises(QueryError, match="empty"):
        reranker.compress_documents(parts, " ")
