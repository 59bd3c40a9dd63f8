"""What is refused, not repaired: weights that are not there, checkpoints that lost something, another tokenizer."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from itertools import combinations, product
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
from agents.learning.believing import (
    SHARDS,
    Part,
    _cover,
    _is_number,
    _parts,
    _remembers,
    _sizes,
    check_optimizer,
    check_tensors,
    groups,
    read_state,
)
from agents.learning.checkpoints import Checkpoints
from agents.learning.processes import Alone
from agents.learning.training import COLUMNS, TIMES
from envs import bandit
from tests.agents.models import save, small
from tests.agents.problems import only
from tests.agents.process_worker import SMALL, exactrl
from tests.agents.updates import ROWS, fresh, stepped


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


A, B = {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}, {"dtype": "U8", "shape": [], "data_offsets": [16, 17]}
MISFIT = "does not begin where the one before it ends, or has not the size of its shape"


def several(*x: Any) -> tuple[Any, ...]:
    return x


def without(key: str) -> dict[str, Any]:
    return {k: x for k, x in A.items() if k != key}


def as_file(folder: Path, header: bytes | dict[str, Any], data: int, name: str = "x") -> Path:
    """A file of safetensors: what its header says, and so many bytes."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / f"{name}.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return path


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        *(({"a": x}, 16, "'a' has no data_offsets")
          for x in several(3, [], without("data_offsets"), A | {"data_offsets": 3}, A | {"data_offsets": [0, 16, 16]},
                    A | {"data_offsets": [16]}, A | {"data_offsets": [-1, 15]}, A | {"data_offsets": [0, 16.0]})),
        *(({"a": x}, 16, "'a' is of an unknown kind")
          for x in (without("dtype"), A | {"dtype": "F65"}, A | {"dtype": ["F64"]})),
        *(({"a": x}, 16, "'a' has no shape")
          for x in (without("shape"), A | {"shape": [-2]}, A | {"shape": 2}, A | {"shape": [True]},
                    A | {"shape": [2.0]})),
        ({"b": A | {"data_offsets": [0, 8]}}, 16, f"'b' {MISFIT}"),
        ({"b": A | {"data_offsets": [8, 24]}}, 24, f"'b' {MISFIT}"),
        ({"b": A, "a": B | {"data_offsets": [17, 18]}}, 18, f"'a' {MISFIT}"),
        ({"b": A, "a": B | {"data_offsets": [15, 16]}}, 16, f"'a' {MISFIT}"),
        ({"b": A, "a": B}, 18, "its tensors have 17 bytes, the file has 18"),
        ({"b": A, "a": B}, 16, "its tensors have 17 bytes, the file has 16"),
        ({}, 2000, "its tensors have 0 bytes, the file has 2,000"),
        (b"[]", 0, "its header is no object"),
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_its_file(
    header: bytes | dict[str, Any], data: int, message: str, tmp_path: Path
) -> None:
    path = as_file(tmp_path, header, data)
    with pytest.raises(ValueError, match=only(message)):
        _parts(path)
    with pytest.raises(ValueError, match=only(f"{path} is damaged: {message}")):
        check_tensors({}, tmp_path)


