"""The tables, texts and files of the commands, from results that are made by hand."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

import envs
from agents.audits.catalogue import Case, Found
from agents.cli import audit as auditing
from agents.cli import selftest as selftesting
from agents.cli import solve as solving
from agents.cli import verify as verifying
from agents.cli.problems import Problem, starting_policy
from agents.selftest.run import Outcome, SelfTest
from mdp import FiniteMDP, solve


def cells(table: Table) -> list[tuple[str, ...]]:
    """The headers, and every row."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return list(zip(*columns, strict=True))


def pays(n: int) -> Problem:
    """In each of n states one step pays -1, and ends."""
    outcomes = {(s, "go"): [(1.0, "end", -1.0)] for s in range(n)}
    return Problem("pays", FiniteMDP.from_outcomes(outcomes, gamma=0.5))


# ---- solve ----


@pytest.mark.parametrize(
    ("converged", "interrupted", "state"),
    [
        (True, False, "converged"),
        (False, False, "NOT CONVERGED: a smaller bound is not proven in float64; it ended"),
        (False, True, "NOT CONVERGED: interrupted"),
        (True, True, "NOT CONVERGED: interrupted"),
    ],
)
def test_the_summary_of_solve(converged: bool, interrupted: bool, state: str) -> None:
    """One, two, three actions are optimal in the three states: two of these have ties."""
    outcomes = {(s, a): [(1.0, "end", -1.0)] for s in range(3) for a in "abc"}
    mdp = FiniteMDP.from_outcomes(outcomes, gamma=0.5)
    ties = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    found = solve(mdp)._replace(optimal_actions=ties, bound=0.00123, iterations=7, converged=converged)
    assert solving.summary(Problem("x", mdp), found, interrupted) == (
        f"x: 4 states, 3 actions, gamma 0.5\nJ* = -1; v* within 0.0012 ({state} after 7 iterations); "
        "2 states have more than one optimal action"
    )


@pytest.mark.parametrize(("states", "more"), [(39, None), (40, None), (41, "1 more"), (50, "10 more")])
def test_the_first_states_are_printed(states: int, more: str | None) -> None:
    """And that there are others in the file."""
    problem = pays(states)
    rest = [] if more is None else [("...", more, "all in the .csv file")]
    rows = [(str(s), "-1", "go") for s in range(min(states, 40))]
    assert cells(solving.table(problem, solve(problem.mdp))) == [("state", "v*", "optimal actions"), *rows, *rest]


