"""`exactrl train ENV`: what trains, what a run hands on and keeps, what is said at the end."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from rich.console import Console

import envs
from agents import ExactAscent, ExactEM, ExactValues, LearnedValues, Reinforce, ReinforceLoss, exact_gradient
from agents.cli import train as training
from agents.cli.manifest import begun
from agents.cli.problems import Problem
from agents.cli.train import Baseline, Gradient, Optimizer, Run, make_agent, trained
from agents.learning import History, TrainingStopped
from agents.learning.exactly import natural_step
from mdp import solve

PROBLEM = Problem("a/walk", envs.random_walk(gamma=0.9))
DEFAULTS = (None, None, Baseline.learned, Gradient.sampled)


@pytest.mark.parametrize(
    ("optimizer", "step", "gradient", "agent", "kind", "lr"),
    [
        (None, None, Gradient.sampled, Reinforce, torch.optim.AdamW, 0.05),
        (Optimizer.ascent, None, Gradient.sampled, Reinforce, torch.optim.SGD, 0.1),
        (None, 1e-9, Gradient.sampled, Reinforce, torch.optim.AdamW, 1e-9),
        (None, None, Gradient.exact, ExactAscent, torch.optim.SGD, 0.1),
        (Optimizer.adamw, None, Gradient.exact, ExactAscent, torch.optim.AdamW, 0.05),
        (Optimizer.ascent, 0.3, Gradient.natural, ExactAscent, torch.optim.SGD, 0.3),
    ],
)
def test_what_moves_theta(
    optimizer: Optimizer | None, step: float | None, gradient: Gradient, agent: type, kind: type, lr: float
) -> None:
    """Samples go with AdamW, exact gradients as they are; a step that is given is taken."""
    mdp = PROBLEM.mdp
    found: Any = make_agent(mdp, optimizer, step, Baseline.none, gradient)
    assert (type(found), type(found.optimizer)) == (agent, kind)
    (group,) = found.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (lr, 0)
    assert all(p is q for p, q in zip(group["params"], found.policy.parameters(), strict=True))
    assert np.array_equal(found.policy.matrix(mdp).detach(), mdp.uniform_policy())
    if isinstance(found, ExactAscent):
        assert found.mdp is mdp
        assert found.direction is (natural_step if gradient is Gradient.natural else exact_gradient)


def test_em_has_the_policy_and_the_problem() -> None:
    found = make_agent(PROBLEM.mdp, None, None, Baseline.learned, Gradient.em)
    assert isinstance(found, ExactEM)
    assert found.mdp is PROBLEM.mdp
    assert np.array_equal(found.policy.matrix(found.mdp).detach(), found.mdp.uniform_policy())


def test_baselines_are_of_the_problem() -> None:
    exact, learned = (
        make_agent(PROBLEM.mdp, None, None, kind, Gradient.sampled) for kind in (Baseline.exact, Baseline.learned)
    )
    assert isinstance(exact, Reinforce)
    assert isinstance(exact.loss, ReinforceLoss)
    assert isinstance(exact.loss.baseline, ExactValues)
    assert exact.loss.baseline.policy is exact.policy
    assert exact.loss.baseline.mdp is PROBLEM.mdp
    assert isinstance(learned, Reinforce)
    assert isinstance(learned.loss, ReinforceLoss)
    assert isinstance(learned.loss.baseline, LearnedValues)
    assert len(learned.loss.baseline.v) == PROBLEM.mdp.n_states


def a_run(folder: Path, *, every: int | None = None, gradient: Gradient = Gradient.sampled, **asked: str) -> Run:
    agent = make_agent(PROBLEM.mdp, None, None, Baseline.learned, gradient)
    return Run(PROBLEM, agent, folder, episodes=5, seed=3, every=every, **asked)


@pytest.mark.parametrize(
    ("gradient", "optimizer", "lr"),
    [(Gradient.sampled, "AdamW", 0.05), (Gradient.exact, "SGD", 0.1), (Gradient.em, "SGD", 0.1)],
)
def test_what_a_checkpoint_is_held_against(gradient: Gradient, optimizer: str, lr: float, tmp_path: Path) -> None:
    run = a_run(tmp_path, gradient=gradient, baseline="b", gradient_of="g")
    assert run.checkpoints.run == {
        "baseline": "b", "gradient_of": "g", "env": "a/walk", "mdp": training.digest(PROBLEM.mdp), "episodes": 5,
        "seed": 3, "optimizer": optimizer, "lr": lr,
    }  # fmt: skip
    assert run.checkpoints.folder == tmp_path / "exactrl-train-a-walk-checkpoints"
    assert run.generator.initial_seed() == 3
    params = [p for group in run.optimizer.param_groups for p in group["params"]]
    assert all(p is q for p, q in zip(params, run.agent.policy.parameters(), strict=True))


def test_what_a_checkpoint_keeps(tmp_path: Path) -> None:
    """The generator as it is, and what the baseline has learned: a view of it, which training writes into."""
    run, other = a_run(tmp_path), a_run(tmp_path, gradient=Gradient.exact)
    assert set(run._state()) == {"generator", "baseline"}
    assert set(other._state()) == {"generator"}
    torch.rand(3, generator=run.generator)
    assert run._state()["generator"].equal(run.generator.get_state())
    loss: Any = run.agent.loss  # type: ignore[attr-defined]
    loss.baseline.v[:] = 7.0
    assert (run._state()["baseline"] == 7).all()


QUIET = Console(file=io.StringIO())


@pytest.mark.parametrize(
    ("every", "updates", "stop", "saved"),
    [(None, 4, None, []), (3, 7, None, [3, 6, 7]), (3, 6, None, [3, 6]), (1, 2, None, [1, 2]), (3, 9, 5, [3, 5]),
     (None, 9, 2, [])],
)  # fmt: skip
def test_when_checkpoints_are_written(
    every: int | None, updates: int, stop: int | None, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each `every` updates, after the last one, and where ctrl-C ends the run."""
    found: list[int] = []

    @contextmanager
    def stopping(_: object) -> Iterator[Callable[[], bool]]:
        calls = iter(range(1, 100))
        yield lambda: next(calls) == stop

    monkeypatch.setattr(training, "stopping", stopping)
    monkeypatch.setattr(Run, "_save", lambda _, history: found.append(len(history.rows) - 1))
    history = a_run(tmp_path, every=every)(updates=updates, resume=False, console=QUIET)
    assert found == saved
    assert history.interrupted == (stop is not None)
    assert len(history.rows) - 1 == (updates if stop is None else stop)


