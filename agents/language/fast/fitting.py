"""Which models are the Llama of llama.py, in plain modules; what is not is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class Unfit(ValueError):
    """A model that does not fit here; the message says why."""


def misfits(model: Any) -> Iterator[str]:
    """Why `model` does not compute what stands at the top of llama.py, in plain modules."""
    c, kind = model.config, type(model).__name__
    if kind != "LlamaForCausalLM" or c.model_type != "llama":
        yield f"it is a {kind} with model_type {c.model_type!r}, not a LlamaForCausalLM"
    if c.hidden_act != "silu":
        yield f"hidden_act is {c.hidden_act!r}, not 'silu'"
    if getattr(c, "sliding_window", None) is not None:
        yield "its attention has a sliding window"
    if c.attention_dropout:
        yield "its attention has dropout"
    rope = model.model.rotary_emb
    if rope.rope_type != "default" or rope.attention_scaling != 1 or 2 * len(rope.inv_freq) != c.head_dim:
        yield f"its rotary positions are {rope.rope_type!r}, scaled or partial, not the default"
    for name, module in model.named_modules():
        kind = type(module).__name__
        if name.endswith(("_proj", "lm_head")) and (type(module) is not nn.Linear or module.bias is not None):
            yield f"{name} is a {kind} or has a bias, not a Linear without one"
        if name.endswith("norm") and kind != "LlamaRMSNorm":
            yield f"{name} is a {kind}, not a LlamaRMSNorm"
        if name.endswith("embed_tokens") and (type(module) is not nn.Embedding or module.max_norm is not None):
            yield f"{name} is a {kind} or limits norms, not a plain Embedding"
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            yield f"{name or 'the model'} has a hook on its forward pass, which would not run"
    for name, w in model.named_parameters():
        if type(w) is not nn.Parameter:
            yield f"{name} is a {type(w).__name__}, not a plain Parameter"
    kinds = {(w.dtype, w.device) for w in model.parameters()}
    if len(kinds) > 1 or w.dtype not in (torch.float32, torch.float64) or w.is_meta:
        yield "its parameters are not all float32, or all float64, on one device"
