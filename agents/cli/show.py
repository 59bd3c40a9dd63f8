"""`exactrl show ENV`: pictures of an MDP under a policy."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Hashable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.cli.problems import Problem
from agents.cli.solve import all_optimal
from mdp import FiniteMDP, evaluate, occupancy
from mdp import solve as solved
from mdp.plot import board_of, plot_backup, plot_board, plot_graph, save_figure

Floats = NDArray[np.float64]


class Policy(StrEnum):
    """The uniform policy, or an optimal one."""

    uniform = "uniform"
    optimal = "optimal"


class Format(StrEnum):
    """Of the files that are written."""

    png = "png"
    svg = "svg"


class View(NamedTuple):
    """What is drawn: v, q and the occupancy of a policy. For the optimal one, `policy` has all optimal actions."""

    name: Policy
    v: Floats
    q: Floats
    occupancy: Floats
    policy: Floats


def view(problem: Problem, name: Policy) -> View:
    """The exact values. Raises ValueError where they do not exist, with what would do."""
    mdp = problem.mdp
    if name is Policy.optimal:
        solution = solved(mdp)
        return View(name, solution.v, solution.q, occupancy(mdp, solution.policy), all_optimal(solution))
    policy = mdp.uniform_policy()
    try:
        v, q, _ = evaluate(mdp, policy)
    except ValueError as error:
        would = "here: --gamma 0.99; perhaps --policy optimal"
        raise ValueError(f"{problem.name}, uniform policy: {error} ({would})") from None
    return View(name, v, q, occupancy(mdp, policy), policy)


def state_of(mdp: FiniteMDP, text: str) -> int:
    """The index of a state that is written as a Python literal, as (0, 1), or as a plain word.

    Raises ValueError for a label that is none.
    """
    label: Hashable = text
    if text not in mdp.states:
        try:
            label = literal_eval(text)
        except (ValueError, SyntaxError):
            label = text
    return mdp.state_index(label)


def write(problem: Problem, seen: View, state: int | None, ending: Format, folder: Path) -> list[Path]:
    """The board or the graph and, for a state, its backup diagram."""
    mdp = problem.mdp
    written = [folder / f"exactrl-show-{problem.stem}.{ending}"]
    title = f"{problem.name}, gamma {mdp.gamma:g}, {seen.name} policy"
    board = board_of(mdp, problem.cell)
    if board is not None:
        title += ": all best actions, the occupancy of one" if seen.name is Policy.optimal else ""
        picture = plot_board(
            mdp, board, v=seen.v, q=seen.q, occupancy=seen.occupancy, policy=seen.policy, title=title
        )
    else:
        picture = plot_graph(mdp, v=seen.v, policy=seen.policy, centre=state, title=title)
    save_figure(picture, written[0])
    if state is not None:
        written.append(folder / f"exactrl-show-{problem.stem}-backup.{ending}")
        save_figure(plot_backup(mdp, state, v=seen.v, q=seen.q, policy=seen.policy, title=title), written[-1])
    return written
