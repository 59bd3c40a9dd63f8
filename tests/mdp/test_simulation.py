"""Sampling: what is drawn, what is never drawn, and Episodes."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from envs import recycling_robot, short_corridor
from mdp import Episodes, FiniteMDP, Simulator, Statistics, discounted_return, evaluate, return_variance, simulate
from mdp.model.table import Floats
from mdp.sampling.dynamics import Alias, Sampler, cumulative, width_for
from tests.worlds import assert_close, random_mdp, random_policy

ALARM = 1e-8  # for each comparison; there are fewer than 20 in this file


def played(m: FiniteMDP, n: int = 20_000, seed: int = 0) -> Episodes:
    return simulate(m, random_policy(m, 0), n, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("gamma", [0.8, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_mean_return(seed: int, gamma: float) -> None:
    """Seed 0 of the generator; false alarm 1e-8 in each of 6 cases, by the normal law with the exact variance."""
    m = random_mdp(seed, gamma=gamma)
    pi, n = random_policy(m, 0), 20_000
    episodes = played(m, n)
    G = discounted_return(episodes.rewards, gamma)
    v = evaluate(m, pi).v
    variance = m.start @ (return_variance(m, pi) + v**2) - (m.start @ v) ** 2
    assert abs(G.mean() - m.start @ v) < stats.norm.isf(ALARM / 2) * np.sqrt(variance / n)


@pytest.mark.parametrize("seed", range(3))
def test_frequencies(seed: int) -> None:
    """Chi-square of starts, and of actions and next states given the step before: seed 0, false alarm 1e-8 for each."""
    m = random_mdp(seed)
    pi, e = random_policy(m, 0), played(m)
    s, a = e.states[e.mask], e.actions[e.mask]
    goes_on = e.mask[:, 1:]
    after = np.full(e.states.shape, -1)
    after[:, :-1][goes_on] = e.states[:, 1:][goes_on]
    visits, pairs = np.bincount(s, minlength=m.n_states), np.bincount(s * 3 + a, minlength=m.n_states * 3)
    tests: list[tuple[NDArray[Any], Floats]] = [
        (np.bincount(e.states[:, 0], minlength=m.n_states), m.start * len(e)),
        (pairs, (pi * visits[:, None]).ravel()),
    ]
    P = m.transition.toarray()
    inner = np.concatenate([P[:, ~m.terminal], P[:, m.terminal].sum(axis=1, keepdims=True)], axis=1)
    column = np.where(after[e.mask] < 0, inner.shape[1] - 1, after[e.mask])
    counts = np.bincount((s * 3 + a) * inner.shape[1] + column, minlength=inner.size)
    often = np.asarray(inner * pairs[:, None], dtype=np.float64)
    tests.append((counts, often.ravel()))
    for observed, expected in tests:
        used = expected > 0
        assert np.all(observed[~used] == 0)
        chi2 = np.sum((observed - expected)[used] ** 2 / expected[used])
        assert chi2 < stats.chi2.isf(ALARM, np.count_nonzero(used))  # fewer degrees of freedom are left: conservative


def test_random_rewards_given_the_next_state() -> None:
    """One pair with two rewards for one s': seed 0, false alarm 1e-8 by the binomial law."""
    m = FiniteMDP.from_outcomes({("s", "a"): [(0.3, "end", 1), (0.7, "end", -1)]}, gamma=1)
    R = simulate(m, m.uniform_policy(), 10_000, rng=np.random.default_rng(0)).rewards
    assert stats.binomtest(int((R == 1).sum()), 10_000, 0.3).pvalue > ALARM
    assert set(R.ravel()) == {1, -1}


def test_an_episode_is_one_of_the_problem() -> None:
    m = random_mdp(2)
    e = played(m, 300)
    after = np.where(np.arange(e.states.shape[1]) + 1 < e.lengths[:, None], np.roll(e.states, -1, axis=1), -1)
    for s, a, r, s_next in zip(e.states[e.mask], e.actions[e.mask], e.rewards[e.mask], after[e.mask], strict=True):
        outcomes = m.outcomes(m.states[s], m.actions[a])
        assert any(
            r == reward and (m.terminal[m.state_index(x)] if s_next < 0 else s_next == x) for _, x, reward in outcomes
        )


def test_padding() -> None:
    m = random_mdp(1)
    e = played(m, 500)
    assert e.rewards.shape == (500, e.lengths.max())
    assert e.mask.sum() == e.lengths.sum()
    assert e.behaviour_log_probs is not None
    assert np.all(e.states[~e.mask] == -1)
    assert np.all(e.states[e.mask] >= 0)
    for x in (e.actions, e.rewards, e.behaviour_log_probs):
        assert np.all(x[~e.mask] == 0)
    assert_close(e.behaviour_log_probs[e.mask], np.log(random_policy(m, 0)[e.states[e.mask], e.actions[e.mask]]), 1e-14)
    assert e.terminated.all()
    assert not e.truncated.any()
    assert e.group.tolist() == list(range(500))
    assert e.gamma == m.gamma