def test_what_solve_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All states and optimal actions; of a board a picture, whose policy takes ties equally often."""
    drawn, saved = Mock(return_value="picture"), Mock()
    monkeypatch.setattr(solving, "plot_board", drawn)
    monkeypatch.setattr(solving, "save_figure", saved)
    problem = Problem("a/grid", envs.gridworld_4x4(), lambda s: s if isinstance(s, tuple) else None)
    found = solve(problem.mdp)
    written = solving.write(problem, found, tmp_path)
    assert written == [tmp_path / "exactrl-solve-a-grid.csv", tmp_path / "exactrl-solve-a-grid.png"]
    lines = written[0].read_text().splitlines()
    assert len(lines) == 1 + problem.mdp.n_states
    assert lines[0] == "state,v,optimal_actions"
    assert '"(1, 2)",-3.0,up right down left' in lines
    (((mdp, board), given),) = drawn.call_args_list
    assert mdp is problem.mdp
    assert saved.mock_calls == [call("picture", written[1])]
    assert board.shape == (4, 4)
    assert given["v"] is found.v
    assert given["title"] == "a/grid, gamma 1: v* and all optimal actions"
    ties = found.optimal_actions
    live = ~problem.mdp.terminal
    assert np.array_equal(given["policy"] > 0, ties)
    assert np.allclose(given["policy"].sum(1), live)
    assert all(len(set(row[row > 0])) <= 1 for row in given["policy"])
    assert solving.write(pays(3), solve(pays(3).mdp), tmp_path) == [tmp_path / "exactrl-solve-pays.csv"]


def test_solve_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = pays(3)
    asked, said = [], Mock()

    def slowly(mdp: FiniteMDP, *, progress: Callable[[int, float], None], **options: Any) -> str:
        asked.append((mdp, options))
        progress(3, 0.012345)
        return "solution"

    monkeypatch.setattr(solving, "solve", slowly)
    monkeypatch.setattr("rich.status.Status.update", said)
    found: Any = solving.run(problem, method="m", tolerance=0.25, console=Console(file=io.StringIO()))
    assert found == ("solution", False)
    assert asked == [(problem.mdp, {"method": "m", "tolerance": 0.25})]
    assert said.mock_calls == [call("iteration 3: v* within 1.23e-02")]


# ---- verify ----


def row(route: str, value: float, error: float, tolerance: float, passed: bool) -> SimpleNamespace:
    return SimpleNamespace(route=route, value=value, error=error, tolerance=tolerance, passed=passed)


def test_the_table_of_verify() -> None:
    """A report that passes, and one that fails and has no power."""
    theorem, sampled = row("theorem", 1.25, 0.5, 0.5, True), row("sampled REINFORCE", 1.23456, 1.26, 3.89, True)
    wrong = row("autograd", 1.234567891, 0.0123, 1e-8, False)
    good = SimpleNamespace(name="a[/b]", objective=-12.0, verdict="pass", rows=[theorem, sampled], error_along=0.0123,
                           relative_error=0.0456, has_power=True)  # fmt: skip
    bad = SimpleNamespace(name="b", objective=1 / 3, verdict="FAIL", rows=[wrong], relative_error=2.0, has_power=False)
    reports: Any = [good, bad]
    table = verifying.table(reports)
    assert cells(table) == [
        ("route", "value", "off by", "limit", ""),
        (r"[bold]a\[/b]", "J = -12", "", "", "[bold]pass"),
        ("  theorem", "1.25", "", "", "ok"),
        ("  sampled REINFORCE", "1.235 ± 0.012", "1.3 SE", "3.9 SE", "ok"),
        ("  SE / |grad J|", "0.046", "", "", "ok"),
        ("[bold]b", "J = 0.33333333", "", "", "[bold]FAIL"),
        ("  autograd", "1.2345679", "1.2e-02", "1e-08", "[bold red]FAIL"),
        ("  SE / |grad J|", "2.000", "", "", "no power"),
    ]
    assert [row.end_section for row in table.rows] == [False, False, False, True, False, False, True]
    assert table.title == "grad J by independent routes"


@pytest.mark.parametrize("passed", [(True, True), (True, False)])
@pytest.mark.parametrize("interrupted", [False, True])
def test_what_verify_writes(
    passed: tuple[bool, ...], interrupted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has passed where all checks did, and none is missing."""
    drawn = Mock()
    monkeypatch.setattr(verifying, "plot_reports", drawn)
    reports: Any = [SimpleNamespace(passed=x, as_dict=lambda x=x: {"x": x}) for x in passed]
    picture, numbers = verifying.write(reports, tmp_path, 3, interrupted=interrupted)
    assert (picture, numbers) == (tmp_path / "exactrl-verify.png", tmp_path / "exactrl-verify.json")
    assert drawn.mock_calls == [call(reports, picture)]
    content = json.loads(numbers.read_text())
    assert content.pop("versions")["numpy"] == np.__version__
    assert content == {"passed": all(passed) and not interrupted, "interrupted": interrupted, "seed": 3,
                       "reports": [{"x": x} for x in passed]}  # fmt: skip


