"""`exactrl solve ENV`: v*, all optimal actions, and a bound."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.cli.problems import Problem
from mdp import FiniteMDP, Solution, SolveInterrupted, solve
from mdp.files.writing import replacing
from mdp.plot import board_of, plot_board, save_figure

MOST_ROWS = 40


def run(problem: Problem, *, method: str, tolerance: float, console: Console) -> tuple[Solution, bool]:
    """`mdp.solve`, which says how far it is; and whether ctrl-C came before the end."""
    with console.status("solving") as status:

        def say(iteration: int, bound: float) -> None:
            status.update(f"iteration {iteration}: v* within {bound:.2e}")

        try:
            return solve(problem.mdp, method=method, tolerance=tolerance, progress=say), False
        except SolveInterrupted as stopped:
            return stopped.solution, True


def summary(problem: Problem, solution: Solution, interrupted: bool) -> str:
    """J*, the bound, and whether it is what was asked for."""
    mdp = problem.mdp
    state = "converged" if solution.converged else "NOT CONVERGED: a smaller bound is not proven in float64; it ended"
    state = "NOT CONVERGED: interrupted" if interrupted else state
    ties = int((solution.optimal_actions.sum(axis=1) > 1).sum())
    return (
        f"{problem.name}: {mdp.n_states} states, {mdp.n_actions} actions, gamma {mdp.gamma:g}\n"
        f"J* = {mdp.start @ solution.v:.12g}; v* within {solution.bound:.2g} ({state} after {solution.iterations} "
        f"iterations); {ties} states have more than one optimal action"
    )


def table(problem: Problem, solution: Solution) -> Table:
    """v* and the optimal actions of the first 40 states that are not terminal."""
    mdp = problem.mdp
    live = np.flatnonzero(~mdp.terminal)
    more = len(live) - MOST_ROWS
    out = Table(box=box.SIMPLE_HEAD)
    for column in ("state", "v*", "optimal actions"):
        out.add_column(column, justify="right" if column == "v*" else "left")
    for s in live[:MOST_ROWS]:
        out.add_row(escape(str(mdp.states[s])), f"{solution.v[s]:.10g}", escape(_actions(mdp, solution, int(s))))
    if more > 0:
        out.add_row("...", f"{more} more", "all in the .csv file")
    return out


def _actions(mdp: FiniteMDP, solution: Solution, s: int) -> str:
    return " ".join(str(mdp.actions[a]) for a in np.flatnonzero(solution.optimal_actions[s]))


def write(problem: Problem, solution: Solution, folder: Path) -> list[Path]:
    """The .csv file of all states and, for a board, its picture: v* and all optimal actions."""
    mdp = problem.mdp
    stem = f"exactrl-solve-{problem.stem}"
    written = [folder / f"{stem}.csv"]
    with replacing(written[0]) as new, new.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["state", "v", "optimal_actions"])
        rows.writerows([mdp.states[s], repr(float(solution.v[s])), _actions(mdp, solution, s)]
                       for s in range(mdp.n_states))  # fmt: skip
    board = board_of(mdp, problem.cell)
    if board is not None:
        written.append(folder / f"{stem}.png")
        title = f"{problem.name}, gamma {mdp.gamma:g}: v* and all optimal actions"
        save_figure(plot_board(mdp, board, v=solution.v, policy=all_optimal(solution), title=title), written[-1])
    return written


def all_optimal(solution: Solution) -> NDArray[np.float64]:
    """The policy (S, A) that takes all optimal actions of a state equally often; 0 in terminal states."""
    ties = solution.optimal_actions
    return np.asarray(ties / np.maximum(ties.sum(axis=1, keepdims=True), 1))
