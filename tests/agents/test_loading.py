"""Language models as files: what is read, written, made and refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from agents import (
    random_model,
)
from agents.language import load_model, load_tokenizer, save_model
from agents.language.loading import quiet
from tests.agents.models import SIZE, small

# ---- models as files ----

BESIDE = "is missing, beside model.safetensors and a tokenizer"


class Loads:
    """In place of transformers' classes: notes what is asked for."""

    def __init__(self, *missing: str) -> None:
        self.missing, self.asked = missing, {}  # type: ignore[var-annotated]

    def from_pretrained(self, *args: Any, **options: Any) -> Any:
        self.asked = {"args": args, **options}
        return (nn.Linear(1, 1), {"missing_keys": {*self.missing}}) if "dtype" in options else "a tokenizer"


@pytest.mark.parametrize("gguf", [None, "x.gguf"])
def test_what_is_asked_of_transformers(gguf: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No code, no pickle, and nothing from elsewhere."""
    import transformers

    loads = Loads()
    monkeypatch.setattr(transformers, "AutoModelForCausalLM", loads)
    monkeypatch.setattr(transformers, "AutoTokenizer", loads)
    (tmp_path / (gguf or "config.json")).touch()
    data_only = {"local_files_only": True, "trust_remote_code": False}
    assert load_model(str(tmp_path), gguf_file=gguf).training is False
    assert loads.asked == {"args": (tmp_path,), "dtype": torch.float32, "use_safetensors": True, "gguf_file": gguf,
                           "output_loading_info": True, **data_only}  # fmt: skip
    load_model(tmp_path, dtype=torch.float64, gguf_file=gguf)
    assert loads.asked["dtype"] == torch.float64
    assert load_tokenizer(tmp_path, gguf_file=gguf) == "a tokenizer"
    assert loads.asked == {"args": (tmp_path,), "gguf_file": gguf, **data_only}


@pytest.mark.parametrize(
    ("missing", "told"), [("b", "b"), ("cab", "a, b, c"), ("dcab", "a, b, c, ..."), ("edcab", "a, b, c, ...")]
)
def test_which_weights_are_missing(missing: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.setattr(transformers, "AutoModelForCausalLM", Loads(*missing))
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path} holds no weights for {told}')}$"):
        load_model(tmp_path)


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_without_a_model(load: Callable[..., Any], tmp_path: Path) -> None:
    for options, file in (({}, "config.json"), ({"gguf_file": "x.gguf"}, "x.gguf")):
        message = f"{tmp_path} is no model: {file} {BESIDE}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            load(tmp_path, **options)
    (tmp_path / "config.json").write_text("{")
    what = "causal language model" if load is load_model else "tokenizer"
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path} holds no {what}: ')}.") as error:
        load(tmp_path)
    assert str(error.value).endswith(str(error.value.__cause__))


def test_random_weights_are_drawn_aside() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, same, other = (next(small("llama", seed=seed).parameters()) for seed in (0, 0, 1))
    by_default = random_model("llama", **SIZE["llama"], vocab_size=3)
    again = random_model("llama", **SIZE["llama"], vocab_size=3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(next(by_default.parameters()), next(again.parameters()))
    assert by_default.training is False


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_as_they_were(shown: bool) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()  # type: ignore[no-untyped-call]
        with quiet():
            assert not logging.is_progress_bar_enabled()
        assert logging.is_progress_bar_enabled() is shown
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()  # type: ignore[no-untyped-call]


class Saved:
    """In place of a model and of a tokenizer; a weight of two processes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.states = error, []  # type: ignore[var-annotated]

    def state_dict(self) -> dict[str, Any]:
        return {"whole": 1, "shared": SimpleNamespace(full_tensor=lambda: 2)}

    def save_pretrained(self, folder: Path, *, state_dict: Any = None) -> None:
        self.states.append(state_dict)
        if self.error is not None:
            raise self.error
        (folder / f"{len(state_dict or ())}").touch()


def saved(model: Saved, folder: Path, tokenizer: Saved | None = None, **options: bool) -> Saved:
    save_model(SimpleNamespace(model=model, tokenizer=tokenizer), folder, **options)  # type: ignore[arg-type]
    return model


def test_a_model_is_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "model"
    assert saved(Saved(), folder, writes=False).states == []
    assert not folder.parent.exists()
    assert saved(Saved(), folder, Saved()).states == [{"whole": 1, "shared": 2}]
    assert sorted(x.name for x in folder.iterdir()) == ["0", "2"]
    (folder / "2").rename(folder / "3")
    for rest in (".model.new", ".model.old"):  # of a process that was killed
        (folder.parent / rest).mkdir()
        (folder.parent / rest / "rest").touch()
    saved(Saved(), folder)
    assert [x.name for x in folder.iterdir()] == ["2"]
    assert [x.name for x in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("error", "told"), [(ValueError("of some kind"), "of some kind"), (OSError(28, "No space left"), "No space left")]
)
def test_what_was_there_stays_where_a_model_cannot_be_written(error: Exception, told: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    saved(Saved(), folder)
    with pytest.raises(OSError, match=f"^{re.escape(f'cannot write the model to {folder}: {told}')}$"):
        saved(Saved(error), folder)
    assert [x.name for x in folder.iterdir()] == ["2"]
    assert [x.name for x in tmp_path.iterdir()] == ["model"]


def test_what_was_there_comes_back_where_the_new_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "model", Path.rename
    saved(Saved(), folder)

    def fails(self: Path, to: Path) -> Path:
        if self.name == ".model.new":
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match=r"cannot write the model to .*: Input/output error$"):
        saved(Saved(), folder)
    assert [x.name for x in folder.iterdir()] == ["2"]
    assert [x.name for x in tmp_path.iterdir()] == ["model"]
