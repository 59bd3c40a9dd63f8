"""What is refused, not repaired: weights that are not there, checkpoints that lost something, another tokenizer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.api import _wrap_exception as wrap_exception

from agents import LanguageModelPolicy, SoftmaxPolicy, TabularPreferences, load_model, load_tokenizer
from agents.cli.language.lines import Line
from agents.cli.language.losses import loss_of
from agents.cli.language.tasks import Task, problem
from agents.language import save_model
from agents.learning import History
from agents.learning.believing import Part, _parts, read_state
from agents.learning.checkpoints import Checkpoints
from agents.learning.processes import Alone
from agents.learning.training import COLUMNS, TIMES
from envs import bandit
from tests.agents.models import save, small
from tests.agents.process_worker import SMALL, exactrl

ROWS = [dict.fromkeys(COLUMNS + TIMES, 0.5)] * 2


def fresh(lr: float = 0.1) -> tuple[SoftmaxPolicy, torch.optim.Optimizer]:
    policy = SoftmaxPolicy(TabularPreferences(bandit(means=(0, 1, 2)))).double()
    return policy, torch.optim.AdamW(policy.parameters(), lr=lr)


def stepped() -> tuple[SoftmaxPolicy, torch.optim.Optimizer]:
    policy, optimizer = fresh()
    theta = next(policy.parameters())
    (theta**2 + theta).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return policy, optimizer


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    """One checkpoint, after one update."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, Alone())
    checkpoints.save(*stepped(), History([dict(row) for row in ROWS]))
    return checkpoints