def test_what_training_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes are cut off where gamma^t no longer counts."""
    train = Mock()
    monkeypatch.setattr(training, "train", train)
    run = a_run(tmp_path)
    assert run(updates=7, resume=False, console=QUIET) is train.return_value
    ((args, options),) = train.call_args_list
    assert args == (run.agent, PROBLEM.mdp)
    assert options.pop("progress")
    assert options.pop("history").rows == []
    assert options == {"updates": 7, "episodes": 5, "generator": run.generator,
                       "max_steps": ReinforceLoss().forgets_after(0.9)}  # fmt: skip


def test_what_a_run_goes_on_from(tmp_path: Path) -> None:
    """Theta, the optimiser, the baseline and the generator: 2 + 3 updates are 5."""
    whole = a_run(tmp_path / "a")
    history = whole(updates=5, resume=False, console=QUIET)
    a_run(tmp_path / "b", every=2)(updates=2, resume=False, console=QUIET)
    rest = a_run(tmp_path / "b", every=2)
    assert rest(updates=5, resume=True, console=QUIET).column("J").tolist() == history.column("J").tolist()
    assert rest.generator.get_state().equal(whole.generator.get_state())
    assert rest._state()["baseline"].equal(whole._state()["baseline"])
    with pytest.raises(ValueError, match="resume"):
        a_run(tmp_path / "b", every=2)(updates=5, resume=False, console=QUIET)


def test_a_generator_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, every=2)(updates=2, resume=False, console=QUIET)
    run = a_run(tmp_path, every=2)
    monkeypatch.setattr(run, "generator", torch.Generator())
    monkeypatch.setattr(run, "_state", lambda: {"generator": torch.zeros(3, dtype=torch.uint8)})
    monkeypatch.setattr(run.checkpoints, "start", lambda *_, **__: History())
    with pytest.raises(ValueError, match=r"checkpoints/update-000002: this is no generator's state: \w"):
        run(updates=4, resume=True, console=QUIET)


def train_it(run: Run, *, updates: int = 2, resume: bool = False) -> str:
    out = io.StringIO()
    trained(run, begun(seed=3), Console(file=out, width=40), updates=updates, resume=resume)
    return out.getvalue()


def test_what_is_said_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J before and after, J*; the figure has J*, what it is, and the title. Lines are not broken."""
    drawn = Mock()
    monkeypatch.setattr(training, "plot_history", drawn)
    run = a_run(tmp_path)
    said = [line for line in train_it(run, updates=2).splitlines() if line]  # a bar may leave an empty one
    (((history, path), options),) = drawn.call_args_list
    stem = tmp_path / "exactrl-train-a-walk"
    J, optimum = history.column("J"), options["optimum"][0]
    assert len(J) == 3
    best = f"J* = {optimum:.6g}"
    assert optimum == PROBLEM.mdp.start @ solve(PROBLEM.mdp).v
    assert said[0] == f"a/walk, gamma 0.9: J went from {J[0]:.6g} to {J[-1]:.6g} in 2 updates; {best}"
    assert said[1] == f"wrote {stem}.csv and {stem}.png and {stem}.manifest.json"
    assert (str(path), options) == (f"{stem}.png", {"optimum": (optimum, best), "title": "a/walk, gamma 0.9"})
    manifest = json.loads(Path(f"{stem}.manifest.json").read_text())
    assert (manifest["whole"], manifest["seed"]) == (True, 3)


