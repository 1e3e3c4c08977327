"""Chroma behind add, query and rebuild; the only file that imports chromadb.

Chroma is a cache: its folder is rebuilt from the index's own files when it is missing, of another fingerprint, or broken.
One process at a time may open the folder (two hang or crash in chromadb 1.5); a second one keeps its copy in memory.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmllm.catalog import NAMES
from mmllm.types import Filter, Item, Scalar

log = logging.getLogger(__name__)
STAMP = "fingerprint.json"
BATCH = 1000
HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 400, "max_neighbors": 32, "num_threads": 1}
"""Chroma's defaults lost up to a tenth of the true neighbours of some queries at a depth of 200 (6,000 items), other ones at every build."""
LAYOUT = 2
"""Changes with the keys of `metadata`: a folder of another layout is rebuilt, for it would not be found in."""
BOUNDS = {">=": ("$gte", "most"), ">": ("$gt", "most"), "<=": ("$lte", "least"), "<": ("$lt", "least")}
"""A bound -> Chroma's operator, and which end of a list it asks."""


@dataclass(frozen=True)
class Space:
    """One collection: ids and their unit vectors [n, D]."""

    ids: Sequence[str]
    vectors: np.ndarray


class VectorStore:
    """Cosine spaces of one index in Chroma. `where` it lives is "disk" or "memory"."""

    def __init__(self, client: Any, where: str, rebuilt: bool, lock: Any = None) -> None:
        self.client, self.where, self.rebuilt, self._lock = client, where, rebuilt, lock

    @classmethod
    def open(cls, folder: Path, *, fingerprint: str, spaces: Mapping[str, Space], items: Mapping[str, Item]) -> VectorStore:
        """Open `folder`, or rebuild it; in memory when another process holds it."""
        import chromadb
        from chromadb.config import Settings

        options = Settings(anonymized_telemetry=False)
        lock = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder.parent / ".chroma.lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if lock is not None:
                lock.close()
            log.warning("%s is in use by another process or not writable (%s): an in-memory copy is built", folder, error)
            client = chromadb.EphemeralClient(options)
            store = cls(client, "memory", True)
            # The in-memory client is one per process: names carry the fingerprint, so that two indexes can be open.
            store.prefix = fingerprint[:12]
            store._fill(spaces, items)
            return store
        counts = {n: len(s.ids) for n, s in spaces.items()}
        wanted = {"fingerprint": fingerprint, "spaces": counts, "hnsw": HNSW, "layout": LAYOUT}
        if _stamp(folder) == wanted:
            try:
                store = cls(chromadb.PersistentClient(str(folder), options), "disk", False, lock)
                if all(store._collection(n).count() == len(s.ids) for n, s in spaces.items()):
                    return store
                log.warning("chroma folder has lost rows: rebuilding it")
            except Exception as error:  # noqa: BLE001 - whatever a broken Chroma raises, the answer is to rebuild it
                log.warning("chroma folder is broken (%s): rebuilding it", error)
        _clear(folder)
        store = cls(chromadb.PersistentClient(str(folder), options), "disk", True, lock)
        store._fill(spaces, items)
        (folder / STAMP).write_text(json.dumps(wanted))
        return store

    prefix = "mmllm"

    def _name(self, space: str) -> str:
        return f"{self.prefix}-{space}"

    def _collection(self, space: str) -> Any:
        return self.client.get_collection(self._name(space), embedding_function=None)

    def _fill(self, spaces: Mapping[str, Space], items: Mapping[str, Item]) -> None:
        existing = {c.name for c in self.client.list_collections()}
        for name, space in spaces.items():
            if self._name(name) in existing:
                self.client.delete_collection(self._name(name))
            collection = self.client.create_collection(self._name(name), configuration={"hnsw": HNSW}, embedding_function=None)
            step = min(BATCH, self.client.get_max_batch_size())
            for start in range(0, len(space.ids), step):
                ids = list(space.ids[start : start + step])
                rows = [metadata(items[i]) for i in ids]
                collection.upsert(ids=ids, embeddings=space.vectors[start : start + step], metadatas=rows)

    def query(self, space: str, vector: np.ndarray, k: int, filters: Iterable[Filter] = ()) -> list[tuple[str, float]]:
        """Nearest ids with their cosine similarity, best first."""
        if k < 1:
            return []
        found = self._collection(space).query(
            query_embeddings=[vector.astype(np.float32)], n_results=k, where=where(filters), include=["distances"]
        )
        return [(i, 1.0 - float(d)) for i, d in zip(found["ids"][0], found["distances"][0], strict=True)]

    def close(self) -> None:
        """Give the folder back to other processes."""
        if self._lock is not None:
            self.client.close()
            self._lock.close()
            self._lock = None