def test_a_model_without_all_weights(tmp_path: Path) -> None:
    """transformers would draw them at random."""
    folder = save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"holds no weights for {name}$"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["optimizer"].update(state={}), "is there, and state.json does not say what for"),
        (lambda x: x["optimizer"]["groups"][0].update(lr=-0.05), "'groups' of the optimizer are not those of AdamW"),
        (lambda x: x["optimizer"]["groups"][0].update(betas=[3, -2]), "'groups' of the optimizer are not those"),
    ],
)
def test_a_checkpoint_that_lost_something(
    kept: Checkpoints, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    at = kept.folder / "update-000001" / "state.json"
    state = json.loads(at.read_text())
    change(state)
    at.write_text(json.dumps(state))
    with pytest.raises(ValueError, match=message):
        kept.load(*fresh())


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ({}, {"gamma": 0.5}, "its gamma was null, now it is 0.5"),
        ({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}, r"its a\.b was 1, now it is 3"),
    ],
)
def test_a_checkpoint_of_another_run(was: dict[str, Any], now: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The difference by its name, with what it was and is."""
    Checkpoints(tmp_path, was, Alone()).save(*stepped(), History([dict(row) for row in ROWS]))
    with pytest.raises(ValueError, match=f"^{tmp_path}/update-000001 is of another run: {message}$"):
        Checkpoints(tmp_path, now, Alone()).load(*fresh())


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("a", {"dtype": "F64", "shape": [2]}, "'a' has no data_offsets"),
        ("a", {"dtype": "F65", "shape": [2], "data_offsets": [0, 16]}, "'a' is of an unknown kind"),
        ("b", {"dtype": "F64", "shape": [-2], "data_offsets": [0, 16]}, "'b' has no shape"),
        ("b", {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]}, "'b' does not begin where .* size of its shape"),
        ("b", {"dtype": "F64", "shape": [2], "data_offsets": [8, 24]}, "'b' does not begin where .* size of its shape"),
        ("b", {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}, "its tensors have 8 bytes, the file has 16"),
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_its_file(name: str, said: dict[str, Any], message: str, tmp_path: Path) -> None:
    header = json.dumps({name: said}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(ValueError, match=f"^{message}$"):
        _parts(path)


def test_another_learning_rate(kept: Checkpoints) -> None:
    assert len(kept.load(*fresh()).rows) == 2
    with pytest.raises(ValueError, match="'groups' of the optimizer are not those of AdamW now"):
        kept.load(*fresh(lr=0.2))


def test_copies_of_checkpoints_are_the_users(kept: Checkpoints) -> None:
    copy = kept.folder / "update-000006-mine"
    copy.mkdir()
    assert kept.latest() == kept.folder / "update-000001"
    kept.save(*stepped(), History([dict(row) for row in ROWS + ROWS[:1]]))
    assert sorted(x.name for x in kept.folder.iterdir()) == ["update-000002", "update-000006-mine"]


@pytest.mark.usefixtures("_in_a_folder")
def test_another_tokenizer() -> None:
    save(Path("model"))
    train = ("train", "--model", "model", *SMALL, "--out", "a")
    assert exactrl(*train, "--updates", "1")[0] == 0
    at = Path("model/tokenizer.json")
    tokenizer = json.loads(at.read_text())
    words = tokenizer["model"]["vocab"]
    words["c"], words["g"] = words["g"], words["c"]
    at.write_text(json.dumps(tokenizer))
    code, _, error = exactrl(*train, "--updates", "2", "--resume")
    assert code == 2
    assert "is of another run: its tokenizer was" in error


@pytest.mark.usefixtures("_in_a_folder")
@pytest.mark.parametrize("template", ["{{ raise_exception('no roles') }}", "{% for %}"])
def test_a_chat_template_that_raises(template: str) -> None:
    tokenizer = load_tokenizer(save(Path("model")))
    tokenizer.chat_template = template
    task = Task("x", [Line([{"role": "user", "content": "12"}], None, "x.jsonl, line 1")], lambda *_: 0.0)
    with pytest.raises(ValueError, match=r"the tokenizer cannot take the prompt of x\.jsonl, line 1: Template"):
        problem(task, tokenizer, vocabulary=23, context=None, horizon=2)


@pytest.mark.usefixtures("_in_a_folder")
@pytest.mark.parametrize("exists", [True, False])
def test_a_model_that_was_written_by_a_process_that_was_killed(exists: bool) -> None:
    """It may have left the model that was there before, beside the new one or alone."""
    policy, other = (LanguageModelPolicy(small("llama", seed=k)) for k in range(2))
    save_model(policy, "model")
    Path("model").rename(".model.old")
    if exists:
        save_model(policy, "model")
        Path(".model.old").mkdir(exist_ok=True)
    save_model(other, "model")
    assert next(load_model("model").parameters()).equal(next(other.model.parameters()))
    assert [x.name for x in Path().iterdir()] == ["model"]


def test_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="--beta must be finite"):
        loss_of("rloo", 3, float("inf"))
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        SoftmaxPolicy(TabularPreferences(bandit()), temperature=float("inf"))


@pytest.fixture
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("text", ["{}", "[]", '{"run": 3}'])
def test_a_state_that_does_not_say_of_which_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"state\.json is not what a checkpoint has: 'run' is missing"):
        read_state(tmp_path / "state.json")


def test_boxes_overlap_where_they_share_a_cell() -> None:
    """All pairs of boxes in a square of 3 x 3."""
    spans = [(i, n) for i in range(3) for n in range(1, 4 - i)]
    boxes = [Part(torch.float32, (i, j), (n, m)) for i, n in spans for j, m in spans]

    def cells(box: Part) -> set[tuple[int, ...]]:
        return set(product(*(range(i, i + n) for i, n in zip(box.offsets, box.shape, strict=True))))

    for x, y in product(boxes, repeat=2):
        assert x.overlaps(y) == bool(cells(x) & cells(y))


def test_a_row_without_a_column(tmp_path: Path) -> None:
    rows = [dict(ROWS[0]), {name: x for name, x in ROWS[1].items() if name != "J"}]
    (tmp_path / "update-000001").mkdir()
    (tmp_path / "update-000001/state.json").write_text(json.dumps({"run": {}, "rows": rows}))
    with pytest.raises(ValueError, match=f"row 1 of 'rows' does not have the columns {', '.join(COLUMNS + TIMES)}$"):
        read_state(tmp_path / "update-000001/state.json")


@pytest.mark.parametrize("way", ["load", "save"])
def test_what_torch_fails_on_is_said_in_its_words(way: str, kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise CheckpointException("said at length", {0: wrap_exception(OSError(28, "No space left on device"))})

    monkeypatch.setattr({"load": state_dict_loader, "save": state_dict_saver}[way], way, fails)
    folder = kept.latest()
    assert folder is not None
    if way == "load":
        with pytest.raises(ValueError, match=r"update-000001 is damaged: .*No space left on device$"):
            kept.load(*fresh())
    else:
        with pytest.raises(OSError, match=r"^cannot write the checkpoint .*update-000002: No space left on device$"):
            kept.save(*stepped(), History([dict(ROWS[0])] * 3))
