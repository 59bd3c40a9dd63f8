"""Causal language models as policies: the interface of a table, with a key-value cache, and one forward to score."""

from agents.language.loading import load_model, load_tokenizer, random_model, save_model
from agents.language.policy import LanguageModelPolicy

__all__ = ["LanguageModelPolicy", "load_model", "load_tokenizer", "random_model", "save_model"]
