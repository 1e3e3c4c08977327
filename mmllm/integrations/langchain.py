"""LangChain: `MmllmRetriever` and `MmllmReranker` (extra `langchain`); the only file that imports langchain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
except ImportError:
    from mmllm.errors import MissingExtraError

    raise MissingExtraError("langchain-core", "langchain") from None

from pydantic import ConfigDict

from mmllm.catalog import document
from mmllm.errors import QueryError
from mmllm.recommend import Recommender
from mmllm.types import Query


class MmllmRetriever(BaseRetriever):
    """Words -> documents, retrieved, reranked and explained. Metadata: id, title, score, explanation, attributes."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    recommender: Any
    k: int = 5

    @classmethod
    def load(cls, index: str, *, k: int = 5) -> MmllmRetriever:
        """Open an index folder."""
        return cls(recommender=Recommender.load(index), k=k)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        response = self.recommender.recommend(Query(text=query), k=self.k)
        return [
            Document(
                page_content=document(r.item),
                id=r.id,
                metadata={
                    "id": r.id,
                    "title": r.title,
                    "score": r.score,
                    "explanation": r.explanation.text,
                    "attributes": {k: list(v) if isinstance(v, tuple) else v for k, v in r.item.attributes.items()},
                },
            )
            for r in response.recommendations
        ]


class MmllmReranker(BaseDocumentCompressor):
    """Documents of the same catalog (metadata `id`) -> the language model's order of them."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    reranker: Any
    top_n: int = 5

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best `top_n`, with `relevance_score` in their metadata; a document without an id is an error."""
        by_id = {str(d.metadata.get("id", d.id)): d for d in documents}
        if "None" in by_id:
            raise QueryError("a document has no id", expected="metadata['id'] of an item of the catalog")
        ranked = self.reranker.rank(Query(text=query), list(by_id))
        return [
            by_id[r.id].model_copy(update={"metadata": {**by_id[r.id].metadata, "relevance_score": r.score}})
            for r in ranked[: self.top_n]
        ]
