"""The causal language model: packed scoring over embeddings, a prefix cache kept across turns, streaming generation, LoRA.

Packed scoring: one shared prefix, then every candidate as its own short segment (`packing`). The score is logit(yes) - logit(no) at the
segment's last position, the readout. What is trained is the model itself, what scores and speaks is made of it (`folding`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmllm import decoding, packing, settings, weights
from mmllm.errors import AdapterError, WeightsError
from mmllm.folding import Folding

RANKING, WORDS = "default", "words"
"""The two LoRAs that can be on: one ranks, the other rewords and reads. None but the one asked for is at work in a pass."""
SEGMENT_TOKENS_PER_PASS = 1024  # bounds the memory of one packed pass; more candidates run in further passes


class LanguageModel:
    """A transformers causal LM in float32 with its tokenizer. Calls are serialised by a lock: it holds one prefix cache per LoRA."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "lm", fingerprint: str = "") -> None:
        self.model, self.tokenizer, self.name, self.fingerprint = model.eval(), tokenizer, name, fingerprint
        self.lock = threading.RLock()
        self.width: int = model.config.hidden_size
        self._table = model.get_input_embeddings()
        self.soft_norm = float(self._table.weight.detach().norm(dim=-1).mean())
        self.yes, self.no = self._answer("yes"), self._answer("no")
        self._prefixes: dict[str, Tensor] = {}  # LoRA -> [P, H], what its cache holds
        self._caches: dict[str, Any] = {}
        self._folding: Folding | None = None
        self.prefix_reused = 0
        """How many prefix positions the last scoring call took from the cache."""

    @classmethod
    def load(cls, name: str) -> LanguageModel:
        """Weights by name, float32 on the CPU (bfloat16 without its instructions is 44 to 500 times slower)."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = weights.path(name)
        torch.set_num_threads(settings.threads())
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        return cls(model, AutoTokenizer.from_pretrained(folder), name=name, fingerprint=weights.fingerprint(folder))

    def _answer(self, word: str) -> int:
        ids = self.tokenizer.encode(word, add_special_tokens=False)
        if not ids:
            raise WeightsError(f"the tokenizer has no token for {word!r}")
        return int(ids[0])

    # ---- text to embeddings ------------------------------------------------------------------------------------------

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text that is already a whole prompt (special tokens are read as such)."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Token ids -> [T, H], without gradient."""
        with torch.no_grad():  # not inference mode: training builds on these
            return self._table(torch.tensor(list(ids), dtype=torch.long))

    # ---- packed scoring ----------------------------------------------------------------------------------------------

    def score(self, prefix: Tensor, segments: Sequence[Tensor], *, lora: str = RANKING) -> Tensor:
        """Scores [N] of segments [L_i, H] after a shared prefix [P, H]; the prefix's cache is kept for the next call with this LoRA.

        What all segments begin with ("Item:") stands at the same positions behind the same prefix: it is computed once, as part of it.
        """
        if not segments:
            return torch.zeros(0)
        common = packing.common(segments)
        prefix, segments = torch.cat([prefix, segments[0][:common]]), [s[common:] for s in segments]
        with self._only(lora):
            cache = self._ensure_prefix(prefix, lora)
            scores: list[Tensor] = []
            for group in packing.groups(segments, SEGMENT_TOKENS_PER_PASS):
                allowed, positions, readouts = packing.pack(len(prefix), group)
                hidden = self._hidden(torch.cat(group), allowed, positions, cache)
                _crop(cache, len(prefix))
                scores.append(self._yes_minus_no(hidden[readouts]))
            return torch.cat(scores)

    def score_lists(self, lists: Sequence[tuple[Tensor, Sequence[Tensor]]], *, folded: bool = False) -> list[Tensor]:
        """Scores [N_b] of several (prefix, segments) lists in one padded pass, with gradients; nothing is cached.

        The same layout as `score`: to train on it is to train what is served. `folded`: without gradients, by the copy that inference runs on,
        in half the time; after a step of training it has to be told of it (`weights_changed`).
        """
        if folded:
            with self._only(RANKING) as folding:
                return self._padded(folding.decoder, lists)
        return self._padded(self._decoder(), lists)

    def _padded(self, decoder: Any, lists: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> list[Tensor]:
        embeds, allowed, positions, readouts = packing.padded(lists)
        device = embeds.device
        hidden = decoder(
            inputs_embeds=embeds,
            attention_mask=packing.additive(allowed).to(device),
            position_ids=positions.to(device),
            use_cache=False,
        ).last_hidden_state
        return [self._yes_minus_no(h[at.to(device)]) for h, at in zip(hidden, readouts, strict=True)]

    def logits(self, embeds: Tensor, at: Tensor | None = None) -> Tensor:
        """Next-token logits [B, T, V] of embeddings [B, T, H], causal, with gradients; for a loss of language.

        With a mask `at` [B, T], those of its n places alone [n, V]: the vocabulary is most of the work of short texts.
        """
        hidden = self._decoder()(inputs_embeds=embeds, use_cache=False).last_hidden_state
        hidden = hidden if at is None else hidden[at]
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        return logits

    def _yes_minus_no(self, hidden: Tensor) -> Tensor:
        """Only two rows of the output matrix are needed, not the vocabulary."""
        head = self.model.get_output_embeddings()
        rows = torch.tensor([self.yes, self.no])
        bias = head.bias[rows] if getattr(head, "bias", None) is not None else None
        logits = torch.nn.functional.linear(hidden, head.weight[rows], bias)
        return logits[:, 0] - logits[:, 1]

    def _decoder(self) -> Any:
        """The stack below the output matrix, whether or not PEFT wraps the model."""
        model = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        return model.get_decoder() if hasattr(model, "get_decoder") else model.model

    @contextmanager
    def _only(self, lora: str) -> Iterator[Folding]:
        """The model with this LoRA and no other, the base model where it is not on; to nobody else until it is given back."""
        with self.lock, torch.inference_mode():
            if self._folding is None:
                self._folding = Folding(self._decoder(), self.model.get_output_embeddings())
            self._folding.lora = lora
            yield self._folding

    def _hidden(self, embeds: Tensor, allowed: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """One pass of what `_only` chose: embeds [T, H], allowed [T, cached + T], positions [T] -> hidden [T, H]."""
        assert self._folding is not None
        out = self._folding.decoder(
            inputs_embeds=embeds.unsqueeze(0),
            attention_mask=packing.additive(allowed).unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state[0]

    def _ensure_prefix(self, prefix: Tensor, lora: str) -> Any:
        """This LoRA's cache, brought to exactly this prefix, computing only what differs from the last one."""
        shared = 0
        cache, kept = self._caches.get(lora), self._prefixes.pop(lora, None)  # not valid again until the pass below has succeeded
        if kept is not None:
            n = min(len(prefix), len(kept))
            differs = (prefix[:n] != kept[:n]).any(dim=1)
            shared = int(differs.int().argmax()) if bool(differs.any()) else n
        if shared == 0:
            from transformers import DynamicCache

            cache = self._caches[lora] = DynamicCache()
        else:
            _crop(cache, shared)
        if shared < len(prefix):
            self._hidden(prefix[shared:], packing.causal(shared, len(prefix)), torch.arange(shared, len(prefix)), cache)
        self._prefixes[lora] = prefix.clone()
        self.prefix_reused = shared
        return cache

    def forget_prefix(self) -> None:
        """Drop the kept prefix caches."""
        self._prefixes, self._caches = {}, {}

    def weights_changed(self) -> None:
        """To be called after a step of training: drop all that was made of the weights as they were."""
        self._folding = None
        self.forget_prefix()

    def score_separately(self, prefix: Tensor, segments: Sequence[Tensor]) -> Tensor:
        """The same scores from one whole prompt per candidate, nothing cached; the yardstick of tests and benchmarks."""
        scores = []
        with self._only(RANKING):
            for segment in segments:
                whole = torch.cat([prefix, segment])
                hidden = self._hidden(whole, packing.causal(0, len(whole)), torch.arange(len(whole)), None)
                scores.append(self._yes_minus_no(hidden[-1:]))
        return torch.cat(scores) if scores else torch.zeros(0)

    # ---- generation --------------------------------------------------------------------------------------------------

    def stream(self, prompt: str, *, max_new_tokens: int = 64, stop: Sequence[str] = ()) -> Iterator[str]:
        """Greedy decoding, yielding pieces of text as they come; ends at the end-of-turn token or a stop string.

        It is the LoRA for words that speaks, or the base model: one that ranks would say "yes".
        """
        end = {self.tokenizer.eos_token_id, *self._end_of_turn()}
        tokens = takewhile(lambda t: t not in end, islice(self._greedy(self.tokens(prompt)), max_new_tokens))
        return decoding.pieces(tokens, partial(self.tokenizer.decode, skip_special_tokens=True), stop)

    def _greedy(self, ids: Sequence[int]) -> Iterator[int]:
        """The likeliest token after the last one, and so on without end.

        What is copied from the text itself, as titles and facts are, is guessed, and several tokens are read in one pass: where the model says
        what was guessed, the pass has said them all.
        """
        from transformers import DynamicCache

        known, cache, held = list(ids), DynamicCache(), 0  # `held`: how much of what is known the cache holds
        while True:
            guessed = decoding.guess(known)
            end = len(known) + len(guessed)
            with self._only(WORDS) as folding:  # taken per pass, so that a scoring turn need not wait for the whole reply
                embeds = self.embed([*known[held:], *guessed])
                hidden = self._hidden(embeds, packing.causal(held, end), torch.arange(held, end), cache)
                said = folding.head(hidden[-1 - len(guessed) :]).argmax(dim=-1).tolist()
                right = decoding.agreed(guessed, said)
                held = len(known) + right
                _crop(cache, held)
            known += said[: right + 1]
            yield from said[: right + 1]

    def generate(self, prompt: str, *, max_new_tokens: int = 64, stop: Sequence[str] = ()) -> str:
        """The whole of `stream` at once."""
        return "".join(self.stream(prompt, max_new_tokens=max_new_tokens, stop=stop))

    def _end_of_turn(self) -> set[int]:
        ids = {self.tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|eot_id|>", "<|endoftext|>")}
        return {i for i in ids if isinstance(i, int) and i >= 0 and i != self.tokenizer.unk_token_id}

    # ---- LoRA --------------------------------------------------------------------------------------------------------

    @property
    def loras(self) -> tuple[str, ...]:
        """Those that are on, of RANKING and WORDS."""
        return tuple(getattr(self.model, "peft_config", ()))

    def attach_lora(self, folder: Path, *, name: str = RANKING) -> None:
        """Put a PEFT adapter on; the folder is plain PEFT. One that ranks and one for words can be on together."""
        from peft import PeftModel

        self._refuse(name)
        with self.lock:
            if self.loras:
                self.model.load_adapter(str(folder), adapter_name=name)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name)
            self.model.eval()
            self.weights_changed()

    def new_lora(
        self,
        *,
        rank: int = 8,
        targets: Sequence[str] = ("q_proj", "v_proj"),
        seed: int = 0,
        name: str = RANKING,
        last: int | None = None,
    ) -> None:
        """Put a fresh LoRA on, to be trained alone (B = 0, so that nothing changes until it is); on all layers, or the `last` so many."""
        from peft import LoraConfig, get_peft_model

        self._refuse(*self.loras)
        with self.lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            count = self.model.config.num_hidden_layers
            layers = None if last is None or last >= count else list(range(count - last, count))
            config = LoraConfig(
                r=rank, lora_alpha=2 * rank, target_modules=list(targets), layers_to_transform=layers, task_type="CAUSAL_LM"
            )
            self.model = get_peft_model(self.model, config, adapter_name=name).eval()
            self.weights_changed()

    def _refuse(self, *names: str) -> None:
        if on := set(names) & set(self.loras):
            raise AdapterError(f"a LoRA adapter is attached already ({', '.join(sorted(on))})", do="load the model again")


def _crop(cache: Any, length: int) -> None:
    extra = cache.get_seq_length() - length
    if extra > 0:
        cache.crop(-extra)  # transformers 5 takes how many to remove, as a negative number
