"""`exactrl verify`: the policy gradient theorem by number, on real environments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import envs
from agents.checks import Report, episodes_for, pgcheck, plot_reports
from agents.cli.problems import Problem, aliased_linear_policy, load, starting_policy
from agents.cli.records import versions
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP
from mdp.files.writing import replacing

SEEN_ERROR = 0.05  # SE / |grad J| that the default number of episodes reaches
CAPTION = """Values are |grad J|; for the complex step and finite differences its length
along 8 random directions, for the sample its component along grad J. The sample
is judged in every direction; a false alarm has probability 1e-4. A check that
would not tell an estimate of 0 from the right one has no power."""
MOST_EPISODES = 2_000_000


class Check(NamedTuple):
    """A problem and the policy whose gradient is checked."""

    problem: Problem
    policy: SoftmaxPolicy


def default_checks(gamma: float | None, seed: int) -> list[Check]:
    """The corridor with its aliased linear policy at p = 1/2, a book's grid, two of Gymnasium's, and text."""
    corridor = Problem("ShortCorridor", envs.short_corridor(0.9 if gamma is None else gamma))
    ids = ("exactrl/Gridworld4x4-v0", "FrozenLake-v1", "CliffWalking-v1", "exactrl/Tokens-v0")
    return [Check(corridor, aliased_linear_policy(corridor.mdp)), *(check(id, gamma, seed) for id in ids)]


def check(env: str, gamma: float | None, seed: int) -> Check:
    """ENV with a table of preferences drawn from N(0, 1/2^2)."""
    problem = load(env, gamma)
    return Check(problem, starting_policy(problem.mdp, torch.Generator().manual_seed(seed)))


def run(checks: list[Check], *, episodes: int | None, seed: int, console: Console) -> Iterator[Report]:
    """pgcheck on each, with a progress bar; episodes=None: as many as SE / |grad J| = .05 takes, within reason."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("episodes"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        for (name, mdp, _), policy in checks:
            n = _enough(policy, mdp) if episodes is None else episodes
            bar.add_task(name, total=n)
            title = f"{name.removesuffix('-v0')}, gamma {mdp.gamma:g}"
            yield pgcheck(
                policy, mdp, episodes=n, seed=seed, name=title,
                progress=lambda done, _: bar.update(bar.task_ids[-1], completed=done),
            )  # fmt: skip


def _enough(policy: SoftmaxPolicy, mdp: FiniteMDP) -> int:
    """As many episodes as SE / |grad J| = .05 takes, 2,000,000 at most; few where grad J is 0, and nothing helps."""
    try:
        return min(episodes_for(policy, mdp, SEEN_ERROR), MOST_EPISODES)
    except ValueError:
        return 1_000


def table(reports: list[Report]) -> Table:
    """Every route of every check."""
    out = Table(title="grad J by independent routes", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("route", "value", "off by", "limit", ""):
        out.add_column(column, justify="left" if column == "route" else "right", no_wrap=True)
    for report in reports:
        out.add_row(f"[bold]{escape(report.name)}", f"J = {report.objective:.8g}", "", "", f"[bold]{report.verdict}")
        for row in report.rows:
            numbers = ("", "") if row.route == "theorem" else (f"{row.error:.1e}", f"{row.tolerance:.0e}")
            value = f"{row.value:.8g}"
            if row.route.startswith("sampled"):
                value = f"{row.value:.4g} ± {report.error_along:.2g}"
                numbers = (f"{row.error:.1f} SE", f"{row.tolerance:.1f} SE")
            out.add_row(f"  {row.route}", value, *numbers, "ok" if row.passed else "[bold red]FAIL")
        power = "ok" if report.has_power else "no power"
        out.add_row("  SE / |grad J|", f"{report.relative_error:.3f}", "", "", power, end_section=True)
    return out


def write(reports: list[Report], folder: Path, seed: int, *, interrupted: bool) -> list[Path]:
    """The picture and the JSON file, in `folder`."""
    picture, numbers = folder / "exactrl-verify.png", folder / "exactrl-verify.json"
    plot_reports(reports, picture)
    passed = all(report.passed for report in reports) and not interrupted
    content = {"passed": passed, "interrupted": interrupted, "seed": seed, "versions": versions(),
               "reports": [report.as_dict() for report in reports]}  # fmt: skip
    with replacing(numbers) as new:
        new.write_text(json.dumps(content, indent=1, allow_nan=False))
    return [picture, numbers]
