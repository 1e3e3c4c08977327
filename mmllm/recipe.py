"""recipe.toml: everything that a training run is determined by, read and checked."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmllm import settings, splits
from mmllm.adapter import Form
from mmllm.data import DistillSettings, ListSettings
from mmllm.errors import MmllmError
from mmllm.fusion import KINDS
from mmllm.match import MatchSettings
from mmllm.objectives import AlignSettings
from mmllm.redial import TalkSettings
from mmllm.reword import ExplainSettings


@dataclass(frozen=True)
class Recipe:
    """recipe.toml. Paths are relative to the file. With `base`, another recipe's file, it is that one but for what stands in this: a twin.

    With `index`, it learns from the interactions of that index's catalog, and `splits` name what must never be learned
    (`mmllm.splits`). With `indexes`, it learns from requests made from the items of these, and is validated on made requests.
    inputs: what the fusion reads, of text, image, audio, collaborative. noise: of those, which are replaced by noise of the same moments, to
    ask whether they matter. A stage is left out where its count is 0: `align.steps`, `match.epochs`,
    `distill.steps`, `steps`.
    With `dialogues.file` a share of the packed lists is made of what people said there, its training part alone (`mmllm.redial`).
    `explain.steps` makes an adapter for words instead (`mmllm.words_stage`), from the items of `indexes`.
    """

    name: str
    index: str = ""
    indexes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("global-time", "leave-last-out")
    inputs: tuple[str, ...] = ("text", "image", "audio", "collaborative")
    noise: tuple[str, ...] = ()
    form: Form = "soft"
    passages: bool = False
    """Of the text form: what an item's text says of the request is read too (`mmllm.rerank.passage`)."""
    fusion: str = "attention"
    """attention, gated, concat or mean."""
    soft_tokens: int = 1
    collaborative: int = 128
    """Width of the factors of `mmllm.collaborative.Slist`, half of it for what an item says as a liked one."""
    crossfit: bool = False
    """While it is learned from a user, the factors are those that his fold had no part in (`mmllm.data.RankLists.factors`)."""
    steps: int = 1000
    batch: int = 4
    lora_rank: int = 8
    """0 leaves the LM as it is: soft tokens alone are trained."""
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    lora_rate: float = 5e-4
    fusion_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    modality_dropout: float = 0.15
    retriever: float = 1.0
    """How much of the retriever's z-score is added to the LM's score in the loss, at first: it is learned."""
    alone: float = 0.3
    """Weight of the loss of the LM's score alone."""
    validate_every: int = 200
    validation_cases: int = 60
    validation_candidates: int = 30
    refit: bool = False
    """Weight, share and step are chosen on validation; then it is trained again, for as long, with the validation part learned from too."""
    seed: int = settings.SEED
    precision: str = "float32"
    """Of the LM while packed lists are learned: bfloat16 takes less than half the time where the processor can compute in it."""
    requests: int = 2000
    """How many requests are made of each of `indexes`; a tenth validates."""
    quoted: float = 0.0
    """Share of these that are words of an item's text."""
    lists: ListSettings = field(default_factory=ListSettings)
    fluency: float = 0.0
    """Weight of saying items' titles from their soft tokens while ranking is learned."""
    match: MatchSettings = field(default_factory=MatchSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    dialogues: TalkSettings = field(default_factory=TalkSettings)
    align: AlignSettings = field(default_factory=AlignSettings)
    explain: ExplainSettings = field(default_factory=ExplainSettings)

    @property
    def reads(self) -> bool:
        """The language model's readouts are trained."""
        return bool(self.steps or self.distill.steps)

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Parse and check; an unknown name is refused."""
        row = _merged(file)
        tables = {
            "lists": ListSettings,
            "match": MatchSettings,
            "distill": DistillSettings,
            "dialogues": TalkSettings,
            "align": AlignSettings,
            "explain": ExplainSettings,
        }
        parts = {name: row.pop(name, {}) for name in tables}
        for given, known, where in ((row, cls, ""), *((parts[n], t, f"[{n}] ") for n, t in tables.items())):
            if unknown := set(given) - {f.name for f in fields(known)}:
                raise MmllmError(
                    f"{file}: {where}{sorted(unknown)[0]!r} is not known", expected=", ".join(f.name for f in fields(known))
                )
        if "name" not in row:
            raise MmllmError(f"{file} has no 'name'", expected="name = ...")
        if ("index" in row) == ("indexes" in row):
            raise MmllmError(
                f"{file} has {'both' if 'index' in row else 'neither'} of 'index' and 'indexes'", expected="one of them"
            )
        values: dict[str, Any] = _frozen(row)
        recipe = cls(**values, **{n: t(**_frozen(parts[n])) for n, t in tables.items()})
        if unknown := set(recipe.splits) - set(splits.NAMES):
            raise MmllmError(f"{file}: split {sorted(unknown)[0]!r}", expected=", ".join(splits.NAMES))
        if recipe.fusion not in KINDS:
            raise MmllmError(f"{file}: fusion {recipe.fusion!r}", expected=", ".join(KINDS))
        if recipe.precision not in ("float32", "bfloat16"):
            raise MmllmError(f"{file}: precision {recipe.precision!r}", expected="float32 or bfloat16")
        if not 0 <= recipe.match.taught <= 1:
            raise MmllmError(f"{file}: [match] taught = {recipe.match.taught}", expected="a share from 0 to 1")
        forms = ("text", "soft", "soft+title")
        for stage, count in (("match", recipe.match.epochs), ("distill", recipe.distill.steps)):
            if recipe.indexes and count:
                raise MmllmError(
                    f"{file}: [{stage}] with 'indexes'", expected="an 'index' with interactions", do="leave the stage out"
                )
        if recipe.dialogues.file and not (recipe.index and recipe.reads):
            raise MmllmError(
                f"{file}: [dialogues] without 'index' or steps",
                expected="an 'index' whose ids the dialogues name, and packed lists",
            )
        if recipe.indexes and recipe.refit:
            raise MmllmError(f"{file}: refit with 'indexes'", expected="an 'index' with interactions", do="leave it out")
        if recipe.explain.steps and (recipe.index or recipe.reads or recipe.align.steps or recipe.match.epochs):
            raise MmllmError(
                f"{file}: [explain] beside another stage or with 'index'",
                expected="'indexes', steps = 0",
                do="train two adapters",
            )
        fused = recipe.form != "text" and (recipe.distill.fusion_rate > 0 or recipe.distill.reader_rate > 0)
        if recipe.distill.steps and not (recipe.lora_rank or fused):
            raise MmllmError(
                f"{file}: [distill] with lora_rank = 0 and no fusion that learns",
                expected="something to learn",
                do="give a lora_rank, or with a soft form a fusion_rate",
            )
        for stage, count in (("align", recipe.align.steps), ("match", recipe.match.epochs)):
            if recipe.form == "text" and count:
                raise MmllmError(
                    f"{file}: [{stage}] with form text", expected="a form with soft tokens", do="leave the stage out"
                )
        if not 0 <= recipe.quoted <= 1:
            raise MmllmError(f"{file}: quoted = {recipe.quoted}", expected="a share from 0 to 1")
        if recipe.passages and recipe.form != "text":
            raise MmllmError(f"{file}: passages with form {recipe.form}", expected="form text", do="leave passages out")
        if recipe.form not in forms:
            raise MmllmError(f"{file}: form {recipe.form!r}", expected=" or ".join(forms))
        return recipe


def text(file: Path) -> str:
    """The recipe as a file that needs no other: its own text, or with a `base` the values of both."""
    if "base" not in _parsed(file):
        return file.read_text(encoding="utf-8")
    # What JSON writes of words, numbers, truths and lists of them, TOML reads.
    row = _merged(file)
    plain = [f"{k} = {json.dumps(v)}" for k, v in row.items() if not isinstance(v, dict)]
    for name, table in ((k, v) for k, v in row.items() if isinstance(v, dict)):
        plain += ["", f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    return "\n".join(plain) + "\n"


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MmllmError(f"{file} cannot be read as a recipe: {error}", expected="TOML") from None


def _merged(file: Path) -> dict[str, Any]:
    """What stands in the file over what stands in its `base`, whose paths are made the file's."""
    row = _parsed(file)
    if "base" not in row:
        return row
    other = (file.parent / str(row.pop("base"))).resolve()
    below = _parsed(other)
    if "base" in below:
        raise MmllmError(f"{file}: its base {other.name} has a base itself", expected="a recipe that needs no other")

    def moved(path: str) -> str:
        return os.path.relpath(other.parent / path, file.resolve().parent)

    if "index" in below:
        below["index"] = moved(below["index"])
    if "indexes" in below:
        below["indexes"] = [moved(p) for p in below["indexes"]]
    if below.get("dialogues", {}).get("file"):
        below["dialogues"]["file"] = moved(below["dialogues"]["file"])
    tables = {k: {**below.get(k, {}), **v} for k, v in row.items() if isinstance(v, dict)}
    return below | row | tables


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
