"""Every option arrives where it is read, and so does every default; what is refused is said word for word."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import envs
from agents.audits.catalogue import Case, Found
from agents.checks import Report
from agents.cli import app
from agents.cli.audit import Results, Setting
from agents.cli.language.train import Settings
from agents.cli.problems import Problem
from agents.cli.show import View
from agents.cli.train import Run
from agents.cli.variance import Variances
from agents.cli.verify import Check
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, Solution
from tests.agents.test_cli import run

BANDIT, GRID = "exactrl/Bandit-v0", "exactrl/Gridworld4x4-v0"
AUDIT = "Bandit, gamma 1; a batch is 1 group of 2"
CONSOLE = {"console": "console"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plain(x: Any) -> Any:
    """An argument, by what tells it apart."""
    match x:
        case Console():
            return "console" if x is app.console else "another console"
        case Problem():
            return x.name, x.mdp.gamma
        case Check():
            return x.problem.name, x.problem.mdp.gamma
        case FiniteMDP():
            return x.gamma
        case Path():
            return str(x)
        case Report() | Case() | View():
            return str(x.name)
        case Found():
            return x.case.name
        case Results():
            return plain(x.found)
        case Setting():
            return x.title
        case Variances():
            return plain(x.problem)
        case Run():
            return plain(x.problem), x.episodes, x.every
        case SoftmaxPolicy() | Solution():
            return type(x).__name__
        case list():
            return [plain(y) for y in x]
    return x


def handed_on(monkeypatch: pytest.MonkeyPatch, command: str, place: str) -> tuple[list[Any], dict[str, Any]]:
    """What a command hands to the function at `place`, where it is ended."""
    seen: list[tuple[list[Any], dict[str, Any]]] = []

    def stop(*args: Any, **options: Any) -> None:
        seen.append((plain(list(args)), {name: plain(value) for name, value in options.items()}))
        raise KeyboardInterrupt

    monkeypatch.setattr(f"agents.cli.{place}", stop)
    assert run(monkeypatch, *shlex.split(command)) == 130
    return seen[0]


@pytest.mark.parametrize(
    ("command", "place", "arguments", "options"),
    [
        ("verify", "verify.default_checks", [None, 0], {}),
        ("verify --gamma .5 --seed 3", "verify.default_checks", [0.5, 3], {}),
        (f"verify {BANDIT} --gamma .5 --seed 3", "verify.check", [BANDIT, 0.5, 3], {}),
        ("verify", "app.begun", [], {"seed": 0}),
        (f"verify {BANDIT} {GRID} --seed 3", "app.begun", [BANDIT, GRID], {"seed": 3}),
        (f"verify {BANDIT} {GRID} --gamma .5 --episodes 7 --seed 3", "verify.run",
         [[("Bandit-v0", 0.5), ("Gridworld4x4-v0", 0.5)]], {"episodes": 7, "seed": 3} | CONSOLE),
        (f"verify {GRID}", "verify.run", [[("Gridworld4x4-v0", 1.0)]], {"episodes": None, "seed": 0} | CONSOLE),
        (f"verify {BANDIT} --episodes 99 --gamma .5 --seed 3 --out a", "verify.write",
         [["Bandit, gamma 0.5"], "a", 3], {"interrupted": False}),
        ("verify --model m --seed 3 --out a", "language.commands.verify_model", ["m", 3, "a", "console"], {}),
        ("verify --model m", "language.commands.verify_model", ["m", 0, ".", "console"], {}),
        ("verify --self-test", "selftest.run", ["console"], {}),
        (f"solve {GRID}", "app.begun", [GRID], {}),
        (f"solve {GRID}", "solve.run", [("Gridworld4x4-v0", 1.0)], {"method": "auto", "tolerance": 1e-8} | CONSOLE),
        (f"solve {GRID} --gamma .5 --method value_iteration --tolerance .01", "solve.run",
         [("Gridworld4x4-v0", 0.5)], {"method": "value_iteration", "tolerance": 0.01} | CONSOLE),
        (f"solve {GRID} --gamma .5 --out a", "solve.write", [("Gridworld4x4-v0", 0.5), "Solution", "a"], {}),
        ("envs", "zoo.rows", ["console"], {}),
        (f"show {GRID}", "app.begun", [GRID], {}),
        (f"show {GRID}", "show.view", [("Gridworld4x4-v0", 1.0), "optimal"], {}),
        (f"show {GRID} --gamma .5 --policy uniform", "show.view", [("Gridworld4x4-v0", 0.5), "uniform"], {}),
        (f"show {GRID}", "show.write", [("Gridworld4x4-v0", 1.0), "optimal", None, "png", "."], {}),
        (f"show {GRID} --policy uniform --state (0,1) --format svg --out a", "show.write",
         [("Gridworld4x4-v0", 1.0), "uniform", 1, "svg", "a"], {}),
        ("audit", "audit.setting", [None, None, None, 2, 1, None, 0, None], {}),
        (f"audit {BANDIT} --gamma .5 --horizon 3 --group-size 4 --groups 5 --samples 99 --seed 6 --library trl",
         "audit.setting", [BANDIT, 0.5, 3, 4, 5, 99, 6, "trl"], {}),
        (f"audit {BANDIT} --loss math:sin", "audit.cases", [AUDIT, "math:sin", None], {}),
        (f"audit {BANDIT} --library trl", "audit.cases", [AUDIT, None, "trl"], {}),
        ("audit", "app.begun", [None, None], {"seed": 0}),
        (f"audit {BANDIT} --loss math:sin --seed 3", "app.begun", [BANDIT, "math:sin"], {"seed": 3}),
        (f"audit {BANDIT} --loss math:sin", "audit.run", [AUDIT, ["math:sin"]], {}),
        (f"audit {BANDIT} --loss agents.losses.named:reinforce --out a", "audit.run",
         [AUDIT, ["agents.losses.named:reinforce"]], {}),
        (f"variance {BANDIT}", "app.begun", [BANDIT], {}),
        (f"variance {BANDIT} --gamma .5", "variance.variances", [("Bandit-v0", 0.5), "SoftmaxPolicy"], {}),
        (f"variance {BANDIT} --gamma .5 --out a", "variance.write", [("Bandit-v0", 0.5), "a"], {}),
        (f"train {BANDIT}", "app.begun", [BANDIT], {"seed": 0}),
        (f"train {BANDIT} --seed 3", "app.begun", [BANDIT], {"seed": 3}),
        (f"train {BANDIT}", "train.make_agent", [1.0, None, None, "learned", "sampled"], {}),
        (f"train {BANDIT} --gamma .5 --optimizer ascent --lr .3 --baseline exact --gradient natural",
         "train.make_agent", [0.5, "ascent", 0.3, "exact", "natural"], {}),
        (f"train {BANDIT}", "train.trained", [(("Bandit-v0", 1.0), 100, None), "manifest", "console"],
         {"updates": 200, "resume": False}),
        (f"train {BANDIT} --resume", "train.trained", [(("Bandit-v0", 1.0), 100, 10), "manifest", "console"],
         {"updates": 200, "resume": True}),
        (f"train {BANDIT} --updates 7 --episodes 5 --checkpoint-every 3 --resume", "train.trained",
         [(("Bandit-v0", 1.0), 5, 3), "manifest", "console"], {"updates": 7, "resume": True}),
        ("train --model m", "language.commands.train_model",
         [Settings("m", "digits", None, "rloo", 0.05, 4, 8, 32, 1e-5, 1.0, None, None, 0), ".", "console"],
         {"updates": 20, "every": 10, "pieces": 1, "resume": False, "sharded": False}),
        ("train --model m --task x.jsonl --reward y:f --loss grpo --beta .1 --groups 2 --group-size 3 --max-tokens 5 "
         "--lr .2 --temperature .7 --top-k 6 --top-p .8 --seed 9 --updates 11 --checkpoint-every 12 --pieces 13 "
         "--resume --sharded --out a", "language.commands.train_model",
         [Settings("m", "x.jsonl", "y:f", "grpo", 0.1, 2, 3, 5, 0.2, 0.7, 6, 0.8, 9), "a", "console"],
         {"updates": 11, "every": 12, "pieces": 13, "resume": True, "sharded": True}),
    ],
)  # fmt: skip
def test_what_a_command_hands_on(
    command: str, place: str, arguments: list[Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "train.trained":
        monkeypatch.setattr("agents.cli.app.begun", lambda *_, **__: "manifest")
    assert handed_on(monkeypatch, command, place) == (arguments, options)


def test_what_a_run_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options, and what a checkpoint is held against."""
    command = f"train {BANDIT} --episodes 5 --seed 3 --gradient exact --baseline none --out a"
    (problem, agent, folder), options = handed_on(monkeypatch, command, "train.Run")
    assert (problem, type(agent).__name__, folder) == (("Bandit-v0", 1.0), "ExactAscent", "a")
    assert options == {"episodes": 5, "seed": 3, "every": None, "baseline": "none", "gradient": "exact"}


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (f"verify {BANDIT} --episodes 99", "verify"), (f"solve {BANDIT}", "solve"), (f"show {BANDIT}", "show"),
        (f"variance {BANDIT}", "variance"), (f"audit {BANDIT} --loss mine_again:f", "audit"),
    ],
)  # fmt: skip
def test_the_folder_that_is_full_is_named(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    Path("mine_again.py").write_text("def f(batch):\n    return -(batch.rewards * batch.log_probs).mean()\n")
    monkeypatch.setattr(f"agents.cli.{place}.write", full)
    assert run(monkeypatch, *shlex.split(command), "--out", "a") == 1
    told = capsys.readouterr().err.lstrip("\n")  # rich 13 leaves empty lines where a bar was
    assert told == "exactrl: cannot write to a: No space left\n"


def test_one_thread_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    handed_on(monkeypatch, "envs", "zoo.rows")
    assert asked == [1]


def test_which_version_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"exactrl": "1.2.3"}.get)
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == "exactrl 1.2.3\n"


