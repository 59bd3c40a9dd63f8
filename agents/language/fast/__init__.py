"""The fast path: a Llama in plain functions, whose samples are differentiated without a second forward pass."""

from agents.language.fast.llama import Llama, Memory, Unfit

__all__ = ["Llama", "Memory", "Unfit"]
