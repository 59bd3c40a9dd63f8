"""A language model small enough for every completion to be listed."""

from __future__ import annotations

from agents.language import LanguageModelPolicy, random_model


def tiny_llama(seed: int = 0) -> LanguageModelPolicy:
    """Three tokens, one layer, two heads; float64. Token 0 begins, token 2 ends. The weights are drawn with `seed`."""
    model = random_model(
        "llama",
        seed=seed,
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
    return LanguageModelPolicy(model.double())
