"""The adapter for words: a LoRA that rewords evidence and reads which words of a turn are wanted. One folder on disk, for any catalog.

adapters/NAME/
  mmllm.json   the language model it was trained over, whether it reads, and from which score on a word is wanted
  adapter/     plain PEFT
It is on beside a LoRA that ranks, and is at work only while words are made or read (`mmllm.lm`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import Tensor

from mmllm import prompting, settings
from mmllm.errors import AdapterError
from mmllm.lm import WORDS, LanguageModel
from mmllm.types import PathLike

SCHEMA = 1
TURN_CHARS = 400
"""How much of a turn is read: its end."""


@dataclass(frozen=True)
class WordsConfig:
    """The content of mmllm.json. `threshold`: from this score, logit(yes) - logit(no), a word is wanted; None where reading was not trained."""

    name: str
    lm: str
    lm_fingerprint: str
    threshold: float | None = None
    schema: int = SCHEMA


def shipped() -> Path:
    """The adapter that comes with the package."""
    return settings.data_folder("adapters") / "words"


def read(folder: Path) -> WordsConfig:
    """The configuration in a folder; a folder of anything else is refused."""
    file = folder / "mmllm.json"
    if not file.is_file():
        raise AdapterError(f"no mmllm.json in {folder}", expected="an adapter for words", do="name another folder")
    row = json.loads(file.read_text(encoding="utf-8"))
    known = {f.name for f in fields(WordsConfig)}
    if set(row) != known or row["schema"] != SCHEMA:
        raise AdapterError(f"{file} is of no adapter for words", expected=f"schema {SCHEMA} with {', '.join(sorted(known))}")
    return WordsConfig(**row)


def save(config: WordsConfig, lm: LanguageModel, folder: Path) -> None:
    """Write the folder from the LoRA that is on."""
    own = lm.model.peft_config[WORDS]
    own.base_model_name_or_path = config.lm  # its name: PEFT would write the folder on this machine
    lm.model.save_pretrained(folder, selected_adapters=[WORDS], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    target = folder / "adapter"
    target.mkdir(exist_ok=True)
    for file in (folder / WORDS).iterdir():  # PEFT puts an adapter of another name than "default" into a folder of that name
        os.replace(file, target / file.name)
    (folder / WORDS).rmdir()
    part = folder / "mmllm.json.part"
    part.write_text(json.dumps(asdict(config), indent=1))
    os.replace(part, folder / "mmllm.json")


def attach(lm: LanguageModel, words: PathLike | bool) -> tuple[WordsConfig | None, str]:
    """Put the adapter on: the shipped one (True), one that is named, or none (False); and what is to be said where there is none.

    A named one that was trained over another language model is refused; the shipped one is left off.
    """
    if words is False:
        return None, "reasons are in the base model's words: the adapter for words was left off"
    folder = shipped() if words is True else Path(words)
    if words is True and not (folder / "mmllm.json").is_file():
        return None, f"reasons are in the base model's words: {folder} holds no adapter"
    config = read(folder)
    if config.lm_fingerprint != lm.fingerprint:
        told = f"adapter {config.name!r} was trained over language model {config.lm} ({config.lm_fingerprint})"
        if words is True:
            return None, f"reasons are in the base model's words: {told}"
        raise AdapterError(told, expected=lm.fingerprint, do="load it with the preset it was trained for")
    lm.attach_lora(folder / "adapter", name=WORDS)
    return config, ""


@dataclass(frozen=True)
class Reader:
    """Which words of a turn the person wants searched for, in one packed pass."""

    lm: LanguageModel
    threshold: float

    def __call__(self, text: str, words: Sequence[str]) -> list[bool]:
        """For each word whether it is wanted."""
        scores = self.lm.score(turn_prefix(self.lm, text), [word_segment(self.lm, w) for w in words], lora=WORDS)
        return [s >= self.threshold for s in scores.tolist()]


def turn_prefix(lm: LanguageModel, text: str) -> Tensor:
    """The shared part [P, H]: the question and the turn."""
    return lm.embed(lm.tokens(prompting.load("read_turn").render(turn=text[-TURN_CHARS:])))


def word_segment(lm: LanguageModel, word: str) -> Tensor:
    """One word [L, H], in small letters, and the turn that asks for an answer."""
    return lm.embed(lm.tokens(prompting.load("read_word").render(word=word.lower())))
