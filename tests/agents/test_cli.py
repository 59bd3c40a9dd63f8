"""The command line: what it prints and writes, its exit codes, and one clear line for every mistake."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import envs
from agents import ExactValues, LearnedValues, Reinforce, ReinforceLoss
from agents.audits import catalogue as zoo
from agents.cli import app
from agents.cli import selftest as selftesting
from agents.cli.audit import _short
from agents.cli.train import Baseline, Gradient, make_agent
from agents.learning import training
from agents.selftest import MISTAKES, self_test
from agents.selftest.run import Outcome, SelfTest
from mdp import FiniteMDP


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`exactrl arguments`, in this process: its exit code."""
    monkeypatch.setattr(sys, "argv", ["exactrl", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_verify_by_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Seed 0. Five environments, SE / |grad J| at most .05 everywhere."""
    assert run(monkeypatch, "verify") == 0
    printed = capsys.readouterr().out
    content = json.loads(Path("exactrl-verify.json").read_text())
    assert content["passed"] is True
    names = [report["name"].split(",")[0] for report in content["reports"]]
    assert names == ["ShortCorridor", "Gridworld4x4", "FrozenLake-v1", "CliffWalking-v1", "Tokens"]
    for report in content["reports"]:
        assert report["name"] in printed
        assert report["relative_error"] <= 0.05
        assert all(row["error"] <= 1e-8 for row in report["rows"][:-1])
    assert content["reports"][0]["gradient"] == pytest.approx([-0.4862286773, 0.4862286773], abs=1e-9)
    assert Path("exactrl-verify.png").read_bytes()[:4] == b"\x89PNG"


def test_verify_one_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("exactrl/RandomWalk-v0", "--gamma", "0.8", "--episodes", "3000", "--seed", "1", "--out", "a/b")
    assert run(monkeypatch, "verify", *arguments) == 0
    (report,) = json.loads(Path("a/b/exactrl-verify.json").read_text())["reports"]
    assert (report["gamma"], report["episodes"], report["seed"]) == (0.8, 3000, 1)


def test_verify_without_power_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "verify", "FrozenLake-v1", "--episodes", "50") == 1
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "SE / |grad J|  " in line)
    assert row.rstrip().endswith("no power")


@pytest.mark.parametrize(
    ("env", "gamma", "J", "picture"),
    [
        ("FrozenLake-v1", 1.0, 14 / 17, True),
        ("FrozenLake-v1", 0.99, 0.5420259320, True),
        ("CliffWalking-v1", 1.0, -13, True),
        ("Taxi-v4", 0.99, 6.3274643149, True),
        ("exactrl/Gridworld5x5-v0", None, None, True),
        ("exactrl/RecyclingRobot-v0", None, None, False),
    ],
)
def test_solve(
    env: str, gamma: float | None, J: float | None, picture: bool,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(monkeypatch, "solve", env, *(() if gamma is None else ("--gamma", str(gamma)))) == 0
    printed = capsys.readouterr().out
    if J is not None:
        assert float(printed.split("J* = ")[1].split(";")[0]) == pytest.approx(J, abs=1e-9)
    stem = f"exactrl-solve-{env.removeprefix('exactrl/')}"
    with Path(f"{stem}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FiniteMDP.from_gymnasium(env, gamma=0.9).n_states
    assert Path(f"{stem}.png").exists() == picture


def test_solve_shows_ties(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "solve", "exactrl/Gridworld4x4-v0") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "(1, 2)" in line)
    assert line.split()[2:] == ["-3", "up", "right", "down", "left"]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--gradient", "exact", "--optimizer", "ascent"),
        ("--gradient", "natural", "--optimizer", "ascent"),
        ("--gradient", "em"),
        ("--baseline", "exact"),
    ],
)
def test_train(options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "train", "exactrl/ContextualBandit-v0", "--updates", "30", *options) == 0
    assert "J* = 0.95" in capsys.readouterr().out
    with Path("exactrl-train-ContextualBandit-v0.csv").open() as file:
        J = [float(row["J"]) for row in csv.DictReader(file)]
    assert len(J) == 31
    assert J[0] == pytest.approx(0.5 * 0.3125 + 0.3 * 0.3125 + 0.2 * 0.375)
    assert J[-1] > J[0] + 0.03
    assert Path("exactrl-train-ContextualBandit-v0.png").read_bytes()[:4] == b"\x89PNG"


# ---- audit and variance ----


def test_audit_by_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every named loss on the tokens at gamma .9, the teaching pairs with the verdicts that they must have."""
    assert run(monkeypatch, "audit") == 0
    printed = capsys.readouterr().out
    content = json.loads(Path("exactrl-audit.json").read_text())
    verdicts = {row["name"]: (row["verdict"], row["verdict_of_J"]) for row in content["audits"]}
    assert all(name in printed for name in verdicts)
    for name, verdict in {
        "REINFORCE, gamma^t G_t": "exact",
        "G_t without gamma^t": "biased",
        "whole return G_0": "exact",
        "gamma^t G_0": "biased",
        "actor-critic, v = v_pi": "exact",
        "GAE .5, v = v_pi": "exact",
        "GAE 1, v = v_pi": "exact",
        "actor-critic, v = 0": "biased",
        "RLOO": "exact",
        "group mean, own included": "scaled",
        "Dr. GRPO": "scaled",
        "GRPO": "biased",
        "DAPO": "biased",
        "stale, sequence weights": "exact",
        "stale, token weights": "biased",
    }.items():
        assert verdicts[name] == (verdict, verdict), name
    assert verdicts["RLOO, k1 in reward"] == ("exact", "biased")
    assert next(x.split()[-2:] for x in printed.splitlines() if "RLOO, k1 in reward" in x) == ["exact", "biased"]
    assert verdicts["k1 in loss"] == ("biased", "exact")
    assert verdicts["entropy in loss"] == ("biased", "biased")
    assert verdicts["SFT on demonstrations"] == ("exact", "biased")
    scales = {row["name"]: row["scale"] for row in content["audits"]}
    assert scales["group mean, own included"] == pytest.approx(1 / 2, rel=1e-10)
    assert scales["Dr. GRPO"] == pytest.approx(1 / 6, rel=1e-10)
    assert Path("exactrl-audit.png").read_bytes()[:4] == b"\x89PNG"


def test_audit_of_ones_own_loss(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("losses_of_mine.py").write_text(
        "def right(batch):\n    return -(batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()\n"
        "def wrong(batch):\n    return -(batch.rewards * batch.log_probs).sum(1).mean()\n"
    )
    corridor = ("exactrl/ShortCorridor-v0", "--horizon", "5", "--gamma", "1", "--out", "a")
    assert run(monkeypatch, "audit", *corridor, "--loss", "losses_of_mine:right", "--groups", "2") == 0
    assert "gamma 1, 5 steps at most; a batch is 2 groups of 2" in capsys.readouterr().out
    (row,) = json.loads(Path("a/exactrl-audit.json").read_text())["audits"]
    assert (row["verdict"], row["name"], row["groups"]) == ("exact", "losses_of_mine:right", 2)
    assert run(monkeypatch, "audit", *corridor, "--loss", "losses_of_mine:wrong") == 1
    assert run(monkeypatch, "audit", "FrozenLake-v1", "--loss", "losses_of_mine:right", "--samples", "500") == 1
    printed = capsys.readouterr().out
    assert "500 of them drawn" in printed
    assert "no power" in printed  # so few would not tell the true gradient from 0


def test_audit_goes_on_where_one_refuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A continuing problem: what needs whole episodes is named with its reason, the rest is audited."""
    assert run(monkeypatch, "audit", "exactrl/RecyclingRobot-v0", "--samples", "100") == 0
    printed = capsys.readouterr().out
    assert "not audited: " in printed
    assert "episodes are truncated" in printed
    audits = json.loads(Path("exactrl-audit.json").read_text())["audits"]
    assert audits[0]["name"] == "REINFORCE, gamma^t G_t"
    assert len(audits) < 20


def test_an_interrupt_keeps_the_audits_that_are_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = zoo.audited
    calls = iter(range(100))

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return one(*arguments, **options)

    monkeypatch.setattr(zoo, "audited", interrupted)
    assert run(monkeypatch, "audit") == 130
    assert "exactrl: interrupted" in capsys.readouterr().err
    assert len(json.loads(Path("exactrl-audit.json").read_text())["audits"]) == 3


def test_variance_of_the_corridor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two tied preferences move against each other: the trace is twice the variance for theta_right."""
    assert run(monkeypatch, "variance", "exactrl/ShortCorridor-v0", "--gamma", "1") == 0
    printed = capsys.readouterr().out
    content = json.loads(Path("exactrl-variance-ShortCorridor-v0.json").read_text())
    half = {row["name"].split(" -")[0]: row["trace"] / 2 for row in content["estimators"]}
    expected = {"G_0": 1959, "G_t": 733, "G_t, b = J =": 277, "G_t, b = v_pi": 295,
                "G_t, best constant": 830 / 3, "G_t, best b(s)": 820 / 3}  # fmt: skip
    assert {name: half[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert next(line for line in printed.splitlines() if "least" in line).split()[:3] == ["G_t,", "best", "b(s)"]
    assert content["estimators"][5]["episodes_for_1_percent"] == pytest.approx(2 * 733 / (0.01**2 * 8), abs=1)
    assert content["best_baseline"][:3] == pytest.approx([-40 / 3, -11, -12])


def test_verify_self_test(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(selftesting, "self_test", partial(self_test, worlds=2))
    assert run(monkeypatch, "verify", "--self-test") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{len(MISTAKES)} of {len(MISTAKES)} planted mistakes are rejected" in printed
    assert "0 false alarms" in printed


def test_a_self_test_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = Outcome("right", "exact", 2, 2, None), Outcome("unnoticed", "biased", 1, 2, 7)
    monkeypatch.setattr(selftesting, "self_test", lambda **_: SelfTest([wrong], [right]))
    assert run(monkeypatch, "verify", "--self-test") == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "unnoticed biased 1 of 2 FAIL, first in world 7" in printed
    assert "0 of 1 planted mistakes are rejected" in printed


def test_numbers_of_a_narrow_column() -> None:
    assert [_short(x) for x in (1 / 6, 1.0, -12345.6, 123456.0, 1e-5)] == ["0.1667", "1", "-1e+04", "1e+05", "1e-05"]


def test_an_interrupt_keeps_the_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    exact = training._exact
    calls = iter(range(100))

    def interrupted(*arguments: object) -> float:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return exact(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_exact", interrupted)
    assert run(monkeypatch, "train", "exactrl/Bandit-v0") == 130
    assert "exactrl: interrupted" in capsys.readouterr().err
    with Path("exactrl-train-Bandit-v0.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_an_update_that_goes_wrong_keeps_the_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "train", "exactrl/ShortCorridor-v0", "--lr", "1e5", "--optimizer", "ascent") == 2
    assert "exactrl: after 0 updates: the policy" in capsys.readouterr().err
    assert Path("exactrl-train-ShortCorridor-v0.csv").exists()


def cpu_seconds(pid: int) -> float:
    """What a process has used so far; where there is no /proc, the time on the clock."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("arguments", [["verify", "Taxi-v4"], ["train", "FrozenLake-v1", "--updates", "100000"]])
def test_ctrl_c_is_one_line_and_exit_code_130(arguments: list[str]) -> None:
    """Of these two; the others, and what is kept, are in tests/faults."""
    script = "from agents.cli.app import main; print('imported', flush=True); main()"
    # a shell's background processes ignore SIGINT; this one is to hear it
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "imported\n"
    started, limit = cpu_seconds(process.pid), time.monotonic() + 120
    while cpu_seconds(process.pid) < started + 5 and time.monotonic() < limit:  # it is at work by then
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "exactrl: interrupted\n")
    assert bool(list(Path().glob("exactrl-train-*.csv"))) == ("train" in arguments)


def test_labels_are_text_not_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    FiniteMDP.from_outcomes({("[/b]", "[red]a"): [(1.0, "end", 1.0)]}, gamma=1.0).save("m.json")
    assert run(monkeypatch, "solve", "m.json") == 0
    printed = capsys.readouterr().out
    assert "[/b]" in printed
    assert "[red]a" in printed


def test_without_arguments_it_helps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch) == 0
    assert "verify" in capsys.readouterr().out


def test_a_saved_mdp_is_an_env(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    envs.short_corridor(0.9).save("c.json")
    assert run(monkeypatch, "solve", "c.json") == 0
    assert "J* = -2.71" in capsys.readouterr().out
    assert run(monkeypatch, "solve", "c.json", "--gamma", "1") == 0
    assert "J* = -3;" in capsys.readouterr().out


def _foreign_files() -> None:
    Path("damaged.json").write_text('{"format": "exactrl.FiniteMDP/1", "gamma"')
    Path("foreign.json").write_text("[1, 2]")
    np.savez("foreign.npz", x=np.zeros(3))
    Path("notes.txt").write_text("hello")
    Path("broken.py").write_text("x = y")
    Path("raising.py").write_text("def f(batch):\n    return {}['x']\n")
    FiniteMDP.from_outcomes({("s", 0): [(1 - 1e-14, "s", -1.0), (1e-14, "e", -1.0)]}, gamma=1.0).save("slow.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("solve", "Nope-v0"), "Gymnasium cannot make 'Nope-v0'"),
        (("solve", "exactrl/Nope-v0"), "unknown ENV 'exactrl/Nope-v0'; there are exactrl/ShortCorridor-v0"),
        (("solve", "Taxi-v3"), "Taxi-v4 took its place"),
        (("solve", "CliffWalking-v0"), "CliffWalking-v1 took its place"),
        (("train", "CartPole-v1"), "CartPole-v1 has no table P"),
        (("verify", "CartPole-v1"), "CartPole-v1 has no table P"),
        (("verify", "FrozenLake-v1", "Nope-v0"), "Gymnasium cannot make 'Nope-v0'"),
        (("solve", "missing.json"), "there is no file missing.json"),
        (("solve", "damaged.json"), "damaged.json is not a FiniteMDP"),
        (("solve", "foreign.json"), "foreign.json is not a FiniteMDP"),
        (("train", "foreign.npz"), "foreign.npz is not a FiniteMDP"),
        (("solve", "notes.txt"), "kept in a .npz or .json file"),
        (("solve", "FrozenLake-v1", "--gamma", "1.5"), "gamma must lie in [0, 1], not 1.5"),
        (("solve", "FrozenLake-v1", "--method", "magic"), "unknown method 'magic'"),
        (("solve", "FrozenLake-v1", "--tolerance", "0"), "tolerance must be positive"),
        (("solve", "exactrl/RecyclingRobot-v0", "--gamma", "1"), "no policy surely ends from"),
        (("verify", "exactrl/RecyclingRobot-v0", "--gamma", "1"), "never ends from state 'high'"),
        (("verify", "FrozenLake-v1", "--episodes", "0"), "episodes must be at least 1, not 0"),
        (("train", "FrozenLake-v1", "--lr", "-1"), "learning rate must be positive, not -1"),
        (("train", "FrozenLake-v1", "--updates", "0"), "--updates"),
        (("train", "FrozenLake-v1", "--optimizer", "magic"), "'magic' is not one of 'ascent', 'adamw'"),
        (("solve", "FrozenLake-v1", "--out", "notes.txt"), "cannot write to the folder notes.txt"),
        (("verify", "--out", "/proc/nowhere"), "cannot write to the folder /proc/nowhere"),
        (("verify", "--seed", "9" * 30), "--seed"),
        (("solve", "Humanoid-v2"), "Gymnasium cannot make 'Humanoid-v2'"),
        (("solve", ":"), "Gymnasium cannot make ':'"),
        (("verify", "slow.json"), "steps on average"),
        (("audit", "exactrl/ShortCorridor-v0"), "can return to state 0: its trajectories cannot be listed"),
        (("audit", "--group-size", "20"), "30 trajectories in batches of 1 x 20 make"),
        (("audit", "--group-size", "1", "--loss", "agents.losses.advantages:group_mean"), "groups of at least 2"),
        (("audit", "--group-size", "0"), "--group-size"),
        (("audit", "--loss", "nothing"), "--loss takes module:function, not 'nothing'"),
        (("audit", "--loss", "no_such_module:f"), "cannot import 'no_such_module' for --loss"),
        (("audit", "--loss", "math:pi"), "'math' has no function 'pi' for --loss"),
        (("audit", "--loss", "agents.losses.advantages:ones"), "not a scalar"),
        (("audit", "--library", "nothing"), "--library takes trl or torchrl, not 'nothing'"),
        (("audit", "--library", "trl", "--loss", "math:sin"), "--loss and --library are two questions"),
        (("audit", "--loss", "broken:f"), "cannot import 'broken' for --loss: NameError"),
        (("audit", "--loss", "operator:neg"), "for unary -"),
        (("audit", "--loss", "raising:f"), "--loss raising:f raised KeyError: 'x' (raising.py, line 2)"),
        (("verify", "--self-test", "FrozenLake-v1"), "--self-test has its own random MDPs"),
        (("train", "exactrl/ContextualBandit-v0", "--gradient", "em", "--lr", "0.1"), "no optimizer and no learning"),
        (("variance", "Nope-v0"), "Gymnasium cannot make 'Nope-v0'"),
        (("train", "exactrl/ShortCorridor-v0", "--gradient", "em"), "must be >= 0"),
        (("dance",), "No such command 'dance'"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _foreign_files()
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("exactrl: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(Path().glob("exactrl-*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("solve",), ("missing argument", "env")), (("solve", "FrozenLake-v1", "--magic"), ("no such option", "--magic"))],
)
def test_mistakes_that_typer_finds(
    arguments: tuple[str, ...], words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Its versions write them differently."""
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("exactrl: ")
    assert error.count("\n") == 1
    assert all(word in error.lower() for word in words)


def test_the_console_script() -> None:
    script = Path(sys.executable).with_name("exactrl")
    found = subprocess.run([script, "solve", "Nope-v0"], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    helped = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    for command in ("verify", "audit", "variance", "solve", "envs", "show", "train"):
        assert command in helped.stdout


def test_nothing_to_climb_has_no_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    """grad J = 0: null in the JSON file, not nan."""
    outcomes = {("s", a): [(1.0, "end", 1.0)] for a in "ab"}
    FiniteMDP.from_outcomes(outcomes, gamma=1.0).save("flat.json")
    assert run(monkeypatch, "audit", "flat.json") == 0
    audits = json.loads(Path("exactrl-audit.json").read_text())["audits"]
    assert {row["cosine_of_J"] for row in audits} <= {None, 0.0}


def test_a_checkpoint_at_the_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "exactrl/ContextualBandit-v0", "--updates", "7", "--checkpoint-every", "5")
    assert run(monkeypatch, *arguments) == 0
    (folder,) = Path().glob("*-checkpoints")
    assert max(path.name for path in folder.iterdir()) == "update-000007"
    (shard,) = (folder / "update-000007").glob("*.safetensors")
    with safe_open(shard, "np") as file:
        assert "baseline" in set(file.keys())  # what it has learned of v


@pytest.mark.parametrize(
    ("kind", "expected"), [("none", type(None)), ("learned", LearnedValues), ("exact", ExactValues)]
)
def test_the_baseline_that_is_asked_for(kind: str, expected: type) -> None:
    agent = make_agent(envs.gridworld_4x4(), None, None, Baseline(kind), Gradient.sampled)
    assert isinstance(agent, Reinforce)
    assert isinstance(agent.loss, ReinforceLoss)
    assert type(agent.loss.baseline) is expected
