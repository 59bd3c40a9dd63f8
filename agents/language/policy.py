"""A causal language model as a policy: pi(a|s) = softmax(logits / temperature), s the prompt and what was written.

Whatever works with a table works with it: only the policy object differs. What is sampled is what is scored: top-k,
top-p and temperature are part of the policy, for `sample` and `log_prob` alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.language.fast import Llama, Unfit
from agents.language.fast import Memory as FastMemory
from agents.language.prefixes import Prompts, Texts, distinct, places, texts_of
from agents.language.transformer import Transformer
from agents.policies import SoftmaxPolicy
from agents.policies.decoding import draw
from agents.policies.preferences import as_tensor
from mdp import Episodes


@dataclass
class Memory:
    """What `sample` remembers: the texts (n, L) that were seen, the rows that are over, and the model's cache."""

    seen: Tensor
    over: Tensor
    cache: Any

    def continued(self, texts: Tensor) -> bool:
        """Each row is what was seen and one token more, or is over."""
        n = (texts >= 0).sum(1)
        over = n == 0
        before = torch.where(self.seen >= 0, self.seen, texts)
        grown = (n == (self.seen >= 0).sum(1) + 1) & (before == texts).all(1)
        return bool(((grown & ~self.over) | over).all())


@dataclass
class Kept:
    """What the fast path multiplied while it sampled: the texts that it read (n, L), their prompts, its memory, and the
    versions of the parameters then."""

    read: Tensor
    prompts: Prompts
    memory: FastMemory
    versions: list[int]

    def of(self, texts: Texts) -> tuple[Prompts, FastMemory | None]:
        """Prompts and memory of some of these texts, in their order; without memory where one was not sampled."""
        rows = places(texts.read, self.read)
        if rows is None:
            return texts.prompts, None
        if torch.equal(rows, torch.arange(len(self.read), device=rows.device)):
            return self.prompts, self.memory
        asked, copies = torch.unique(self.prompts.copies[rows], return_inverse=True)
        prompts = Prompts(self.prompts.ids[asked], self.prompts.lengths[asked], copies)
        return prompts, self.memory.rows(rows, asked)


class LanguageModelPolicy(SoftmaxPolicy):
    """A causal language model of transformers; observations are token ids (N, L), padded with -1 at the end.

    model        in evaluation mode, whatever `train` says; its parameters are those of the policy
    tokenizer    kept for those who want to read; checked against the model
    fast         a Llama goes the fast path, which needs no forward pass for the gradient of its own samples; `unfit`
                 says why a model does not

    An observation without tokens is the end of an episode: what is drawn there means nothing. Raises ValueError for a
    tokenizer with more tokens than the model, TypeError for a model that gives no logits.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        fast: bool = True,
    ) -> None:
        if not hasattr(model, "get_output_embeddings") or model.get_output_embeddings() is None:
            raise TypeError(f"{type(model).__name__} is no causal language model of transformers: it has no head")
        rows = model.get_output_embeddings().weight.shape[0]
        if tokenizer is not None and len(tokenizer) > rows:
            raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model {rows}: they do not match")
        super().__init__(Transformer(model), temperature=temperature, top_k=top_k, top_p=top_p)
        self.tokenizer = tokenizer
        self.unfit = "it was not asked for"
        self._fast: Llama | None = None
        self._kept: Kept | None = None
        if fast:
            try:
                self._fast, self.unfit = Llama(model), ""
            except Unfit as error:
                self.unfit = str(error)

    @property
    def transformer(self) -> Transformer:
        """The model by its own forward pass."""
        assert isinstance(self.preferences, Transformer)
        return self.preferences

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self.transformer.model

    def train(self, mode: bool = True) -> LanguageModelPolicy:
        """In training, sampling keeps what the gradient needs; the model stays in evaluation mode, without dropout."""
        super().train(mode)
        return self

    @torch.no_grad()
    def sample(
        self, observations: Any, admissible: Any = None, memory: Memory | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Memory]:
        """(actions (N,), log pi of each (N,), memory). With the memory of the step before, one token a row is read."""
        engine = self._fast or self.transformer
        texts = as_tensor(observations, next(self.parameters()))
        over = (texts < 0).all(1)
        if memory is not None and memory.continued(texts):
            cache, n = memory.cache, (texts >= 0).sum(1, keepdim=True)
            logits = engine.extend(cache, texts.gather(1, (n - 1).clamp(min=0))[:, 0].clamp(min=0))
        else:
            if memory is not None:  # a row that is over reads what another reads
                texts = torch.where(over[:, None], texts[(~over).long().argmax()], texts)
            self._kept = None
            prompts = distinct(texts)
            logits, cache = engine.begin(*prompts, texts.shape[1], self.training)
            if isinstance(cache, FastMemory) and self.training:
                self._kept = Kept(texts.clone(), prompts, cache, self._versions())
        if self._kept is not None and self._kept.memory is cache:
            self._kept.read = torch.where(over[:, None], self._kept.read, texts)
        return *draw(self.shaped(logits, admissible), generator), Memory(texts, over, cache)

    def log_prob(self, batch: Episodes) -> Tensor:
        """log pi(A_t|S_t), (N, T), differentiable; 0 after the end. Episodes that write on read each text once."""
        texts = self._texts(batch)
        if texts is None:
            return super().log_prob(batch)
        if self._fast is None:
            return self.transformer.log_prob(texts, self.shaped)
        if self._kept is not None and self._kept.versions != self._versions():
            self._kept = None
        prompts, memory = texts.prompts, None
        if self._kept is not None:
            prompts, memory = self._kept.of(texts)
        return self._fast.log_prob(*prompts, texts.completions, texts.mask, self.shaped, self.temperature, memory)

    def entropies(self, batch: Episodes) -> Tensor:
        """-sum over a of pi log pi at every step, (N, T), differentiable; 0 after the end."""
        texts = self._texts(batch)
        return super().entropies(batch) if texts is None else self.transformer.entropies(texts, self.shaped)

    def _texts(self, batch: Episodes) -> Texts | None:
        return None if batch.choices is not None else texts_of(batch, next(self.parameters()))

    def _versions(self) -> list[int]:
        """These go up when a parameter is changed."""
        return [p._version for p in self.parameters()]
