"""Every environment of the zoo, played: transitions against p(s',r|s,a) by chi-square, mean returns against v_pi.

Seed 0 everywhere. A comparison gives a false alarm with odds below 1e-8, in the normal and chi-square limits; there are
four for each of fewer than 50 environments, so below 2e-6 for the file.
"""

from __future__ import annotations

from functools import cache

import gymnasium
import numpy as np
import pytest
from scipy import stats

from envs import ZOO, MDPVectorEnv
from mdp import FiniteMDP, evaluate, return_variance, simulate, solve
from mdp.model.table import Floats, Ints
from tests.worlds import random_mdp

ALARM = 1e-8
COPIES, STEPS = 1_024, 150
EPISODES = 5_000
FEW = 5.0  # expected counts below this go into one cell


@cache
def made(name: str) -> FiniteMDP:
    return ZOO[name].make()


def chi_square(m: FiniteMDP, counts: Ints) -> tuple[float, int]:
    """The statistic of counts (K,) of the outcomes of m's table, given how often each pair was played, and its cells.

    The outcomes of a pair are cut into as many cells as its visits fill, of about equal probability; what is still
    expected fewer than 5 times is one cell. Degrees of freedom are at most the cells, so the test is conservative.
    """
    t = m.table
    pair = t.state * m.n_actions + t.action
    visits = np.bincount(pair, weights=counts)[pair]
    total = np.cumsum(t.p)
    first = np.searchsorted(pair, pair)
    middle = total - t.p / 2 - (total - t.p)[first]
    fine = np.maximum(visits // 20, 1)
    key = np.stack([pair, np.minimum(np.floor(middle * fine), fine - 1).astype(np.int64)])
    new = np.concatenate([[0], (np.diff(key) != 0).any(axis=0).cumsum()])
    expected, observed = np.bincount(new, weights=visits * t.p), np.bincount(new, weights=counts)
    often = expected >= FEW
    statistic = ((observed - expected)[often] ** 2 / expected[often]).sum()
    rest = expected[~often].sum()
    if rest >= FEW:
        statistic += (observed[~often].sum() - rest) ** 2 / rest
    return float(statistic), int(often.sum() + (rest >= FEW))


def assert_true(m: FiniteMDP, counts: Ints, starts: Ints) -> None:
    statistic, cells = chi_square(m, counts)
    assert cells >= min(10, len(m.table.p) / 2)
    assert statistic < stats.chi2.isf(ALARM, cells)
    expected = m.start * len(starts)
    drawn = np.bincount(starts, minlength=m.n_states)
    assert not drawn[m.start == 0].any()
    used = m.start > 0
    assert ((drawn - expected)[used] ** 2 / expected[used]).sum() < stats.chi2.isf(ALARM, used.sum())


def half_optimal(m: FiniteMDP) -> Floats:
    """A proper policy that goes everywhere: the mean of the optimal and the uniform one."""
    return np.asarray((solve(m).policy + m.uniform_policy()) / 2)


def horizon(m: FiniteMDP) -> int | None:
    """Steps after which what may follow is below 1e-6 of the largest return; None: episodes are played to their end."""
    return None if m.gamma == 1 or m.terminal.any() else int(np.ceil(np.log(1e-6) / np.log(m.gamma)))


@pytest.mark.parametrize("name", ZOO)
def test_simulate(name: str) -> None:
    m = made(name)
    pi, most = half_optimal(m), horizon(m)
    played = simulate(m, pi, EPISODES, rng=np.random.default_rng(0), max_steps=most, statistics=True)
    assert_true(m, played.counts, played.starts)
    v = evaluate(m, pi).v
    J = float(m.start @ v)
    variance = float(m.start @ (return_variance(m, pi) + v**2) - J**2)
    left_out = 0.0 if most is None else 1e-6 * np.abs(m.table.reward).max() / (1 - m.gamma)
    assert abs(played.mean - J) <= stats.norm.isf(ALARM / 2) * np.sqrt(variance / EPISODES) + left_out + 1e-9


class Rows:
    """The rows of a table, by what happened; something that the table has not fails."""

    def __init__(self, m: FiniteMDP) -> None:
        t = m.table
        self.m, self.key = m, (t.state * m.n_actions + t.action) * m.n_states + t.next
        self.most = int(np.diff(np.flatnonzero(np.diff(self.key, prepend=-1)), append=len(self.key)).max())

    def __call__(self, s: Ints, a: Ints, r: Floats, after: Ints) -> Ints:
        wanted = (s * self.m.n_actions + a) * self.m.n_states + after
        k = np.searchsorted(self.key, wanted)
        for _ in range(self.most - 1):  # the rewards of one s'
            k = np.where(self.m.table.reward[k] != r, k + 1, k)
        assert (self.key[k] == wanted).all()
        assert (self.m.table.reward[k] == r).all()
        return np.asarray(k)


@pytest.mark.parametrize("name", ZOO)
def test_vector_environment(name: str) -> None:
    """Through gymnasium.make_vec, with random admissible actions, cut off after 60 steps."""
    copies = gymnasium.make_vec(f"exactrl/{name}-v0", num_envs=COPIES, max_episode_steps=60)
    assert isinstance(copies, MDPVectorEnv)
    m = copies.mdp
    rows = Rows(m)
    rng, counts = np.random.default_rng(0), np.zeros(len(m.table.p), np.int64)
    _, info = copies.reset(seed=0)
    starts, over = [info["state"]], np.zeros(COPIES, bool)
    for _ in range(STEPS):
        s, mask = info["state"], info["action_mask"]
        a = np.argmax(np.where(mask, rng.random(mask.shape), -1.0), axis=1)
        _, r, terminated, truncated, info = copies.step(a)
        k = rows(s[~over], a[~over], r[~over], info["state"][~over])
        counts += np.bincount(k, minlength=len(counts))
        assert not r[over].any()
        assert not (terminated | truncated)[over].any()
        starts.append(info["state"][over])
        over = terminated | truncated
    assert_true(m, counts, np.concatenate(starts))


def test_a_table_that_is_not_the_one_played_fails() -> None:
    """A probability off by .02 in one pair of a random MDP is seen."""
    m = random_mdp(0)
    played = simulate(m, m.uniform_policy(), 100_000, rng=np.random.default_rng(0), statistics=True)
    assert_true(m, played.counts, played.starts)
    k = int(np.argmax(played.counts))
    wrong = played.counts.copy()
    wrong[k + 1] += 0.02 * played.counts[k] / m.table.p[k]
    wrong[k] -= 0.02 * played.counts[k] / m.table.p[k]
    with pytest.raises(AssertionError):
        assert_true(m, wrong, played.starts)
