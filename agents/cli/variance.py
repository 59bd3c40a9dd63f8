"""`exactrl variance ENV`: the exact variance of REINFORCE, and which baseline makes it least."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from agents.checks.errors import trace
from agents.cli.problems import Problem
from agents.cli.records import versions
from agents.exact.moments import jacobian, log_preferences, preference_moments
from agents.exact.objective import exact_gradient
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, best_baselines, evaluate
from mdp.files.writing import replacing
from mdp.prediction.graph import never_ending

RELATIVE_ERROR = 0.01
MOST_STATES = 40  # whose baselines are printed


class Estimator(NamedTuple):
    """A one-episode estimator of grad J, and the trace of its covariance."""

    name: str
    to_go: bool
    baseline: Any
    trace: float

    def episodes(self, norm: float) -> float:
        """How many make the standard error of the gradient 1 % of its length."""
        return math.ceil(self.trace / (RELATIVE_ERROR * norm) ** 2) if norm else math.inf


class Variances(NamedTuple):
    """All estimators of one problem; |grad J|; best_state and v (S,); what was left out, and why; the size of theta."""

    problem: Problem
    norm: float
    estimators: list[Estimator]
    best_state: NDArray[np.float64]
    v: NDArray[np.float64]
    left_out: str
    parameters: int

    def is_best(self, estimator: Estimator) -> bool:
        """None scatters less, up to rounding."""
        return estimator.trace <= min(e.trace for e in self.estimators) * (1 + 1e-9)


def variances(problem: Problem, policy: SoftmaxPolicy) -> Variances:
    """The whole return, reward-to-go, and both with the best baselines, in the parameters of the policy."""
    mdp = problem.mdp
    with torch.no_grad():
        pi = policy.matrix(mdp).cpu().numpy()
    v, h = evaluate(mdp, pi).v, log_preferences(policy, mdp)
    J = jacobian(policy, mdp)
    start = float(mdp.start @ v)
    rows: list[tuple[str, bool, Any]] = []
    best_state, left_out = v, ""
    if len(never_ending(mdp, pi)):
        left_out = "\nG_0 is left out: episodes do not end, and its sum of scores does not converge."
    for to_go, what in ((True, "G_t"),) if left_out else ((False, "G_0"), (True, "G_t")):
        best = best_baselines(mdp, h, directions=J, to_go=to_go)
        rows += [
            (what, to_go, 0.0),
            (f"{what}, b = J = {start:.6g}", to_go, start),
            (f"{what}, b = v_pi", to_go, v),
            (f"{what}, best constant {best.constant:.6g}", to_go, best.constant),
            (f"{what}, best b(s)", to_go, best.state),
        ]
        best_state = best.state
    found = [Estimator(*row, _trace(policy, mdp, to_go=row[1], baseline=row[2])) for row in rows]
    return Variances(problem, float(exact_gradient(policy, mdp).norm()), found, best_state, v, left_out, J.shape[1])


def caption(found: Variances) -> str:
    """What the numbers are."""
    return (
        "G_0: every step is worth the whole return; G_t: gamma^t times what follows it,\nless the baseline. The trace "
        f"adds up the variances of all {found.parameters} preferences of a\nuniform softmax table.{found.left_out}"
    )


def _trace(policy: SoftmaxPolicy, mdp: FiniteMDP, **estimator: Any) -> float:
    return trace(policy, mdp, preference_moments(policy, mdp, **estimator))


def table(found: Variances) -> Table:
    """One row an estimator; the least variance is marked."""
    out = Table(title=f"{found.problem.name.removesuffix('-v0')}, gamma {found.problem.mdp.gamma:g}: |grad J| = "
                f"{found.norm:.8g}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)  # fmt: skip
    out.add_column("each step worth", no_wrap=True)
    for column in ("trace of covariance", "episodes for 1 %", ""):
        out.add_column(column, justify="right" if column else "left", no_wrap=True)
    for estimator in found.estimators:
        least = "[green]least" if found.is_best(estimator) else ""
        episodes = f"{estimator.episodes(found.norm):,}"
        out.add_row(estimator.name, f"{estimator.trace:.10g}", episodes, least)
    return out


def baselines(found: Variances) -> Table:
    """The best baseline of reward-to-go beside v_pi, state by state."""
    mdp = found.problem.mdp
    live = np.flatnonzero(~mdp.terminal)
    out = Table(title="for G_t: the best b(s), and v_pi", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("state", "best b(s)", "v_pi(s)"):
        out.add_column(column, justify="left" if column == "state" else "right")
    for s in live[:MOST_STATES]:
        out.add_row(str(mdp.states[s]), f"{found.best_state[s]:.8g}", f"{found.v[s]:.8g}")
    if len(live) > MOST_STATES:
        out.add_row("...", f"{len(live) - MOST_STATES} more", "in the file")
    return out


def write(found: Variances, folder: Path) -> list[Path]:
    """The JSON file."""
    mdp = found.problem.mdp
    path = folder / f"exactrl-variance-{found.problem.name.replace('/', '-')}.json"
    content = {
        "problem": found.problem.name, "gamma": mdp.gamma, "gradient_norm": found.norm, "versions": versions(),
        "estimators": [
            {"name": e.name, "to_go": e.to_go, "baseline": np.asarray(e.baseline).tolist(), "trace": e.trace,
             "episodes_for_1_percent": e.episodes(found.norm) if found.norm else None}
            for e in found.estimators
        ],
        "states": [str(s) for s in mdp.states], "best_baseline": found.best_state.tolist(), "v": found.v.tolist(),
    }  # fmt: skip
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=1, allow_nan=False))
    return [path]
