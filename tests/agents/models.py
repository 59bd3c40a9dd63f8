"""Small language models with random weights, and a tokenizer of characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from agents import LanguageModelPolicy, random_model
from envs import TokenMDP

CHARACTERS = "0123456789+=abcdefg "
SIZE = {"llama": {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1,
                  "max_position_embeddings": 64, "num_hidden_layers": 2},
        "gpt2": {"n_embd": 16, "n_head": 2, "n_positions": 64, "n_layer": 2}}  # fmt: skip


def small(kind: str, vocabulary: int = 3, *, seed: int = 0, **settings: Any) -> Any:
    """Two layers, weights of size 1/2; the padding token is the one that ends."""
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2}
    size = SIZE[kind] | ids | {"vocab_size": vocabulary, "initializer_range": 0.5}
    return random_model(kind, seed=seed, **(size | settings))


def small_policy(kind: str, vocabulary: int = 3, *, seed: int = 0, **decoding: Any) -> LanguageModelPolicy:
    """In float64."""
    return LanguageModelPolicy(small(kind, vocabulary, seed=seed).double(), **decoding)


def reward(prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """Half for each token that is the prompt's last, 1 for the end, -0.2 for each token."""
    return completion.count(prompt[-1]) / 2 + (completion[-1] == 2) - 0.2 * len(completion)


def writing(vocabulary: int = 3, horizon: int = 3, gamma: float = 0.9) -> TokenMDP:
    """Two prompts of different lengths."""
    return TokenMDP(vocabulary, horizon, reward, prompts=[(0,), (1, 0, 1)], eos=2, gamma=gamma)


def save(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """A small Llama and its tokenizer of characters as files, as `load_model` and `load_tokenizer` read them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {x: k for k, x in enumerate(["<s>", "<unk>", "</s>", *CHARACTERS])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=characters, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'][:12] }}{% endfor %}="
    tokenizer.save_pretrained(folder)
    small("llama", len(vocabulary), seed=seed).to(dtype).save_pretrained(folder)
    return folder