def test_what_is_left_of_a_run_that_was_killed_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "plot_history", lambda *_, **__: None)
    for name in (".exactrl-train-a-walk.7.csv", ".exactrl-train-a-walk.7.png", ".exactrl-train-a-walk.manifest.7.json"):
        (tmp_path / name).touch()
    train_it(a_run(tmp_path))
    assert [x.name for x in tmp_path.iterdir() if x.name.startswith(".")] == []


@pytest.mark.parametrize("stop", [False, True])
def test_a_run_that_comes_to_no_end_is_not_whole(stop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that goes wrong, and ctrl-C: what was noted is written, and the manifest says so."""
    history = a_run(tmp_path / "x")(updates=2, resume=False, console=QUIET)
    history.interrupted = stop

    def ends(*_: object, **__: object) -> History:
        if not stop:
            raise TrainingStopped(ValueError("wrong"), history)
        return history

    monkeypatch.setattr(training, "train", ends)
    monkeypatch.setattr(training, "plot_history", lambda *_, **__: None)
    run = a_run(tmp_path)
    if stop:
        assert trained(run, begun(), QUIET, updates=4, resume=False) is True
    else:
        with pytest.raises(TrainingStopped, match="after 2 updates: wrong"):
            trained(run, begun(), QUIET, updates=4, resume=False)
    assert len((tmp_path / "exactrl-train-a-walk.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "exactrl-train-a-walk.manifest.json").read_text())["whole"] is False


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is to go on from is said with it; after training, the folder alone."""
    run = a_run(tmp_path / "a", every=1)
    run(updates=2, resume=False, console=QUIET)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    said = f"cannot write to {tmp_path / 'a'}: No space left on device"
    monkeypatch.setattr(training, "train", full)
    with pytest.raises(OSError, match="No space") as found:
        trained(a_run(tmp_path / "a", every=1), begun(), QUIET, updates=4, resume=True)
    monkeypatch.undo()
    latest = tmp_path / "a" / "exactrl-train-a-walk-checkpoints" / "update-000002"
    assert str(found.value) == f"{said}; {latest} is whole: --resume goes on from it"
    monkeypatch.setattr(training, "plot_history", full)
    with pytest.raises(OSError, match="No space") as found:
        trained(a_run(tmp_path / "a"), begun(), QUIET, updates=2, resume=False)
    assert str(found.value) == said
