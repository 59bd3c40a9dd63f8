"""10^9 simulated steps of each of three environments beside v_pi, in standard errors that are exact.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.billion [--steps 1e9]

Rounds of episodes under the uniform policy are counted and forgotten (`simulate(statistics=True)`), until there are as
many steps as wanted. From the table follow J, v_pi and, by `return_variance`, what their means from samples are off by:

    z      = (mean of G_0 - J) / sqrt(Var[G_0] / N),    Var[G_0] = sum over s of start(s) (Var[G_0|s] + v(s)^2) - J^2
    chi^2  = sum over the start states s of (mean of G_0 from s - v(s))^2 N_s / Var[G_0|s],    as many degrees as states

The last round is played to its end: N is a stopping time, so that E[sum of (G_0 - J)] = 0 all the same (Wald). A z or a
chi^2 is refused at odds of 1e-7 each, by the normal law: 6e-7 is the false alarm of all six together.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from envs import ZOO
from mdp import FiniteMDP, Simulator, evaluate, return_variance
from mdp.model.table import Floats

ALARM, SEED, EPISODES = 1e-7, 0, 50_000
PLAYED = {"FrozenLake8x8": 0.99, "Racetrack": 0.95, "Taxi": 1.0}  # gamma


@dataclass(frozen=True)
class Means:
    """Of N episodes: steps, and by start state (S,) their number and the sum of G_0."""

    steps: int
    count: Floats
    summed: Floats

    @classmethod
    def of(cls, m: FiniteMDP, steps: float, seed: int = SEED, episodes: int = EPISODES) -> Means:
        """Of at least so many steps, under the uniform policy."""
        simulator, rng = Simulator(m, m.uniform_policy()), np.random.default_rng(seed)
        taken, count, summed = 0, np.zeros(m.n_states), np.zeros(m.n_states)
        while taken < steps:
            found = simulator.tally(simulator.starts(episodes, rng), rng)
            taken += int(found.lengths.sum())
            count += np.bincount(found.starts, minlength=m.n_states)
            summed += np.bincount(found.starts, found.returns, minlength=m.n_states)
        return cls(taken, count, summed)

    def mean(self) -> float:
        return float(self.summed.sum() / self.count.sum())


@dataclass(frozen=True)
class Agreement:
    """Sampled means beside the truth: z of J, and the p-value of chi^2 over the start states."""

    J: float
    standard_error: float
    z: float
    states: int
    p_value: float

    @classmethod
    def of(cls, m: FiniteMDP, found: Means) -> Agreement:
        pi = m.uniform_policy()
        v, _, J = evaluate(m, pi)
        variance = return_variance(m, pi)
        error = float(np.sqrt((m.start @ (variance + v**2) - J**2) / found.count.sum()))
        s = np.flatnonzero(found.count)
        chi2 = np.sum((found.summed[s] / found.count[s] - v[s]) ** 2 * found.count[s] / variance[s])
        return cls(J, error, (found.mean() - J) / error, len(s), float(stats.chi2.sf(chi2, len(s))))

    def holds(self) -> bool:
        return abs(self.z) < stats.norm.isf(ALARM / 2) and self.p_value > ALARM


def row(name: str, gamma: float, steps: float) -> tuple[str, bool]:
    m, began = ZOO[name].make(gamma=gamma), time.process_time()
    found = Means.of(m, steps)
    seconds = time.process_time() - began
    a = Agreement.of(m, found)
    cells = (
        name, gamma, f"{found.steps:,}", f"{found.count.sum():,.0f}", f"{found.steps / seconds / 1e6:.1f}",
        f"{found.mean():.6g}", f"{a.J:.6g}", f"{a.standard_error:.1e}", f"{a.z:+.2f}", a.states, f"{a.p_value:.2f}",
        "yes" if a.holds() else "NO",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |", a.holds()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--steps", type=float, default=1e9)
    steps = options.parse_args().steps
    rows = [row(name, gamma, steps) for name, gamma in PLAYED.items()]
    versions = ", ".join(f"{x} {importlib.metadata.version(x)}" for x in ("exactrl", "numpy"))
    page = f"""# {steps:.0e} steps beside v_pi

`OMP_NUM_THREADS=1 python -m tests.benchmarks.billion --steps {steps:.0e}`, seed {SEED}, the uniform policy, one core.
{versions}.

| environment | gamma | steps | episodes | 10^6 a CPU second | mean of G_0 | J | SE | z | start states | p | agrees |
|---|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(line for line, _ in rows)}

J, v_pi and the standard error SE of the mean are exact, by linear algebra: nothing is estimated from the sample but the
mean itself. z is (mean - J) / SE, p that of chi^2 over the start states, each beside its v_pi(s). They agree where
|z| < {stats.norm.isf(ALARM / 2):.2f} and p > {ALARM:g}: that one of these {2 * len(rows)} is refused by chance has odds
of at most {2 * len(rows) * ALARM:.0e}. How it is done stands in [billion.py](billion.py).
"""
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)
    sys.exit(not all(holds for _, holds in rows))


if __name__ == "__main__":
    main()