@pytest.mark.parametrize(("claimed", "size"), [(3, 10), (2000, 10), (2000, 2007), (3, 8), (3, 0)])
def test_a_header_that_is_longer_than_its_file(claimed: int, size: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((claimed.to_bytes(8, "little") + b" " * size)[:size])
    if size < 8:
        claimed = 0
    with pytest.raises(ValueError, match=f"^its header claims {claimed:,} bytes of {size:,}$"):
        _parts(path)


@pytest.mark.parametrize("metadata", [{}, {"__metadata__": {"format": "pt"}}, {"__metadata__": 3}])
def test_a_header_that_fits(metadata: dict[str, Any], tmp_path: Path) -> None:
    """In the order of the file, whatever that of the header; without tensors there is nothing but the header."""
    whole = {"a": Part(torch.float64, (0,), (2,)), "z": Part(torch.uint8, (), ()),
             "m": Part(torch.bool, (0, 0), (0, 4))}  # fmt: skip
    empty = {"dtype": "BOOL", "shape": [0, 4], "data_offsets": [17, 17]}
    assert _parts(as_file(tmp_path, metadata | {"z": B, "a": A, "m": empty}, 17)) == whole
    assert _parts(as_file(tmp_path, metadata, 0)) == {}


def placed(*offsets: Any) -> dict[str, Any]:
    """A header whose parts say where in the whole they begin."""
    places = {name: {"saved_offsets": at} for name, at in zip("az", offsets, strict=False)}
    return {"__metadata__": {SHARDS: json.dumps(places)}, "a": A, "z": B}


def test_parts_say_where_they_begin(tmp_path: Path) -> None:
    found = _parts(as_file(tmp_path, placed([6], []), 17))
    assert found == {"a": Part(torch.float64, (6,), (2,)), "z": Part(torch.uint8, (), ())}


@pytest.mark.parametrize("header", [
    placed([6]), placed(3, []), placed([6, 0], []), placed([-6], []), placed(None, []),
    placed([6], []) | {"__metadata__": {SHARDS: "[]"}},
    placed([6], []) | {"__metadata__": {SHARDS: '{"a": [], "z": 1}'}},
])  # fmt: skip
def test_parts_that_do_not_say_where_they_begin(header: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^'[az]' has no place in the whole$"):
        _parts(as_file(tmp_path, header, 17))


def test_sizes_are_whole_numbers_of_a_tensor() -> None:
    for x in ([], [0], [1, 0], [2**40 - 1]):
        assert _sizes(x)
    others: tuple[Any, ...] = ((0,), 3, None, [-1], [2**40], [1, -1], [1.0], [True], ["1"])
    assert not any(map(_sizes, others))


def test_boxes_cover_where_each_place_is_once() -> None:
    """All sets of one, two and three boxes, in a square of 2 x 2 and somewhat beside it."""
    boxes = [Part(torch.float32, at, size) for at in product(range(2), repeat=2) for size in product((1, 2), repeat=2)]
    wanted = sorted(product(range(2), repeat=2))
    covers = 0
    for n in range(4):
        for parts in combinations(boxes, n):
            cells = sorted(
                cell for x in parts
                for cell in product(*(range(i, i + m) for i, m in zip(x.offsets, x.shape, strict=True)))
            )  # fmt: skip
            assert _cover(list(parts), (2, 2)) == (cells == wanted), parts
            covers += cells == wanted
    assert covers == 1 + 2 + 4  # the whole; its halves, two ways; one of these and two cells
    line = Part(torch.float32, (0,), (4,))
    assert not _cover([line], (2, 2))
    assert not _cover([line, boxes[0]], (4,))
    assert _cover([Part(torch.float32, (), ())], ())
    assert not _cover([], ())
    assert not _cover([], (0,))
    assert _cover([Part(torch.float32, (0,), (0,))], (0,))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"a": torch.zeros(2).double()}, None),
        ({"b": torch.zeros(2).double()}, "'b' of shape (2,) is not there, or not all of it"),
        ({"a": torch.zeros(2)}, "'a' is of the kind torch.float64, not torch.float32"),
        ({"a": torch.zeros(3).double()}, "'a' of shape (3,) is not there, or not all of it"),
        ({"a": torch.zeros(1, 2).double()}, "'a' of shape (1, 2) is not there, or not all of it"),
        ({}, "'a' is there, and state.json does not say what for"),
    ],
)  # fmt: skip
def test_the_tensors_of_a_folder(wanted: dict[str, torch.Tensor], message: str | None, tmp_path: Path) -> None:
    """Also of several files, and of no others."""
    as_file(tmp_path, {"a": A}, 16)
    as_file(tmp_path, {"z": B | {"data_offsets": [0, 1]}, "c": A | {"shape": [0], "data_offsets": [1, 1]}}, 1, "y")
    (tmp_path / "z.json").write_text("no tensors")
    rest = {"z": torch.tensor(0, dtype=torch.uint8), "c": torch.zeros(0).double()}
    if message is None:
        check_tensors(wanted | rest, tmp_path)
        return
    with pytest.raises(ValueError, match=only(f"{tmp_path}: {message}")):
        check_tensors(wanted | rest, tmp_path)


# ---- the optimiser ----


def adamw(**changes: Any) -> dict[str, Any]:
    """What AdamW notes of a table, but for changes of its state."""
    state = {"step": 2.0, "exp_avg": None, "exp_avg_sq": None} | changes
    return {"groups": json.loads(json.dumps(groups(fresh()[1]))), "state": {"preferences.theta": state}}


THETA = "the optimizer's state of 'preferences.theta' is not step, exp_avg, exp_avg_sq"


