"""ctrl-C: one line, exit code 130, and what was done until then is kept."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import envs
from agents.checks import pgcheck
from agents.cli import audit, variance, verify, zoo
from agents.learning import Reinforce
from mdp import FiniteMDP, best_baselines, evaluate, solve
from tests.agents.process_worker import exactrl
from tests.faults.killing import ROOT, TABLE, differences

INTERRUPTED = "exactrl: interrupted\n"
TRAIN = ("train", *TABLE.command)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def stopping(function: Callable[..., Any], *calls: int) -> Callable[..., Any]:
    """The same function; ctrl-C comes in its k-th call, for k in calls."""
    number = count(1)

    def called(*args: Any, **kwargs: Any) -> Any:
        if next(number) in calls:
            os.kill(os.getpid(), signal.SIGINT)
        return function(*args, **kwargs)

    return called


def test_while_torch_is_imported() -> None:
    """A torch that never comes; and SIGINT is ignored where it was ignored, as by a shell's background."""
    Path("torch.py").write_text("import time\nopen('here', 'w')\ntime.sleep(60)\n")
    for ignored in (False, True):
        Path("here").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "exactrl", "envs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": f".{os.pathsep}{ROOT}"},
            preexec_fn=lambda ignored=ignored: signal.signal(  # type: ignore[misc]
                signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL
            ),
        )  # fmt: skip
        try:
            until = time.monotonic() + 60
            while not Path("here").exists() and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            if ignored:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
            else:
                assert process.communicate(timeout=60) == ("", INTERRUPTED)
                assert process.returncode == 130
        finally:
            process.kill()
            process.communicate()


def test_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how far it was, of a user's file too, and writes that."""
    rng = np.random.default_rng(0)
    m = FiniteMDP.from_arrays(rng.dirichlet(np.ones(30), size=(30, 2)), rng.normal(size=(30, 2)), gamma=0.999)
    m.save("mine.json")
    monkeypatch.setattr("agents.cli.solve.solve", with_a_stop_at(10))
    code, out, error = exactrl("solve", "mine.json", "--method", "value_iteration", "--out", "a")
    assert (code, error) == (130, INTERRUPTED)
    assert "(NOT CONVERGED: interrupted after 10 iterations)" in out
    with Path("a/exactrl-solve-mine.csv").open() as file:
        v = np.array([float(row["v"]) for row in csv.DictReader(file)])
    bound = float(re.search(r"v\* within (\S+)", out)[1])  # type: ignore[index]
    assert 0 < np.abs(v - solve(m).v).max() <= 1.1 * bound < 1e4  # it is printed with two digits
    assert json.loads(Path("a/exactrl-solve-mine.manifest.json").read_text())["whole"] is False


def with_a_stop_at(iteration: int) -> Callable[..., Any]:
    def stopped(mdp: FiniteMDP, **options: Any) -> Any:
        say = options.pop("progress")

        def progress(k: int, bound: float) -> None:
            say(k, bound)
            if k == iteration:
                os.kill(os.getpid(), signal.SIGINT)

        return solve(mdp, progress=progress, **options)

    return stopped


@pytest.mark.parametrize("method", ["value_iteration", "policy_iteration", "modified_policy_iteration"])
def test_the_librarys_solve_lets_it_through(method: str) -> None:
    """And nothing is half done: the next call has the bits of a first one."""
    one, other = (envs.car_rental() for _ in range(2))

    def stop(iteration: int, bound: float) -> None:
        del bound
        if iteration >= 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        solve(one, method=method, progress=stop)
    again, first = (solve(m, method=method) for m in (one, other))
    assert again.v.tobytes() == first.v.tobytes()
    assert again.q.tobytes() == first.q.tobytes()
    assert (again.bound, again.iterations) == (first.bound, first.iterations)


def test_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "pgcheck", stopping(pgcheck, 2))
    code, out, error = exactrl("verify", "exactrl/RandomWalk-v0", "FrozenLake-v1", "--episodes", "3000")
    assert (code, error) == (130, INTERRUPTED)
    assert "RandomWalk" in out
    assert "FrozenLake" not in out
    content = json.loads(Path("exactrl-verify.json").read_text())
    assert (content["interrupted"], content["passed"], len(content["reports"])) == (True, False, 1)
    monkeypatch.setattr(verify, "pgcheck", pgcheck)
    assert exactrl("verify", "exactrl/RandomWalk-v0", "--episodes", "3000")[0] == 0
    content = json.loads(Path("exactrl-verify.json").read_text())
    assert (content["interrupted"], content["passed"]) == (False, True)


