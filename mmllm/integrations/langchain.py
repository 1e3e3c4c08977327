"""LangChain: `MmllmRetriever` and `MmllmReranker` (extra `langchain`); the only file that imports langchain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from mmllm.rerank import Reranker
from mmllm.types import PathLike, Query


class MmllmRetriever(BaseRetriever):
    """Words -> documents, retrieved, reranked and explained. Metadata: id, title, score, explanation, attributes.

    `where`, `liked` and `exclude` are those of `Query`, and stand for every request.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    recommender: Any
    k: int = 5
    where: Mapping[str, Any] = {}
    liked: Sequence[str] = ()
    exclude: Sequence[str] = ()

    @classmethod
    def load(cls, index: PathLike, **options: Any) -> MmllmRetriever:
        """Open an index folder; options are k, where, liked, exclude."""
        return cls(recommender=Recommender.load(index), **options)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        asked = Query(text=query, where=self.where, liked=self.liked, exclude=self.exclude)
        response = self.recommender.recommend(asked, k=self.k)
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
    """Documents of the same catalog -> the language model's order of them. The metadata `id`, or the document's own, names the item."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    reranker: Any
    top_n: int = 5

    @classmethod
    def load(cls, index: PathLike, *, top_n: int = 5) -> MmllmReranker:
        """Open an index folder."""
        return cls(reranker=Reranker.load(index), top_n=top_n)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best `top_n` documents, with `relevance_score` in their metadata; a document without an id is an error.

        Several documents of one item, such as parts of its text, are scored as that item and stay together in the order they came in.
        """
        of: dict[str, list[Document]] = {}
        for d in documents:
            id_ = d.metadata.get("id") or d.id
            if not id_:
                raise QueryError("a document has no id", expected="metadata['id'] of an item of the catalog")
            of.setdefault(str(id_), []).append(d)
        ranked = self.reranker.rank(Query(text=query), list(of))
        scored = [d.model_copy(update={"metadata": {**d.metadata, "relevance_score": r.score}}) for r in ranked for d in of[r.id]]
        return scored[: self.top_n]
