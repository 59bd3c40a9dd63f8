"""Models and tokenizers of transformers, from a folder or with random weights; no other file imports transformers.

It is imported when a model is loaded, so that `import agents` works without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from agents.language.policy import LanguageModelPolicy

DATA_ONLY: Any = {"local_files_only": True, "trust_remote_code": False}  # else transformers asks whether to run code


def load_model(
    folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32, gguf_file: str | None = None
) -> Any:
    """The causal language model in a folder (config.json, model.safetensors), in evaluation mode. Nothing is fetched.

    gguf_file: a file of that folder to read in place of them. Raises ValueError for a folder that holds no model, or
    one without all of its weights.

    >>> from tempfile import TemporaryDirectory
    >>> from agents import LanguageModelPolicy, load_model, random_model
    >>> from agents.language import save_model
    >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    >>> model = random_model("llama", vocab_size=3, **size)
    >>> with TemporaryDirectory() as folder:
    ...     save_model(LanguageModelPolicy(model), folder)
    ...     copy = load_model(folder)
    >>> all(x.equal(y) for x, y in zip(model.parameters(), copy.parameters(), strict=True))
    True
    """
    from transformers import AutoModelForCausalLM

    path = _checked(folder, gguf_file or "config.json")
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True, gguf_file=gguf_file, output_loading_info=True, **DATA_ONLY
            )
    except Exception as error:  # of many kinds: transformers', safetensors', the reader's of GGUF
        raise ValueError(f"{path} holds no causal language model: {error}") from error
    model, found = loaded
    if missing := sorted(found["missing_keys"]):  # transformers draws them at random
        raise ValueError(f"{path} holds no weights for {', '.join(missing[:3])}{', ...' * (len(missing) > 3)}")
    model.train(False)
    return model


def load_tokenizer(folder: str | os.PathLike[str], *, gguf_file: str | None = None) -> Any:
    """The tokenizer in a folder. Raises ValueError where there is none.

    >>> from tempfile import TemporaryDirectory
    >>> from tokenizers import Tokenizer, models
    >>> from transformers import PreTrainedTokenizerFast
    >>> from agents import LanguageModelPolicy, load_tokenizer, random_model
    >>> from agents.language import save_model
    >>> words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"no": 0, "yes": 1, "</s>": 2})))
    >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    >>> model = random_model("llama", vocab_size=3, **size)
    >>> with TemporaryDirectory() as folder:
    ...     save_model(LanguageModelPolicy(model, words), folder)
    ...     load_tokenizer(folder).convert_tokens_to_ids(["yes", "no"])
    [1, 0]
    """
    from transformers import AutoTokenizer

    path = _checked(folder, gguf_file or "config.json")
    try:
        return AutoTokenizer.from_pretrained(path, gguf_file=gguf_file, **DATA_ONLY)
    except Exception as error:
        raise ValueError(f"{path} holds no tokenizer: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Within it transformers shows no progress bars."""
    from transformers.utils import logging

    shows = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shows:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _checked(folder: str | os.PathLike[str], file: str) -> Path:
    path = Path(folder)
    if not (path / file).is_file():
        raise ValueError(f"{path} is no model: {file} is missing, beside model.safetensors and a tokenizer")
    return path


def random_model(kind: str, *, seed: int = 0, **settings: Any) -> Any:
    """A causal language model with random weights, in float32 and evaluation mode.

    kind is transformers' model_type ("llama", "gpt2"), settings those of its config. The weights are drawn with `seed`;
    the global random state is left as it was.

    >>> from agents import random_model
    >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    >>> model = random_model("llama", vocab_size=3, **size)
    >>> sum(p.numel() for p in model.parameters())  # 7 matrices 8 x 8, two of 3 x 8, 3 norms
    520
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.train(False)
    return model


def save_model(policy: LanguageModelPolicy, folder: str | os.PathLike[str], *, writes: bool = True) -> None:
    """Write the model and its tokenizer to a folder that `load_model` reads, whole or not at all.

    Where the model is sharded every process must call it, and one of them writes. Raises OSError where it cannot.
    """
    path, model = Path(folder), policy.model
    whole = {name: x.full_tensor() if hasattr(x, "full_tensor") else x for name, x in model.state_dict().items()}
    if not writes:
        return
    new, old = (path.with_name(f".{path.name}.{x}") for x in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        with quiet():
            model.save_pretrained(new, state_dict=whole)
            if policy.tokenizer is not None:
                policy.tokenizer.save_pretrained(new)
        if path.exists():
            path.rename(old)
        new.rename(path)
    except Exception as error:  # of many kinds: safetensors', the tokenizer's
        raise OSError(f"cannot write the model to {path}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for x in (new, old):
            shutil.rmtree(x, ignore_errors=True)