def test_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_audited", stopping(audit._audited, 3))
    code, out, error = exactrl("audit")
    assert (code, error.lstrip("\n")) == (130, INTERRUPTED)  # rich 13 ends a bar with a line
    content = json.loads(Path("exactrl-audit.json").read_text())
    assert content["interrupted"] is True
    assert len(content["audits"]) == 2
    assert all(row["name"] in out for row in content["audits"])


def test_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variance, "best_baselines", stopping(best_baselines, 1))
    assert exactrl("variance", "exactrl/ShortCorridor-v0", "--gamma", ".9") == (130, "", INTERRUPTED)
    assert not list(Path().iterdir())


def test_envs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "evaluate", stopping(evaluate, 3))
    code, out, error = exactrl("envs")
    assert (code, error) == (130, INTERRUPTED)
    names = list(envs.ZOO)
    assert [name in out for name in names[:3]] == [True, True, False]


def test_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.selftest.run._caught", stopping(lambda *args: args[-1](), 8))
    code, out, error = exactrl("verify", "--self-test")
    assert (code, error) == (130, INTERRUPTED)
    assert "7 audits were made" in out


# ---- training ----


def rows(folder: str) -> list[dict[str, str]]:
    with Path(folder, TABLE.metrics).open() as file:
        return list(csv.DictReader(file))


def test_training_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """ctrl-C in the fourth update: it is finished and kept, and --resume goes on to the bits of a whole run."""
    with monkeypatch.context() as patched:
        patched.setattr(Reinforce, "update", stopping(Reinforce.update, 4))
        code, out, error = exactrl(*TRAIN, "--updates", "12", "--out", "a")
    assert (code, error) == (130, INTERRUPTED)
    assert "in 4 updates" in out
    assert len(rows("a")) == 5
    assert [path.name for path in Path("a", TABLE.checkpoints).iterdir()] == ["update-000004"]
    for out in ("a", "whole"):
        assert exactrl(*TRAIN, "--updates", "12", "--out", out, *(["--resume"] if out == "a" else []))[0] == 0
    assert differences(TABLE, Path("a"), Path("whole")) == ""


def test_training_a_table_without_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reinforce, "update", stopping(Reinforce.update, 4))
    code, _, error = exactrl("train", "exactrl/Gridworld4x4-v0", "--out", "a")
    assert (code, error) == (130, INTERRUPTED)
    assert len(rows("a")) == 5
    assert not Path("a", TABLE.checkpoints).exists()


@pytest.mark.parametrize(
    "options", [("--gradient", "em"), ("--gradient", "natural"), ("--baseline", "exact"), ("--optimizer", "ascent")]
)
def test_every_kind_of_training_is_resumed_to_the_same_bits(options: tuple[str, ...]) -> None:
    train = ("train", "exactrl/ContextualBandit-v0", "--checkpoint-every", "2", *options)
    assert exactrl(*train, "--updates", "3", "--out", "a")[0] == 0
    shutil.copytree("a", "kept")
    assert exactrl(*train, "--updates", "6", "--out", "a", "--resume")[0] == 0
    assert exactrl(*train, "--updates", "6", "--out", "whole")[0] == 0
    kind = TABLE._replace(metrics="exactrl-train-ContextualBandit-v0.csv")
    assert differences(kind, Path("a"), Path("whole")) == ""
    code, _, error = exactrl(*train, "--updates", "6", "--out", "kept")
    assert code == 2
    assert "has a checkpoint: --resume goes on" in error
    code, _, error = exactrl(*train, "--updates", "6", "--out", "kept", "--resume", "--gamma", ".5")
    assert code == 2
    assert "is of another run: its mdp was" in error
    (file,) = Path("kept").rglob("*.safetensors")
    with safe_open(file, "pt") as opened:
        damaged = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(damaged | {"generator": torch.full((5056,), 255, dtype=torch.uint8)}, file)
    code, _, error = exactrl(*train, "--updates", "6", "--out", "kept", "--resume")
    assert (code, error.count("\n")) == (2, 1)