def test_the_checks_by_default() -> None:
    """The corridor's policy is uniform; a table is drawn with the seed. gamma holds for all of them."""
    names = ["ShortCorridor", "Gridworld4x4-v0", "FrozenLake-v1", "CliffWalking-v1", "Tokens-v0"]
    for gamma, expected in ((None, [0.9, 1.0, 0.9, 0.9, 1.0]), (0.5, [0.5] * 5)):
        checks = verifying.default_checks(gamma, 3)
        assert [(x.problem.name, x.problem.mdp.gamma) for x in checks] == list(zip(names, expected, strict=True))
    (corridor, policy), *others = checks
    assert policy.matrix(corridor.mdp)[:3].tolist() == [[0.5, 0.5]] * 3
    assert len(next(iter(policy.parameters())).flatten()) == 2  # the states look alike
    other = verifying.check("exactrl/Tokens-v0", 0.5, 3).policy.matrix(others[-1].problem.mdp)
    assert others[-1].policy.matrix(others[-1].problem.mdp).equal(other)


@pytest.mark.parametrize("needed", [7, 2_000_000, 2_000_001])
def test_how_many_episodes_are_enough(needed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as SE / |grad J| = .05 takes, 2,000,000 at most."""
    mdp = envs.short_corridor()
    policy, asked = starting_policy(mdp), Mock(return_value=needed)
    monkeypatch.setattr(verifying, "episodes_for", asked)
    assert verifying._enough(policy, mdp) == min(needed, 2_000_000)
    assert asked.mock_calls == [call(policy, mdp, 0.05)]


def test_few_episodes_where_nothing_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """grad J = 0. An own number of episodes is taken as it is."""
    asked = Mock()
    monkeypatch.setattr(verifying, "pgcheck", asked)
    problem = pays(1)
    checks = [verifying.Check(problem, starting_policy(problem.mdp))]
    for episodes in (None, 5):
        list(verifying.run(checks, episodes=episodes, seed=3, console=Console(file=io.StringIO())))
    assert [(x["episodes"], x["seed"], x["name"]) for _, x in asked.call_args_list] == [
        (1000, 3, "pays, gamma 0.5"),
        (5, 3, "pays, gamma 0.5"),
    ]


# ---- the self-test ----


def test_the_table_of_the_self_test() -> None:
    mistakes = [Outcome("caught", "biased", 10, 10, None), Outcome("not", "scaled by 2", 7, 10, 4)]
    correct = [Outcome("right", "exact", 1000, 1000, None), Outcome("wrong", "exact", 997, 1000, 3),
               Outcome("right, too", "exact", 1000, 1000, None)]  # fmt: skip
    found = SelfTest(mistakes, correct)
    table = selftesting.table(found)
    assert cells(table) == [
        ("loss", "must be", "was, in", ""),
        ("[bold]planted mistakes", "", "", ""),
        ("  caught", "biased", "10 of 10", "[green]ok"),
        ("  not", "scaled by 2", "7 of 10", "[red]FAIL, first in world 4"),
        ("[bold]correct losses", "", "", ""),
        ("  right", "exact", "1000 of 1000", "[green]ok"),
        ("  wrong", "exact", "997 of 1000", "[red]FAIL, first in world 3"),
        ("  right, too", "exact", "1000 of 1000", "[green]ok"),
    ]
    assert table.title == "the checks, checked"
    assert selftesting.summary(found) == (
        "1 of 2 planted mistakes are rejected, each on 10 random MDPs;\n"
        "2 of 3 correct losses are accepted on all of 1000 random MDPs: 3 false alarms in 3,000 audits"
    )


def test_a_self_test_that_is_interrupted_says_how_far_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*, progress: Callable[[int, int], None]) -> None:
        progress(12, 40)
        raise KeyboardInterrupt

    monkeypatch.setattr(selftesting, "self_test", stopped)
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        selftesting.run(Console(file=out))
    assert out.getvalue().strip() == "12 audits were made; a verdict takes all"


# ---- audit ----


def audited(name: str, claims: str, verdict: str, of_J: str, *, other: bool = False, cosine: float = 0.98765) -> Found:
    """Found by hand; other: it claims another objective than J."""
    numbers: Any = {"cosine": cosine, "scale": -1 / 6, "relative_error": 0.0123, "covariance_trace": 12.345}
    found: Any = [SimpleNamespace(**numbers, verdict=x, as_dict=lambda: {"scale": -1 / 6}) for x in (verdict, of_J)]
    objective: Any = "another" if other else None
    return Found(Case(name, lambda batch: batch.rewards, claims, objective), *found)


FOUND = [
    audited("a[/b]", "J", "exact", "biased"),
    audited("kl", "J - KL", "scaled", "biased", other=True, cosine=math.nan),
    audited("c", "J", "no power", "biased"),
    audited("d", "J", "consistent", "biased"),
]


def test_the_table_of_audit() -> None:
    """Below what it claims; beside J where that is another thing."""
    at: Any = SimpleNamespace(title="title")
    numbers = ("0.9877", "-0.1667", "1e-02", "12")
    table = auditing.table(at, FOUND)
    assert cells(table) == [
        ("loss", "cosine", "scale", "off by", "trace", "verdict", "of J"),
        ("[bold]claims J", *[""] * 6),
        (r"  a\[/b]", *numbers, "[green]exact", ""),
        ("  c", *numbers, "[yellow]no power", ""),
        ("  d", *numbers, "[green]consistent", ""),
        ("[bold]claims J - KL", *[""] * 6),
        ("  kl", "nan", *numbers[1:], "[cyan]scaled", "[red]biased"),
    ]
    assert table.title == "title"
    assert [row.end_section for row in table.rows] == [False, False, False, True, False, True]


def test_each_reason_to_refuse_is_said_once() -> None:
    refused = [("a", "it is late"), ("b", "it is dark"), ("c", "it is late")]
    said = auditing.refusals(auditing.Results([], refused))
    assert said == "not audited: a, c: it is late\nnot audited: b: it is dark"


@pytest.mark.parametrize("library", [None, "torch"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_what_audit_writes(
    library: str | None, interrupted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that was audited is among the versions; no nan is in a JSON file."""
    drawn, versions = Mock(), Mock(return_value={"x": "1"})
    monkeypatch.setattr(auditing, "plot_audits", drawn)
    monkeypatch.setattr(auditing, "versions", versions)
    at: Any = SimpleNamespace(title="title", seed=3)
    picture, numbers = auditing.write(at, auditing.Results(FOUND[:2], [], interrupted), tmp_path, library)
    assert (picture, numbers) == (tmp_path / "exactrl-audit.png", tmp_path / "exactrl-audit.json")
    assert drawn.mock_calls == [call([(case.name, claimed) for case, claimed, _ in FOUND[:2]], picture, "title")]
    assert versions.mock_calls == [call() if library is None else call(library)]
    assert json.loads(numbers.read_text()) == {
        "title": "title", "seed": 3, "versions": {"x": "1"}, "interrupted": interrupted,
        "audits": [
            {"name": "a[/b]", "claims": "J", "scale": -1 / 6, "verdict_of_J": "biased", "cosine_of_J": 0.98765},
            {"name": "kl", "claims": "J - KL", "scale": -1 / 6, "verdict_of_J": "biased", "cosine_of_J": None},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("horizon", "groups", "samples", "title"),
    [
        (None, 1, None, "Bandit, gamma 0.5; a batch is 1 group of 7"),
        (3, 2, None, "Bandit, gamma 0.5, 3 steps at most; a batch is 2 groups of 7"),
        (None, 3, 12345, "Bandit, gamma 0.5; a batch is 3 groups of 7; 12,345 of them drawn"),
    ],
)
def test_the_title_of_an_audit(horizon: int | None, groups: int, samples: int | None, title: str) -> None:
    assert auditing._title("Bandit-v0", envs.bandit().with_gamma(0.5), horizon, 7, groups, samples) == title