def test_observations_and_admissible_actions() -> None:
    m = recycling_robot()
    e = simulate(m, m.uniform_policy(), 50, rng=np.random.default_rng(0), max_steps=9)
    assert e.admissible is not None
    assert np.array_equal(e.observations[e.mask], e.states[e.mask])
    assert np.array_equal(e.admissible[e.mask], m.admissible[e.states[e.mask]])
    aliased = short_corridor()
    e = simulate(aliased, aliased.uniform_policy(), 5, rng=np.random.default_rng(0))
    assert e.admissible is None
    assert np.all(e.observations == 0)


def test_what_has_no_probability_is_never_drawn() -> None:
    m = FiniteMDP.from_outcomes(
        {
            ("s", "no"): [(1, "s", -1)],
            ("s", "yes"): [(0, "bad", 0), (0.5, "t", 0), (0, "bad", 1), (0.5, "end", 0), (0, "bad", 2)],
            ("t", "yes"): [(1, "end", 0)],
            ("bad", "no"): [(1, "end", 0)],
        },
        gamma=1,
        start={"s": 1.0},
    )
    pi = np.array([[1.0, 0.0] if s == "bad" else [0.0, 1.0] for s in m.states])
    e = simulate(m, pi, 5_000, rng=np.random.default_rng(3))
    assert np.all(e.actions[e.mask] == m.action_index("yes"))
    assert m.state_index("bad") not in e.states


# ---- ends and limits ----


def test_truncated_episodes() -> None:
    m = short_corridor()
    right = np.tile([0.0, 1.0], (4, 1))  # 0, 1, 0, 1, ... for ever
    e = simulate(m, right, 3, rng=np.random.default_rng(0), max_steps=7)
    assert e.truncated.all()
    assert not e.terminated.any()
    assert e.lengths.tolist() == [7, 7, 7]
    assert e.states[0].tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_an_end_at_the_last_step_is_no_truncation() -> None:
    m = FiniteMDP.from_outcomes({(0, 0): [(1, 1, 0)], (1, 0): [(1, 2, 5)]}, gamma=1, start={0: 1})
    e = simulate(m, m.uniform_policy(), 4, rng=np.random.default_rng(0), max_steps=2)
    assert e.terminated.all()
    assert not e.truncated.any()
    assert e.rewards.tolist() == [[0, 5]] * 4


def test_all_copies_play_whole_rounds() -> None:
    """Mean return -12 on the corridor, not the -6.6 of the first to end. Seed 1, false alarm 1e-8."""
    m = short_corridor()
    n = 4_000
    e = simulate(m, m.uniform_policy(), n, rng=np.random.default_rng(1))
    deviation = np.sqrt(return_variance(m, m.uniform_policy())[0] / n)
    assert abs(e.rewards.sum(axis=1).mean() + 12) < stats.norm.isf(ALARM / 2) * deviation


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_a_policy_that_never_ends_needs_a_limit(gamma: float) -> None:
    m = short_corridor(gamma)
    left = np.tile([1.0, 0.0], (4, 1))
    with pytest.raises(ValueError, match="may never end from state 0: pass max_steps"):
        simulate(m, left, 1, rng=np.random.default_rng(0))


def test_a_trap_on_the_way_needs_a_limit() -> None:
    """The start can reach the end, and can reach a state that cannot."""
    m = FiniteMDP.from_outcomes(
        {("start", 0): [(0.5, "end", 0), (0.5, "trap", 0)], ("trap", 0): [(1, "trap", 0)]},
        gamma=0.9,
        start={"start": 1},
    )
    with pytest.raises(ValueError, match="may never end from state 'start'"):
        simulate(m, m.uniform_policy(), 10, rng=np.random.default_rng(0))
    e = simulate(m, m.uniform_policy(), 10, rng=np.random.default_rng(0), max_steps=4)
    assert set(e.lengths) == {1, 4}
    assert np.array_equal(e.truncated, e.lengths == 4)


def test_a_trap_out_of_reach_needs_none() -> None:
    m = FiniteMDP.from_outcomes(
        {("start", 0): [(1, "end", 0)], ("trap", 0): [(1, "trap", 0)]}, gamma=0.9, start={"start": 1}
    )
    assert simulate(m, m.uniform_policy(), 2, rng=np.random.default_rng(0)).lengths.tolist() == [1, 1]


