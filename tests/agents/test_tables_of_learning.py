"""What variance, envs and train print."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import envs
from agents.cli import audit as auditing
from agents.cli import train as training
from agents.cli import variance as varying
from agents.cli import verify as verifying
from agents.cli import zoo
from mdp import FiniteMDP
from tests.agents.test_tables import cells, pays

# ---- variance ----


def estimator(name: str, trace: float) -> varying.Estimator:
    return varying.Estimator(name, True, 0.0, trace)


def by_hand(states: int, norm: float = 100.0) -> varying.Variances:
    """b(s) = s / 2 in state s, v_pi = -1."""
    traces = {"a": 8.5, "b": 8.5 * (1 + 5e-10), "c": 8.5 * (1 + 1e-8), "d": 123456.75}
    problem = pays(states)
    v = np.append(-np.ones(states), 0.0)
    return varying.Variances(
        problem._replace(name="pays/x-v0"), norm, [estimator(*x) for x in traces.items()], np.arange(states + 1) / 2, v,
        "", 6,
    )  # fmt: skip


def test_how_many_episodes_make_the_error_small() -> None:
    """trace / (.01 |grad J|)^2, rounded up."""
    assert [estimator("x", 8.5).episodes(norm) for norm in (100.0, 200.0, 0.0)] == [9, 3, math.inf]


def test_the_table_of_variance() -> None:
    """What is least up to rounding is marked."""
    table = varying.table(by_hand(2))
    assert table.title == "pays/x, gamma 0.5: |grad J| = 100"
    assert cells(table) == [
        ("each step worth", "trace of covariance", "episodes for 1 %", ""),
        ("a", "8.5", "9", "[green]least"),
        ("b", "8.500000004", "9", "[green]least"),
        ("c", "8.500000085", "9", ""),
        ("d", "123456.75", "123,457", ""),
    ]


@pytest.mark.parametrize(("states", "more"), [(40, None), (41, "1 more"), (50, "10 more")])
def test_the_first_baselines_are_printed(states: int, more: str | None) -> None:
    table = varying.baselines(by_hand(states))
    rest = [] if more is None else [("...", more, "in the file")]
    rows = [(str(s), f"{s / 2:g}", "-1") for s in range(min(states, 40))]
    assert cells(table) == [("state", "best b(s)", "v_pi(s)"), *rows, *rest]
    assert table.title == "for G_t: the best b(s), and v_pi"


@pytest.mark.parametrize("norm", [100.0, 0.0])
def test_what_variance_writes(norm: float, tmp_path: Path) -> None:
    """Where grad J is 0 no number of episodes makes the error small: null, since JSON has no infinity."""
    (path,) = varying.write(by_hand(2, norm), tmp_path)
    assert path == tmp_path / "exactrl-variance-pays-x-v0.json"
    content = json.loads(path.read_text())
    assert content.pop("versions")["numpy"] == np.__version__
    estimators = content.pop("estimators")
    assert [x["episodes_for_1_percent"] for x in estimators] == ([9, 9, 9, 123457] if norm else [None] * 4)
    assert estimators[0] == {"name": "a", "to_go": True, "baseline": 0.0, "trace": 8.5,
                             "episodes_for_1_percent": 9 if norm else None}  # fmt: skip
    assert content == {"problem": "pays/x-v0", "gamma": 0.5, "gradient_norm": norm, "states": ["0", "1", "end"],
                       "best_baseline": [0.0, 0.5, 1.0], "v": [-1.0, -1.0, 0.0]}  # fmt: skip


NOT_JSON: dict[str, Callable[[Path], Any]] = {
    "variance": lambda folder: varying.write(by_hand(2, math.nan)._replace(estimators=[]), folder),
    "verify": lambda folder: verifying.write(
        [SimpleNamespace(passed=True, as_dict=lambda: {"x": math.nan})],  # type: ignore[list-item]
        folder, 0, interrupted=False,
    ),
    "audit": lambda folder: auditing.write(
        SimpleNamespace(title="", seed=math.nan), auditing.Results([], []), folder, None  # type: ignore[arg-type]
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", NOT_JSON)
def test_no_file_says_nan(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is no JSON: there is no file then."""
    monkeypatch.setattr(verifying, "plot_reports", lambda *_: None)
    monkeypatch.setattr(auditing, "plot_audits", lambda *_: None)
    with pytest.raises(ValueError, match="not JSON compliant"):
        NOT_JSON[command](tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- envs ----


def test_a_line_for_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sizes, J of the uniform policy and J*, and every source once."""
    entry = envs.ZOO["ShortCorridor"]
    monkeypatch.setattr(envs, "ZOO", {"ShortCorridor": envs.Entry(entry.make, (*entry.answers, *entry.answers))})
    (found,) = zoo.rows(Console(file=io.StringIO()))
    sources = list(dict.fromkeys(answer.source for answer in entry.answers))
    assert found[:5] == ("ShortCorridor", 4, 2, 6, 1.0)
    assert [found.uniform, found.best] == pytest.approx([-12, -3])
    assert found.sources == sources


def test_the_lines_of_the_zoo() -> None:
    """In a wide terminal all is there, in a narrow one sources are cut; what is rounding is printed as 0."""
    rows = [
        zoo.Row("Short", 1234, 2, 12345, 0.9, 1e-13, -1e-12, []),
        zoo.Row("Longer", 5, 6, 7, 1.0, 2 / 3, 1e-11, ["a long source", "b"]),
    ]
    for width, sources in ((100, ("none known", "a long source; b")), (70, ("none kn…", "a long …"))):
        out = io.StringIO()
        Console(file=out, width=width, color_system=None).print(zoo.table(rows))
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        assert [line for line in lines if line.strip("─ ")] == [
            " name    states  actions  outcomes  gamma  J uniform     J*  source",
            f" Short    1,234        2    12,345    0.9          0      0  {sources[0]}",
            f" Longer       5        6         7      1    0.66667  1e-11  {sources[1]}",
        ]
        header, rule = (next(k for k, line in enumerate(lines) if x in line) for x in ("name", "─"))
        assert (rule, lines[rule + 1][:6], lines[rule + 2][:7]) == (header + 1, " Short", " Longer")


# ---- train ----


def test_j_star_of_states_that_look_alike() -> None:
    """An agent that does not tell them apart may not reach it. Terminal states are not told apart by anyone."""
    assert training.best(envs.gridworld_4x4(), -2 / 3) == "J* = -0.666667"
    alike = " for a policy that sees the state; states look alike here"
    assert training.best(envs.short_corridor(), -3.0) == f"J* = -3{alike}"


def changed() -> Iterator[FiniteMDP]:
    """An MDP, and others that differ from it in one thing each."""
    good = {"outcomes": {("s", "a"): [(0.5, "t", 1.0), (0.5, "end", 0.0)], ("t", "a"): [(1.0, "end", 2.0)]},
            "gamma": 0.5, "start": {"s": 1.0}, "observations": [[0], [1], [2]]}  # fmt: skip
    again: Any = [
        {}, {"gamma": 0.25}, {"start": {"t": 1.0}}, {"observations": [[0], [1], [3]]},
        {"outcomes": {("s", "b"): [(0.5, "t", 1.0), (0.5, "end", 0.0)], ("t", "b"): [(1.0, "end", 2.0)]}},
        {"outcomes": {("s", "a"): [(0.5, "t", 1.5), (0.5, "end", 0.0)], ("t", "a"): [(1.0, "end", 2.0)]}},
        {"outcomes": {("s", "a"): [(0.25, "t", 1.0), (0.75, "end", 0.0)], ("t", "a"): [(1.0, "end", 2.0)]}},
        {"outcomes": {("s", "a"): [(0.5, "t", 1.0), (0.5, "END", 0.0)], ("t", "a"): [(1.0, "END", 2.0)]}},
    ]  # fmt: skip
    for other in again:
        yield FiniteMDP.from_outcomes(**(good | other))


def test_what_tells_two_mdps_apart() -> None:
    """A run is gone on with on the very same MDP alone."""
    digests = [training.digest(mdp) for mdp in changed()]
    assert len(set(digests)) == len(digests) == 8
    assert digests == [training.digest(mdp) for mdp in changed()]
