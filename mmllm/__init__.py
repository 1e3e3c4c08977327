"""mmllm: a recommender that sees, hears, reads and talks, on your own machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmllm.errors import MmllmError
from mmllm.types import Candidate, Evidence, Explanation, Filter, Item, Query, Ranked, Recommendation, Response

if TYPE_CHECKING:
    from mmllm.converse import Conversation
    from mmllm.recommend import Recommender
    from mmllm.rerank import Reranker

__version__ = "0.1.0"
__all__ = [
    "Candidate",
    "Conversation",
    "Evidence",
    "Explanation",
    "Filter",
    "Item",
    "MmllmError",
    "Query",
    "Ranked",
    "Recommendation",
    "Recommender",
    "Reranker",
    "Response",
    "__version__",
]
_LAZY = {"Conversation": "mmllm.converse", "Recommender": "mmllm.recommend", "Reranker": "mmllm.rerank"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import mmllm` must not pull in torch.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mmllm' has no attribute {name!r}")