def test_the_generator_decides() -> None:
    m = random_mdp(0)
    first, again, other = (played(m, 50, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.states, again.states)
    assert np.array_equal(first.rewards, again.rewards)
    assert first.states.shape != other.states.shape or not np.array_equal(first.states, other.states)


def test_a_simulator_keeps_groups() -> None:
    m = random_mdp(0)
    simulator, rng = Simulator(m, m.uniform_policy()), np.random.default_rng(0)
    starts = np.repeat(simulator.starts(5, rng), 3)
    e = simulator.run(starts, rng, group=np.repeat(np.arange(5), 3))
    assert np.array_equal(e.states[:, 0], starts)
    assert e.group.tolist() == sorted([0, 1, 2, 3, 4] * 3)


@pytest.mark.parametrize(("episodes", "max_steps"), [(0, None), (1, 0), (-1, 5)])
def test_sizes_below_one(episodes: int, max_steps: int | None) -> None:
    m = short_corridor()
    with pytest.raises(ValueError, match=f"at least 1, not {episodes} and {max_steps}"):
        simulate(m, m.uniform_policy(), episodes, rng=np.random.default_rng(0), max_steps=max_steps)


# ---- statistics ----


@pytest.mark.parametrize("max_steps", [None, 3])
@pytest.mark.parametrize("seed", range(3))
def test_statistics_are_those_of_the_episodes(seed: int, max_steps: int | None) -> None:
    """The same seed draws the same episodes, counted or stored."""
    m = random_mdp(seed)
    pi, n = random_policy(m, 1), 2_000
    e, counted = (
        simulate(m, pi, n, rng=np.random.default_rng(seed), max_steps=max_steps, statistics=statistics)
        for statistics in (False, True)
    )
    assert isinstance(e, Episodes)
    assert isinstance(counted, Statistics)
    assert np.array_equal(counted.starts, e.states[:, 0])
    assert np.array_equal(counted.lengths, e.lengths)
    assert np.array_equal(counted.terminated, e.terminated)
    assert np.array_equal(counted.truncated, e.truncated)
    assert counted.truncated.any() == (max_steps is not None)
    G = discounted_return(e.rewards, m.gamma)
    assert_close(counted.returns, G, 1e-12)
    assert_close(counted.mean, G.mean(), 1e-12)
    assert_close(counted.moment(2), G.var(), 1e-12)
    assert_close(counted.moment(3), ((G - G.mean()) ** 3).mean(), 1e-12)
    assert_close(counted.standard_error, G.std(ddof=1) / np.sqrt(n), 1e-12)
    visits = np.zeros(m.admissible.shape, int)
    np.add.at(visits, (e.states[e.mask], e.actions[e.mask]), 1)
    assert np.array_equal(counted.visits, visits)
    t = m.table
    for k in range(len(t.p)):
        drawn = (e.states == t.state[k]) & (e.actions == t.action[k]) & (e.rewards == t.reward[k]) & e.mask
        after = np.roll(e.states, -1, axis=1)
        inner = np.arange(e.states.shape[1]) + 1 < e.lengths[:, None]
        lands = (inner & (after == t.next[k])) if not m.terminal[t.next[k]] else ~inner
        alike = (t.state == t.state[k]) & (t.action == t.action[k]) & (t.reward == t.reward[k])
        if max_steps is None and alike.sum() == 1:
            assert counted.counts[k] == (drawn & lands).sum()
    assert counted.counts.sum() == e.lengths.sum() == counted.visits.sum()
    assert len(counted) == n


def test_statistics_of_long_episodes_need_little_memory() -> None:
    """100 episodes of 100,000 steps: 3 MB at most, where the steps alone would take 160."""
    m = FiniteMDP.from_outcomes({(0, 0): [(0.5, 1, 1), (0.5, 0, 0)], (1, 0): [(1, 0, 0)]}, gamma=0.5)
    tracemalloc.start()
    simulate(m, m.uniform_policy(), 100, rng=np.random.default_rng(0), max_steps=100_000, statistics=True)
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


def test_one_episode_has_no_standard_error() -> None:
    m = short_corridor()
    one = simulate(m, m.uniform_policy(), 1, rng=np.random.default_rng(0), statistics=True)
    assert np.isnan(one.standard_error)
    assert one.moment(2) == 0


def test_episodes_that_nobody_has_looked_at() -> None:
    """They are laid out at the first look, once; copies, and rows of them, are whole."""
    m = random_mdp(0)
    e = played(m, 20)
    assert "rewards" not in vars(e)
    assert e.rows(slice(3)).rewards.shape == (3, e.lengths[:3].max())
    assert e.states is e.states
    again = pickle.loads(pickle.dumps(played(m, 20)))
    assert np.array_equal(again.states, e.states)
    assert np.array_equal(copy.deepcopy(played(m, 20)).rewards, e.rewards)
    assert np.array_equal(replace(played(m, 20), gamma=0.5).rewards, e.rewards)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        e.nothing  # type: ignore[attr-defined] # noqa: B018


# ---- the sampler ----


class Fixed(np.random.Generator):
    """A generator whose uniform numbers are all one value."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:  # type: ignore[override]
        return np.full(size, self.value)


def drawn(F: Floats, row: int, u: float) -> Any:
    """The column that U = u draws."""
    sampler = Sampler(F)
    return sampler.draw(np.array([row]), Fixed(u)).tolist()[0] - row * F.shape[1]


@pytest.mark.parametrize(("u", "column"), [(0.0, 1), (0.25 - 1e-12, 1), (0.25, 3), (0.5, 3), (1 - 2**-53, 3)])
def test_inverse_cdf(u: float, column: int) -> None:
    """Row 1 of p is 0, .25, 0, .75, 0 ...: the first entry whose cumulative probability exceeds u."""
    F = cumulative(np.array([[1.0] + [0] * 7, [0, 0.25, 0, 0.75, 0, 0, 0, 0]]))
    assert drawn(F, 1, u) == column


@pytest.mark.parametrize("size", range(1, 10))
def test_every_entry_of_every_size_is_reached(size: int) -> None:
    W = width_for(size)
    F = cumulative(np.where(np.arange(W) < size, 1 / size, 0.0)[None].repeat(2, axis=0))
    for k in range(size):
        assert drawn(F, 1, (k + 0.5) / size) == k


@pytest.mark.parametrize(("n", "width"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (1025, 2048)])
def test_widths(n: int, width: int) -> None:
    assert width_for(n) == width


@pytest.mark.parametrize("seed", range(6))
def test_alias(seed: int) -> None:
    """Below the height at which a column is cut it is drawn itself, above its alias: pi(a|s) p(s',r|s,a) in all."""
    m = random_mdp(seed)
    pi = random_policy(m, seed)
    pi[0] = np.eye(m.n_actions)[np.flatnonzero(m.admissible[0])[-1]]  # some outcomes have probability 0
    sampler, t = m.dynamics.under(np.where(m.terminal[:, None], 0.0, pi)), m.table
    assert isinstance(sampler, Alias)
    W, found = sampler.width, np.zeros(m.n_states * sampler.width)
    for s, column in np.ndindex(m.n_states - m.terminal.sum(), W):
        height = sampler._cut[s * W + column] - column
        for low, high in ((0.0, height), (height, 1.0)):
            if high > low:
                u = Fixed((column + (low + high) / 2) / W)
                found[sampler.draw(np.array([s]), u)] += (high - low) / W
    expected = np.zeros_like(found)
    expected[m.dynamics.places] = pi[t.state, t.action] * t.p
    assert_close(found, expected, 1e-14)
    assert not found[expected == 0].any()


@pytest.mark.parametrize("seed", range(6))
def test_an_action_and_its_outcome_by_one_number(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn at the middle of every interval of F(a,k|s), that outcome; its length is pi(a|s) p(s',r|s,a)."""
    m = random_mdp(seed)
    pi = random_policy(m, seed)
    pi[0] = np.eye(m.n_actions)[np.flatnonzero(m.admissible[0])[-1]]  # some outcomes have probability 0
    monkeypatch.setattr("mdp.sampling.dynamics.NARROW", 0)
    sampler, t, edge = m.dynamics.under(np.where(m.terminal[:, None], 0.0, pi)), m.table, 0.0
    for k in range(len(t.p)):
        edge = 0.0 if k == 0 or t.state[k] != t.state[k - 1] else edge
        p = pi[t.state[k], t.action[k]] * t.p[k]
        for u in [edge + p / 1e9, edge + p / 2, edge + p * (1 - 1e-9)] if p else []:
            place = sampler.draw(t.state[k : k + 1], Fixed(u))
            assert place == m.dynamics.places[k]
            assert m.dynamics.next[place] == t.next[k]
            assert m.dynamics.reward[place] == t.reward[k]
            assert [x[0] for x in m.dynamics.pairs(place)] == [t.state[k], t.action[k]]
        edge += p
    top = sampler.draw(np.flatnonzero(~m.terminal), Fixed(1 - 2**-53))
    assert np.isin(top, m.dynamics.places).all()
    assert (pi[m.dynamics.pairs(top)] > 0).all()
