"""Every environment of the zoo learned by `exactrl train`, to within 1 % of the best J; where REINFORCE fails, why.

    python tests/benchmarks/learning_the_zoo.py [NAME ...]

Each line is what the command line does: agents.cli.train.make_agent and Run, with the options that it shows. J* is that
of mdp.solve; on the short corridor, whose states look alike, -(6 + 4 sqrt 2), S&B Example 13.1. Writes
learning_the_zoo.md next to this file if no NAME is given; all take about a quarter of an hour on one core. REINFORCE is
left out where there are more than MOST states.

Why REINFORCE stays away, by number. With Z the estimate from one episode, a batch of N has the standard error
SE = sqrt(tr Cov[Z] / N), exact (mdp.reinforce_moments), and N = tr Cov[Z] / |grad J|^2 episodes would make it |grad J|.
And the same updates of the same AdamW are made with grad J itself: what it does not reach either is not due to samples.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from scipy import sparse

import envs
from agents import Reinforce, SoftmaxPolicy, exact_gradient
from agents.cli.problems import load, starting_policy
from agents.cli.train import Baseline, Gradient, Optimizer, Run, make_agent
from agents.exact.moments import preference_moments
from agents.learning import Agent, History
from mdp import FiniteMDP, solve
from mdp.model.table import Floats
from mdp.prediction.chain import transitions
from mdp.prediction.linear import Solver

EPISODES, SEED = 100, 0  # of one update; defaults of the command
WITHIN = 0.01
MOST = 1000  # states, for REINFORCE


class Setting(NamedTuple):
    """Options of `exactrl train`; None: its default."""

    gradient: Gradient
    updates: int
    lr: float | None = None
    optimizer: Optimizer | None = None

    @property
    def options(self) -> str:
        given = {"gradient": self.gradient, "lr": self.lr, "optimizer": self.optimizer, "updates": self.updates}
        return " ".join(f"--{name} {x:g}" if isinstance(x, float) else f"--{name} {x}" for name, x in given.items()
                        if x is not None)  # fmt: skip


NATURAL = Setting(Gradient.natural, 20, 100.0)
EXCEPTIONS = {
    "ShortCorridor": Setting(Gradient.exact, 20),
    "Cliff": NATURAL._replace(updates=600),
    "CliffWalking": NATURAL._replace(updates=600),
}
REINFORCE = Setting(Gradient.sampled, 200, 0.1)
NOISELESS = Setting(Gradient.exact, 200, 0.1, Optimizer.adamw)


class Learned(NamedTuple):
    """What a setting came to; J (updates + 1,) from the start on."""

    name: str
    mdp: FiniteMDP
    setting: Setting
    agent: Agent
    history: History
    seconds: float
    best: float

    @property
    def gaps(self) -> Floats:
        """(J* - J) / |J*| after each update."""
        return np.asarray((self.best - self.history.column("J")) / abs(self.best))

    @property
    def hit(self) -> str:
        """The first update within 1 %."""
        near = np.flatnonzero(self.gaps <= WITHIN)
        return str(near[0]) if len(near) else "-"


def setting_of(name: str) -> Setting:
    """How an environment of the zoo is learned."""
    return EXCEPTIONS.get(name, NATURAL)


def best(name: str, mdp: FiniteMDP) -> float:
    """J* of the policy class: softmax tables, one row for each observation."""
    return -(6 + 4 * 2**0.5) if name == "ShortCorridor" else float(mdp.start @ solve(mdp).v)


def learn(name: str, setting: Setting) -> Learned:
    """`exactrl train exactrl/NAME-v0` with these options."""
    problem = load(f"exactrl/{name}-v0")
    mdp = problem.mdp
    J = best(name, mdp)
    agent = make_agent(mdp, setting.optimizer, setting.lr, Baseline.learned, setting.gradient)
    began = time.perf_counter()
    run = Run(problem, agent, Path(), episodes=EPISODES, seed=SEED, every=None)
    history = run(updates=setting.updates, resume=False, console=Console(quiet=True))
    return Learned(name, mdp, setting, agent, history, time.perf_counter() - began, J)


# ---- why samples do not do ----


def paid(mdp: FiniteMDP) -> float:
    """Pr(an episode of the uniform policy ever earns a reward above 0): x = P_unpaid x + Pr(paid at once)."""
    t, pi = mdp.table, mdp.uniform_policy()
    weight, pays = pi[t.state, t.action] * t.p, t.reward > 0
    now = np.bincount(t.state, weights=weight * pays, minlength=mdp.n_states)
    x = Solver(sparse.eye_array(mdp.n_states) - transitions(mdp, weight * ~pays)).solve(now)
    return float(mdp.start @ x)


class Noise(NamedTuple):
    """|grad J|; the standard error of one batch; how many episodes would make it |grad J|."""

    norm: float
    error: float
    episodes: float


def noise(policy: SoftmaxPolicy, mdp: FiniteMDP, baseline: Floats | None) -> Noise:
    norm = float(exact_gradient(policy, mdp).norm())
    trace = preference_moments(policy, mdp, baseline=baseline).trace
    return Noise(norm, (trace / EPISODES) ** 0.5, trace / norm**2)


def diagnosis(found: Learned) -> str:
    """The line of an environment that REINFORCE does not learn."""
    exact = learn(found.name, NOISELESS)
    assert isinstance(found.agent, Reinforce)
    baseline = found.agent.loss.baseline.v  # type: ignore[attr-defined]
    first, last = noise(starting_policy(found.mdp), found.mdp, None), noise(found.agent.policy, found.mdp, baseline)
    norms, p = exact.history.column("gradient_norm")[1:], paid(found.mdp)
    why = {
        "exploration": 0 < p * EPISODES * REINFORCE.updates < 1,
        "noise": last.error > last.norm,
        "steps": exact.gaps[-1] > WITHIN,
    }
    cells = [f"{x.norm:.3g} | {x.error:.3g} | {x.episodes:,.0f}" for x in (first, last)]
    return (f"| {found.name} | {percent(found.gaps[-1])} | {percent(exact.gaps[-1])} | {norms[-1]:.2g} | {p:.3g} | "
            f"{' | '.join(cells)} | {', '.join(name for name, holds in why.items() if holds)} |")  # fmt: skip


# ---- the page ----


def percent(gap: float) -> str:
    """A gap, in three digits or whole; 0 where it is rounding."""
    if gap <= 1e-9:
        return "0 %"
    return f"{100 * gap:,.0f} %" if gap > 1 else f"{100 * gap:.3g} %"


def line(found: Learned) -> str:
    J, command = found.history.column("J"), f"exactrl/{found.name}-v0 {found.setting.options}"
    return (f"| `{command}` | {found.mdp.gamma:g} | {found.hit} | {found.seconds:.1f} | {J[0]:.6g} | {J[-1]:.6g} | "
            f"{found.best:.6g} | {percent(found.gaps[-1])} |")  # fmt: skip


def noted(found: Learned) -> Learned:
    print(line(found), flush=True)
    return found


COLUMNS = """gamma | updates to 1 % | seconds | J at the start | J reached | J* | gap |
|---|---|---|---|---|---|---|---|"""
REASONS = f"""Why REINFORCE stays more than 1 % away, each number exact:

- **exact**: the gap that {NOISELESS.updates} steps of the same AdamW leave with grad J itself, and its last |grad J|
- **paid**: the probability that an episode of the uniform policy ever earns a reward above 0
- **|grad J|**, the standard error **SE** of a batch of {EPISODES} episodes, and how many **episodes** a batch needs for
  a signal-to-noise ratio of 1, all at the start (no baseline) and with the policy and baseline that were reached

**exploration**: fewer than 1 paid episode is expected in {EPISODES * REINFORCE.updates:,} of the uniform policy.
**noise**: a batch's SE is larger than |grad J| where it stands. **steps**: with grad J itself it is not within 1 %
either: preferences move by about {REINFORCE.lr:g} an update at most, and by less where |grad J| falls by orders of
magnitude, since AdamW divides by the root mean square of about the last thousand.

| | gap | exact | last | paid | grad J at the start | SE | episodes | grad J reached | SE | episodes | why |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def head(names: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("exactrl", "torch", "numpy"))
    return f"""# Learning the zoo

`python tests/benchmarks/learning_the_zoo.py`; one thread of a shared machine, seed {SEED}. {versions}.
A line is a command, after `exactrl train`, and J is what it prints. J* is the best of the policy class. The gap is
(J* - J) / |J*|; seconds are those of all updates, with {EPISODES} episodes played for each, which natural and exact
gradients do not read.

## Natural gradient ascent: {len(names)} environments

theta <- theta + lr (q - v): at lr {NATURAL.lr:g} almost policy iteration. Two exceptions. On the cliffs J is far below
0 at the start, and what preferences gained by such advantages is undone in many small ones: that takes more updates.
On the short corridor, whose states share one observation, a step that long leads to a policy that never ends: it takes
plain steps of grad J.

| command | {COLUMNS}"""


def page(names: Sequence[str]) -> str:
    learned = [line(noted(learn(name, setting_of(name)))) for name in names]
    sampled = [noted(learn(name, REINFORCE)) for name in names if envs.ZOO[name].make().n_states <= MOST]
    away = [found for found in sampled if found.gaps[-1] > WITHIN]
    left = ", ".join(name for name in names if name not in {found.name for found in sampled})
    reinforce = f"""## REINFORCE

One setting for all: batches of {EPISODES} episodes, a learned baseline, AdamW. {len(sampled) - len(away)} of
{len(sampled)} come within 1 %. Left out, with more than {MOST:,} states: {left or "none"}.

| command | {COLUMNS}"""
    return "\n".join(
        [head(names), *learned, "", reinforce, *map(line, sampled), "", REASONS, *map(diagnosis, away), ""]
    )


def main() -> None:
    torch.set_num_threads(1)
    text = page(sys.argv[1:] or list(envs.ZOO))
    if len(sys.argv) == 1:
        Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