SELF_TEST = "--self-test has its own random MDPs: it takes no ENV, --gamma, --episodes or --model"
MODEL = "--model has its own problems: they take no ENV, --gamma or --episodes"
ONE_OF_TWO = "train takes an ENV, or --model PATH with a --task: one of the two"
EM = "an EM step has no optimizer and no learning rate"
ZOO = ", ".join(f"exactrl/{name}-v0" for name in envs.ZOO)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"verify --self-test {BANDIT}", SELF_TEST),
        ("verify --self-test --gamma 0", SELF_TEST),
        ("verify --self-test --episodes 5", SELF_TEST),
        ("verify --self-test --model m", SELF_TEST),
        (f"verify --model m {BANDIT}", MODEL),
        ("verify --model m --gamma 0", MODEL),
        ("verify --model m --episodes 5", MODEL),
        ("train", ONE_OF_TWO),
        (f"train {BANDIT} --model m", ONE_OF_TWO),
        ("train --model m --gamma 1 --episodes 100 --optimizer adamw --baseline learned --gradient sampled",
         "--gamma, --episodes, --optimizer, --baseline, --gradient has no meaning with --model"),
        (f"train {BANDIT} --task x --reward y --loss z --beta 1 --groups 4 --group-size 8",
         "--task, --reward, --loss, --beta, --groups, --group-size has no meaning with an ENV"),
        (f"train {BANDIT} --sharded --max-tokens 32 --temperature 1 --top-k 1 --top-p 1 --pieces 1",
         "--max-tokens, --temperature, --top-k, --top-p, --pieces, --sharded has no meaning with an ENV"),
        (f"train {BANDIT} --gradient em --lr .1", EM),
        (f"train {BANDIT} --gradient em --optimizer ascent", EM),
        (f"train {BANDIT} --lr 0", "the learning rate must be positive, not 0.0"),
        ("solve exactrl/X-v0", f"unknown ENV 'exactrl/X-v0'; there are {ZOO}"),
        ("solve missing.npz", "there is no file missing.npz"),
        (f"audit {BANDIT} --loss math:sin --library trl", "--loss and --library are two questions: ask one"),
        ("audit --library trlx", "--library takes trl or torchrl, not 'trlx'"),
        ("audit --loss nothing", "--loss takes module:function, not 'nothing'"),
        ("audit --loss :f", "--loss takes module:function, not ':f'"),
        ("audit --loss f:", "--loss takes module:function, not 'f:'"),
        ("audit --loss math:pi", "'math' has no function 'pi' for --loss"),
        ("audit --loss math:nothing", "'math' has no function 'nothing' for --loss"),
        ("audit --loss math:sin:cos", "'math' has no function 'sin:cos' for --loss"),
        ("audit --loss broken:f",
         "cannot import 'broken' for --loss: NameError: name 'y' is not defined (broken.py, line 2)"),
        ("audit --loss raising:f", "--loss raising:f raised KeyError: 'x' (raising.py, line 2)"),
    ],
)  # fmt: skip
def test_mistakes_word_for_word(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text("\nx = y\n")
    Path("raising.py").write_text("def f(batch):\n    return {}['x']\n")
    assert run(monkeypatch, *shlex.split(command)) == 2
    assert capsys.readouterr().err == f"exactrl: {said}\n"
