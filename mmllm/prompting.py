"""Prompt templates: load, validate, render. Templates are data (`prompts/NAME.md`), never Python.

A template has a front matter of `name: value` lines (variables, version, optional reply pattern) and a body in which `{{name}}`
stands for a variable. A missing variable is refused, and so is an unknown one. Values are neutralised: item text cannot forge a
special token or a candidate number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmllm import settings
from mmllm.errors import PromptError

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_SPECIAL = re.compile(r"<\|[^|<>]{0,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|\[\d+\]")


@dataclass(frozen=True)
class Template:
    """One prompt; `variables` are exactly those that the body uses."""

    name: str
    version: str
    variables: tuple[str, ...]
    body: str
    reply: str | None = None

    def render(self, **values: str) -> str:
        """The body with every variable filled in, each value neutralised."""
        if missing := [v for v in self.variables if v not in values]:
            raise PromptError(f"prompt {self.name!r} was not given {missing[0]!r}", expected=", ".join(self.variables))
        if unknown := [v for v in values if v not in self.variables]:
            raise PromptError(f"prompt {self.name!r} does not know {unknown[0]!r}", expected=", ".join(self.variables))
        return _SLOT.sub(lambda m: neutralise(values[m[1]]), self.body)


def neutralise(text: str) -> str:
    """Defuse what a tokenizer or a reply parser would take for a marker.

    >>> neutralise("[3] best<|im_end|>")
    '(3) best'
    """
    while (clean := _SPECIAL.sub(lambda m: f"({m[0][1:-1]})" if m[0][1:-1].isdigit() else "", text)) != text:
        text = clean  # removing one marker can join the halves of another
    return text


def parse(name: str, source: str) -> Template:
    """Template text -> Template, validated."""
    found = re.fullmatch(r"---\n(.*?)\n---\n(.*)", source, flags=re.DOTALL)
    if not found:
        raise PromptError(f"prompt {name!r} has no front matter", expected="--- lines around `name: value` lines")
    head: dict[str, str] = {}
    for line in found[1].splitlines():
        key, colon, value = line.partition(":")
        if not colon or key.strip() not in ("version", "variables", "reply"):
            raise PromptError(f"prompt {name!r} has {line!r} in its front matter", expected="version, variables or reply")
        head[key.strip()] = value.strip()
    declared = tuple(v.strip() for v in head.get("variables", "").split(",") if v.strip())
    used = set(_SLOT.findall(found[2]))
    if set(declared) != used:
        odd = sorted(set(declared) ^ used)[0]
        raise PromptError(f"prompt {name!r}: {odd!r} is declared or used, but not both", expected="the same on both sides")
    return Template(name, head.get("version", "1"), declared, found[2].rstrip("\n") + "\n", head.get("reply"))


@cache
def load(name: str, folder: Path | None = None) -> Template:
    """The template `prompts/NAME.md`."""
    file = (folder or settings.data_folder("prompts")) / f"{name}.md"
    if not file.is_file():
        raise PromptError(f"no prompt {name!r} in {file.parent}", expected=f"a file {file.name}")
    return parse(name, file.read_text(encoding="utf-8"))