@pytest.mark.parametrize(
    ("noted", "message"),
    [
        *((x, "the checkpoint's 'optimizer' is no {groups, state}")
          for x in several(None, [], {}, {"groups": []}, adamw() | {"state": []})),
        (adamw() | {"groups": []}, "the checkpoint's 'groups' of the optimizer are not those of AdamW now"),
        (adamw() | {"state": {"x": {}}}, "the optimizer remembers 'x', which is no parameter"),
        *((adamw() | {"state": {"preferences.theta": x}}, THETA) for x in several({}, [], {"step": 2.0}, {"x": 1})),
        (adamw(more=None), THETA),
        *((adamw(step=x), f"'step' in the optimizer's state of 'preferences.theta' is {x!r}")
          for x in (-1, None, "1", True, float("nan"), float("inf"), 2**1023, [1])),
        (adamw(exp_avg=0.0), "'exp_avg' in the optimizer's state of 'preferences.theta' is 0.0"),
        (adamw(exp_avg=0, exp_avg_sq=1), "'exp_avg' in the optimizer's state of 'preferences.theta' is 0"),
    ],
)  # fmt: skip
def test_what_an_optimiser_cannot_have_noted(noted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=only(message)):
        check_optimizer(noted, *fresh())


def test_what_an_optimiser_may_have_noted() -> None:
    for noted in (adamw(), adamw(step=0), adamw(step=1), adamw() | {"state": {}}):
        check_optimizer(noted, *fresh())
    policy, _ = fresh()
    plain = torch.optim.SGD(policy.parameters(), lr=0.1)
    check_optimizer({"groups": json.loads(json.dumps(groups(plain))), "state": {}}, policy, plain)
    noted = {"groups": json.loads(json.dumps(groups(plain))), "state": {"preferences.theta": {"step": 1}}}
    with pytest.raises(ValueError, match=r"of 'preferences\.theta' is not empty$"):
        check_optimizer(noted, policy, plain)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (torch.optim.SGD, {}),
        (partial(torch.optim.SGD, momentum=0.9), {"momentum_buffer": True}),
        (torch.optim.AdamW, {"step": False, "exp_avg": True, "exp_avg_sq": True}),
        (partial(torch.optim.AdamW, fused=True), {"step": False, "exp_avg": True, "exp_avg_sq": True}),
        (torch.optim.Rprop, {"step": False, "prev": True, "step_size": True}),
    ],
)
def test_what_an_optimiser_remembers(kind: Any, expected: dict[str, bool]) -> None:
    """Seen in a step of a copy: neither the parameters nor the optimiser's own state change."""
    x, y = torch.nn.Parameter(torch.ones(2).double()), torch.nn.Parameter(torch.ones(3).double())
    optimizer = kind([{"params": [x], "lr": 0.5}, {"params": [y], "lr": 0.1}])
    assert _remembers(optimizer) == expected
    assert (len(optimizer.state), x.grad, y.grad) == (0, None, None)
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == [[id(x)], [id(y)]]
    assert torch.equal(x, torch.ones(2).double())


def test_groups_are_the_settings() -> None:
    x, y = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    found = groups(torch.optim.SGD([{"params": [x], "lr": 0.5}, {"params": [y], "lr": 0.1, "momentum": 0.9}]))
    assert [(group["lr"], group["momentum"]) for group in found] == [(0.5, 0), (0.1, 0.9)]
    assert not any("params" in group for group in found)


def test_numbers() -> None:
    for x in (0, 1, -1, 0.5, 2**1023 - 1, -(2**1023) + 1, 1e307):
        assert _is_number(x)
    others = (True, False, None, "1", [1], math.nan, math.inf, -math.inf, 2**1023, -(2**1023), 10**400)
    assert not any(map(_is_number, others))


# ---- state.json ----


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        *((x, "'rows' is no list with a row for each update of update-000001, and one for the start")
          for x in several(None, {}, [], ROWS[:1], [*ROWS, *ROWS[:1]])),
        *(([ROWS[0], x], f"row 1 of 'rows' does not have the columns {', '.join(COLUMNS + TIMES)}")
          for x in several(3, None, [], {}, dict.fromkeys(COLUMNS, 0.5))),
        *(([ROWS[0], ROWS[1] | {"loss": x}], f"'loss' in row 1 of 'rows' is {x!r}, no finite number")
          for x in several("1", True, [], 2**1023)),
    ],
)  # fmt: skip
def test_rows_that_are_none(rows: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "update-000001/state.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"run": {}, "rows": rows}))
    with pytest.raises(ValueError, match=only(f"{path} is not what a checkpoint has: {says}")):
        read_state(path)


def test_rows_may_have_more_and_be_without_a_number(tmp_path: Path) -> None:
    path = tmp_path / "update-000001/state.json"
    path.parent.mkdir()
    state = {"run": {"a": 1}, "rows": [ROWS[0] | {"J": None}, ROWS[1] | {"more": -3}]}
    path.write_text(json.dumps(state))
    assert read_state(path) == state


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
