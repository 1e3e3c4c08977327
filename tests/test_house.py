"""The house's own rules: who imports whom, what the README's tree says, what is exported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import mmllm

ROOT = Path(__file__).parent.parent
ORDER = [
    "errors",
    "types",
    "texts",
    "settings",
    "catalog_row",
    "catalog",
    "interactions",
    "splits",
    "collaborative",
    "media",
    "backbones",
    "carriers",
    "weights",
    "projection",
    "clip_mini",
    "caption",
    "caption_model",
    "encoders",
    "whisper_weights",
    "whisper_engines",
    "speech",
    "fusion",
    "match",
    "packing",
    "decoding",
    "folding",
    "lm",
    "adapter",
    "store",
    "vector_store",
    "prompting",
    "lexical",
    "wording",
    "query_check",
    "retrieve",
    "synonyms",
    "schema",
    "derive",
    "encodings",
    "build",
    "rerank",
    "claims",
    "explain",
    "recommend",
    "validate",
    "profile",
    "dialogue",
    "verdicts",
    "titles",
    "mentions",
    "measures",
    "critiques",
    "clauses",
    "spans",
    "refusals",
    "values",
    "understand",
    "talk",
    "parts",
    "converse",
    "contrast",
    "align",
    "data",
    "redial",
    "rank_model",
    "blending",
    "objectives",
    "reword",
    "recipe",
    "checkpoint",
    "requests",
    "chatter",
    "stages",
    "packed",
    "words_stage",
    "train",
    "train_clip",
    "adapt",
    "near_duplicates",
    "quality",
    "report",
    "report_page",
    "ui_text",
    "ui_cards",
    "ui_style",
    "ui_session",
    "ui_pieces",
    "ui_page",
    "ui",
    "terminal",
    "cli_chat",
    "cli_data",
    "cli_speech",
    "cli_train",
    "cli_index",
    "cli_models",
    "cli",
]
# Loaded where they are needed, because they stand above or are heavy; each with its reason in the code.
UPWARD = {
    ("weights", "clip_mini"),
    ("encoders", "speech"),
    ("rerank", "recommend"),
    ("clip_mini", "weights"),
    ("cli_train", "cli"),
    ("train", "terminal"),  # its own command for accelerate launch
}
ONLY = {
    "chromadb": {"vector_store"},
    "gradio": {"ui", "ui_page", "ui_pieces"},
    "peft": {"lm", "adapter", "train"},
    "langchain_core": {"langchain"},
    "imagehash": {"near_duplicates"},
    "py3langid": {"report"},
    "typer": {"cli", "cli_chat", "cli_data", "cli_index", "cli_models", "cli_speech", "cli_train", "terminal"},
    "whisper": {"whisper_engines"},
    "noisereduce": {"media"},
}


def imports(file: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{a.name}" for a in node.names} | {node.module}
    return names


def test_every_module_has_its_place_and_imports_from_above_only():
    files = {p.stem: p for p in (ROOT / "mmllm").glob("*.py") if p.stem != "__init__"}
    assert set(files) == set(ORDER)
    for name, file in files.items():
        for target in imports(file):
            found = re.match(r"mmllm\.(\w+)", target)
            if found and found[1] in ORDER and (name, found[1]) not in UPWARD:
                assert ORDER.index(found[1]) < ORDER.index(name), f"{name} imports {found[1]}, which stands below it"


def test_libraries_have_one_door():
    for file in (ROOT / "mmllm").rglob("*.py"):
        for target in imports(file):
            package = target.split(".")[0]
            if package in ONLY:
                assert file.stem in ONLY[package], f"{file.stem} imports {package}"


def test_exports_are_importable():
    assert sorted(mmllm.__all__) == sorted(set(mmllm.__all__))
    for name in mmllm.__all__:
        assert getattr(mmllm, name) is not None


def test_the_readmes_tree_matches_the_folder():
    for readme in ("README.md", "README.zh-CN.md"):
        text = (ROOT / readme).read_text(encoding="utf-8")
        named = set(re.findall(r"^  (\w+\.py)\b", text, flags=re.MULTILINE))
        assert named == {f"{m}.py" for m in ORDER}, readme


def test_no_pickle_no_shell_no_eval():
    for file in (ROOT / "mmllm").rglob("*.py"):
        source = file.read_text()
        assert not re.search(r"import pickle|pickle\.load|shell=True|trust_remote_code=True|(?<![.\w])(eval|exec)\(", source), (
            file
        )
        assert source.count("torch.load(") == len(re.findall(r"torch\.load\(.*weights_only=True\)", source)), file
