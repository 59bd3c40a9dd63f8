"""A causal language model as a policy: pi(a|s) = softmax(logits / temperature), s the prompt and what was written.

Whatever works with a table works with it: only the policy object differs. What is sampled is what is scored: top-k,
top-p and temperature are part of the policy, for `sample` and `log_prob` alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.language.prefixes import Texts, distinct, texts_of
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


class LanguageModelPolicy(SoftmaxPolicy):
    """A causal language model of transformers; observations are token ids (N, L), padded with -1 at the end.

    model        in evaluation mode, whatever `train` says; its parameters are those of the policy
    tokenizer    kept for those who want to read; checked against the model

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
    ) -> None:
        if not hasattr(model, "get_output_embeddings") or model.get_output_embeddings() is None:
            raise TypeError(f"{type(model).__name__} is no causal language model of transformers: it has no head")
        rows = model.get_output_embeddings().weight.shape[0]
        if tokenizer is not None and len(tokenizer) > rows:
            raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model {rows}: they do not match")
        super().__init__(Transformer(model), temperature=temperature, top_k=top_k, top_p=top_p)
        self.tokenizer = tokenizer

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self.engine.model

    @property
    def engine(self) -> Transformer:
        assert isinstance(self.preferences, Transformer)
        return self.preferences

    def train(self, mode: bool = True) -> LanguageModelPolicy:
        """In training, sampling keeps what the gradient needs; the model stays in evaluation mode, without dropout."""
        super().train(mode)
        return self

    @torch.no_grad()
    def sample(
        self, observations: Any, admissible: Any = None, memory: Memory | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Memory]:
        """(actions (N,), log pi of each (N,), memory). With the memory of the step before, one token a row is read."""
        texts = as_tensor(observations, next(self.parameters()))
        over = (texts < 0).all(1)
        if memory is not None and memory.continued(texts):
            cache, n = memory.cache, (texts >= 0).sum(1, keepdim=True)
            logits = self.engine.extend(cache, texts.gather(1, (n - 1).clamp(min=0))[:, 0].clamp(min=0))
        else:
            if memory is not None:  # a row that is over reads what another reads
                texts = torch.where(over[:, None], texts[(~over).long().argmax()], texts)
            logits, cache = self.engine.begin(distinct(texts), texts.shape[1], keep=self.training)
        return *draw(self.shaped(logits, admissible), generator), Memory(texts, over, cache)

    def log_prob(self, batch: Episodes) -> Tensor:
        """log pi(A_t|S_t), (N, T), differentiable; 0 after the end. Episodes that write on read each text once."""
        texts = self._texts(batch)
        return super().log_prob(batch) if texts is None else self.engine.log_prob(texts, self.shaped)

    def entropies(self, batch: Episodes) -> Tensor:
        """-sum over a of pi log pi at every step, (N, T), differentiable; 0 after the end."""
        texts = self._texts(batch)
        return super().entropies(batch) if texts is None else self.engine.entropies(texts, self.shaped)

    def _texts(self, batch: Episodes) -> Texts | None:
        return None if batch.choices is not None else texts_of(batch, next(self.parameters()))