def _stamp(folder: Path) -> Any:
    try:
        return json.loads((folder / STAMP).read_text())
    except (OSError, json.JSONDecodeError):
        return None


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def metadata(item: Item) -> dict[str, Any]:
    """Attributes as Chroma metadata: a key names the kind of value before the attribute, numbers are floats, texts in lower case.

    Chroma takes lists of one type only, so a list is kept apart by kind. It compares no list either: the least and the most of its numbers
    stand beside it, for any of them is >= x where the most is.

    >>> metadata(Item("1", "a shoe", attributes={"size": (38, 40, "M"), "new": True}))
    {'_': True, 'numbers:size': [38.0, 40.0], 'least:size': 38.0, 'most:size': 40.0, 'texts:size': ['m'], 'flag:new': True}
    """
    out: dict[str, Any] = {"_": True}  # Chroma refuses empty metadata
    for name, value in item.attributes.items():
        if name == NAMES:
            continue
        if not isinstance(value, tuple):
            kind, folded = _folded(value)
            out[f"{kind}:{name}"] = folded
            continue
        kinds: dict[str, set[Any]] = {}
        for kind, folded in map(_folded, value):
            kinds.setdefault(kind, set()).add(folded)
        for kind, found in kinds.items():
            out[f"{kind}s:{name}"] = sorted(found)
            if kind == "number":
                out |= {f"least:{name}": min(found), f"most:{name}": max(found)}
    return out


def _folded(value: Scalar) -> tuple[str, str | float | bool]:
    """The kind of a value and what Chroma keeps of it: it tells 20 from 20.0, and has no integers beyond 64 bits."""
    if isinstance(value, str):
        return "text", value.casefold()
    return ("flag", value) if isinstance(value, bool) else ("number", float(value))


def where(filters: Iterable[Filter]) -> dict[str, Any] | None:
    """Filters -> Chroma's `where`, which finds what `catalog.matches` does; single and multi-valued attributes are both asked."""
    parts = [_condition(f) for f in filters]
    return None if not parts else parts[0] if len(parts) == 1 else {"$and": parts}


def _condition(f: Filter) -> dict[str, Any]:
    values = [_folded(v) for v in (f.value if isinstance(f.value, tuple) else (f.value,))]
    if f.op in BOUNDS:
        operator, end = BOUNDS[f.op]
        (_, bound), *_ = values
        return {"$or": [{f"number:{f.attribute}": {operator: bound}}, {f"{end}:{f.attribute}": {operator: bound}}]}
    if f.op == "!=":
        return {"$and": [c for kind, v in values for c in _either(f.attribute, kind, v, "$ne", "$not_contains")]}
    any_of = [_either(f.attribute, kind, v, "$eq", "$contains") for kind, v in values]
    if f.op == "all" and len(values) > 1:
        return {"$and": [{"$or": one} for one in any_of]}
    return {"$or": [c for one in any_of for c in one]}


def _either(name: str, kind: str, value: Any, single: str, many: str) -> list[dict[str, Any]]:
    return [{f"{kind}:{name}": {single: value}}, {f"{kind}s:{name}": {many: value}}]
