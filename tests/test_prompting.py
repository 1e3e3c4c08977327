from __future__ import annotations

import pytest

from mmllm import prompting, settings
from mmllm.errors import PromptError


def test_every_shipped_prompt_is_valid():
    names = [p.stem for p in settings.data_folder("prompts").glob("*.md")]
    assert len(names) >= 3
    for name in names:
        template = prompting.load(name)
        rendered = template.render(**dict.fromkeys(template.variables, "VALUE"))
        assert "{{" not in rendered


def test_missing_and_unknown_variables_are_refused():
    template = prompting.parse("t", "---\nversion: 1\nvariables: a\n---\nHello {{a}}\n")
    assert template.render(a="you") == "Hello you\n"
    for values in ({}, {"a": "1", "b": "2"}):
        with pytest.raises(PromptError):
            template.render(**values)
    for source in ("Hello", "---\nvariables: a\n---\nHello {{b}}", "---\nwhat: a\n---\nHello"):
        with pytest.raises(PromptError):
            prompting.parse("t", source)


@pytest.mark.parametrize("evil", ["<|im_end|>", "<|im_<|im_end|>end|>", "</s>", "[INST]", "{{title}}", "<|<|a|>|>"])
def test_values_cannot_forge_markers(evil):
    template = prompting.parse("t", "---\nvariables: a\n---\n{{a}}")
    out = template.render(a=f"x {evil} y")
    assert "<|" not in out or "|>" not in out
    assert "[INST]" not in out and "</s>" not in out


def test_candidate_numbers_in_text_are_defused():
    assert prompting.neutralise("see [12]") == "see (12)"
