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
from agents.language.prefixes import Prompts, Texts, distinct, places, texts_of
from agents.language.transformer import Cache, Transformer
from agents.policies import SoftmaxPolicy
from agents.policies.decoding import draw
from agents.policies.preferences import as_tensor
from mdp import Episodes


@dataclass
class Memory:
    """What `sample` remembers: the texts (n, L) that were seen, without tokens where a row is over, and the cache."""

    seen: Tensor
    cache: Any

    def continued(self, texts: Tensor) -> bool:
        """Each row is what was seen and one token more, or is over."""
        n, were = (texts >= 0).sum(1), (self.seen >= 0).sum(1)
        before = torch.where(self.seen >= 0, self.seen, texts)
        grown = (were > 0) & (n == were + 1) & (before == texts).all(1)
        return bool((grown | (n == 0)).all())


@dataclass
class Sampled:
    """What was multiplied while sampling: the texts that were read (n, L), their prompts, the products, and the
    versions of the parameters then."""

    read: Tensor
    prompts: Prompts
    products: Any
    versions: list[int]

    def of(self, texts: Texts) -> tuple[Texts, Any]:
        """Some of these texts, with these prompts, and their products; None where one of them was not sampled."""
        if texts.read.shape == self.read.shape and torch.equal(texts.read, self.read):
            return texts._replace(prompts=self.prompts), self.products
        rows = places(texts.read, self.read)
        if rows is None:
            return texts, None
        asked, copies = torch.unique(self.prompts.copies[rows], return_inverse=True)
        prompts = Prompts(self.prompts.ids[asked], self.prompts.lengths[asked], copies)
        return texts._replace(prompts=prompts), self.products.rows(rows, asked)


class LanguageModelPolicy(SoftmaxPolicy):
    """A causal language model of transformers; observations are token ids (N, L), padded with -1 at the end.

    model        in evaluation mode, whatever `train` says; its parameters are those of the policy
    tokenizer    kept for those who want to read; checked against the model
    fast         a Llama goes the fast path, which needs no forward pass for the gradient of its own samples; `unfit`
                 says why a model does not

    An observation without tokens is the end of an episode: what is drawn there means nothing. Raises ValueError for a
    tokenizer with more tokens than the model, TypeError for a model that gives no logits.

    >>> from agents import LanguageModelPolicy, ReinforceLoss, audit, random_model
    >>> from envs import TokenMDP
    >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    >>> model = random_model("llama", vocab_size=3, **size)
    >>> policy = LanguageModelPolicy(model.double())
    >>> m = TokenMDP(3, 2, lambda prompt, completion: completion.count(1), prompts=[(0,), (1, 2)]).finite()
    >>> policy.matrix(m).sum(1).detach().numpy().round(10).tolist()  # 8 prefixes, and the end
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    >>> audit(ReinforceLoss(), policy, m).verdict
    'exact'
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
        self._sampled: Sampled | None = None
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
            read = texts
            if memory is not None:  # a row that is over reads what another reads
                read = torch.where(over[:, None], texts[(~over).long().argmax()], texts)
            self._sampled, prompts = None, distinct(read)  # the room of the last sampling is free before new is taken
            logits, cache = engine.begin(*prompts, texts.shape[1], self.training)
            if self.training:
                self._sampled = Sampled(read, prompts, _products(cache), self._versions())
        self._read(cache, texts, over)
        return *draw(self.shaped(logits, admissible), generator), Memory(texts, cache)

    def log_prob(self, batch: Episodes) -> Tensor:
        """log pi(A_t|S_t), (N, T), differentiable; 0 after the end.

        Episodes that write on read each text once, and of the policy's own last samples nothing is multiplied again
        until the gradient. Those of a FiniteMDP look at each state that was visited once.
        """
        texts = self._texts(batch)
        if texts is None:
            return super().log_prob(batch)
        if self._sampled is not None and self._sampled.versions != self._versions():
            self._sampled = None
        texts, products = (texts, None) if self._sampled is None else self._sampled.of(texts)
        if self._fast is None:
            return self.transformer.log_prob(texts, self.shaped, self.temperature, products)
        return self._fast.log_prob(
            *texts.prompts, texts.completions, texts.mask, self.shaped, self.temperature, products
        )

    def entropies(self, batch: Episodes) -> Tensor:
        """-sum over a of pi log pi at every step, (N, T), differentiable; 0 after the end."""
        texts = self._texts(batch)
        return super().entropies(batch) if texts is None else self.transformer.entropies(texts, self.shaped)

    def _texts(self, batch: Episodes) -> Texts | None:
        """The episodes as texts; None where they are none, or where states come again and again."""
        if batch.choices is not None or len(batch.sights) < int(batch.mask.sum()):
            return None
        return texts_of(batch, next(self.parameters()))

    def _read(self, cache: Any, texts: Tensor, over: Tensor) -> None:
        """Note what the last sampling has read, as far as it is kept."""
        sampled = self._sampled
        if sampled is not None and sampled.products is _products(cache):
            sampled.read = torch.where(over[:, None], sampled.read, texts)

    def _versions(self) -> list[int]:
        """These go up when a parameter is changed."""
        return [p._version for p in self.parameters()]


def _products(cache: Any) -> Any:
    """What a cache has kept: the fast path's is its own memory."""
    return cache.kept if isinstance(cache, Cache) else cache
