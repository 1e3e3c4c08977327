"""Importers: something that exists -> a catalog folder. One file each; `IMPORTERS` is name -> "module:function"."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

IMPORTERS: dict[str, str] = {
    "stamps": "mmllm.importers.stamps:import_stamps",
    "emoji": "mmllm.importers.emoji:import_emoji",
    "openclipart": "mmllm.importers.openclipart:import_openclipart",
    "movielens": "mmllm.importers.movielens:import_movielens",
    "csv": "mmllm.importers.csv_file:import_csv",
    "folder": "mmllm.importers.folder:import_folder",
    "hf": "mmllm.importers.hf:import_hf",
}


def importer(name: str) -> Callable[..., Any]:
    """The function of that importer."""
    module, function = IMPORTERS[name].split(":")
    return getattr(import_module(module), function)
