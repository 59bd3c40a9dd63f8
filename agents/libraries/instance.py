"""A language model small enough for every completion to be listed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    """Three tokens, one layer, two heads; float64, in evaluation mode. Token 0 begins, token 2 ends.

    The weights are drawn with `seed`, in float32. Attention is "eager", which has forward-mode derivatives. Whatever
    its parameters are, Llama rounds to float32 within: in norms, attention weights and positions.
    """
    config = LlamaConfig(
        vocab_size=3,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")
    model.double().train(False)
    return model


class NextToken(nn.Module):
    """Preferences h(o, .) = the logits after the last token of o: a causal language model as a policy.

    The model's padding_idx is unset: it would drop the gradient of that token's embedding.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        embedding: Any = model.get_input_embeddings()
        embedding.padding_idx = None

    def forward(self, observations: Tensor) -> Tensor:
        """h (N, A), of token ids (N, L) padded with -1 at the end: what stands after the last token is not seen."""
        last = (observations >= 0).sum(1).clamp(min=1) - 1
        logits: Tensor = self.model(input_ids=observations.clamp(min=0), use_cache=False).logits
        return logits[torch.arange(len(last), device=last.device), last]
