"""Walks, chains, loops and random graphs, against their sources and against programs written from the rules."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from envs.graphs.garnet import garnet
from envs.graphs.jumps import jumping_walk
from envs.graphs.loops import chain, double_loop
from envs.graphs.riverswim import riverswim
from envs.graphs.walk import LEFT, RIGHT, random_walk, random_walk_19
from mdp import FiniteMDP, evaluate, solve, unroll
from tests.worlds import assert_close

# ---- walks ----


def test_the_walk_of_19_states() -> None:
    m = random_walk_19()
    assert m.states[1:-1] == tuple("ABCDEFGHIJKLMNOPQRS")
    assert m.start[m.state_index("J")] == 1
    assert m.outcomes("A", "left") == [(1.0, LEFT, -1.0)]
    assert m.outcomes("S", "right") == [(1.0, RIGHT, 1.0)]
    assert m.outcomes("A", "right") == [(1.0, "B", 0.0)]


def test_what_the_left_end_pays() -> None:
    """v(i) is the chance of the right end, i / 5, and left_reward times that of the left one."""
    m = random_walk(4, left_reward=-3.0)
    assert_close(evaluate(m, m.uniform_policy()).v[1:-1], [(i - 3 * (5 - i)) / 5 for i in range(1, 5)])
    assert random_walk().outcomes("A", "left") == [(1.0, LEFT, 0.0)]


def jumping_values(n: int, reach: int) -> list[float]:
    """v(1) .. v(n) by a dense system, from the list of the neighbours on both sides."""
    A, b = np.eye(n), np.zeros(n)
    for s in range(1, n + 1):
        neighbours = [*range(s - reach, s), *range(s + 1, s + reach + 1)]
        A[s - 1, [x - 1 for x in neighbours if 1 <= x <= n]] -= 0.5 / reach
        b[s - 1] = (sum(x > n for x in neighbours) - sum(x < 1 for x in neighbours)) * 0.5 / reach
    v: list[float] = np.linalg.solve(A, b).tolist()
    return v


@pytest.mark.parametrize(("n", "reach"), [(1000, 100), (7, 3), (5, 9), (1, 1)])
def test_jumps(n: int, reach: int) -> None:
    m = jumping_walk(n, reach)
    v = evaluate(m, m.uniform_policy()).v[1:-1]
    assert_close(v, jumping_values(n, reach))
    assert_close(v, -v[::-1])


def test_the_ends_of_the_thousand_states() -> None:
    """The book: a step from state 950 ends on the right with .25, one from state 1 on the left with .5."""
    m = jumping_walk()
    assert m.n_states == 1002
    assert m.start[m.state_index(500)] == 1
    assert_close(0.5 * m.p(RIGHT, 1.0, 950, "right"), 0.25, 1e-12)
    assert_close(0.5 * m.p(LEFT, -1.0, 1, "left"), 0.5, 1e-12)
    assert [after for _, after, _ in m.outcomes(500, "left")] == list(range(400, 500))
    assert [after for _, after, _ in m.outcomes(500, "right")] == list(range(501, 601))


@pytest.mark.parametrize(("n", "reach"), [(0, 1), (10, 0), (-1, -1)])
def test_a_jumping_walk_needs_states_and_reach(n: int, reach: int) -> None:
    with pytest.raises(ValueError, match=f"not n = {n} and reach = {reach}"):
        jumping_walk(n, reach)


# ---- RiverSwim ----


def swim(n: int, gamma: float, steps: int, best: bool = True) -> list[float]:
    """v(1) .. v(n) after so many sweeps."""
    v = [0.0] * n
    for _ in range(steps):
        left = [gamma * v[max(i - 1, 0)] + (0.005 if i == 0 else 0) for i in range(n)]
        right = [gamma * (0.05 * v[i - 1] + 0.6 * v[i] + 0.35 * v[i + 1]) for i in range(1, n - 1)]
        right = [gamma * (0.4 * v[0] + 0.6 * v[1]), *right, 1 + gamma * (0.4 * v[-2] + 0.6 * v[-1])]
        v = [max(x, y) if best else (x + y) / 2 for x, y in zip(left, right, strict=True)]
    return v


@pytest.mark.parametrize("n", [2, 3, 6, 12])
def test_riverswim(n: int) -> None:
    m = riverswim(n)
    assert_close(solve(m).v, swim(n, 0.95, 700))
    assert_close(evaluate(m, m.uniform_policy()).v, swim(n, 0.95, 700, best=False))


def test_riverswim_is_swum_to_the_right() -> None:
    m = riverswim()
    best = solve(m).optimal_actions
    assert best[:, m.action_index("right")].all()
    assert not best[:, m.action_index("left")].any()
    assert_close(m.start, [1, 0, 0, 0, 0, 0], 0)


def test_riverswim_in_episodes_of_20_steps() -> None:
    m = unroll(riverswim(gamma=1.0), 20)
    assert_close(solve(m).v[m.start > 0], swim(6, 1.0, 20)[:1])


def test_a_river_needs_two_states() -> None:
    with pytest.raises(ValueError, match="at least 2 states, not 1"):
        riverswim(1)


# ---- loops ----


@pytest.mark.parametrize("length", [2, 3, 5, 8])
def test_double_loop_played(length: int) -> None:
    """Every sequence of actions from state 0, until it is back there: where it goes and what it has earned."""
    m = double_loop(length)
    assert m.n_states == 2 * length - 1
    for turn in range(1, length + 1):  # b until "a" in step `turn`; for turn 1 that is loop a
        s, earned = 0, []
        for t in range(1, length + 1):
            ((_, s, r),) = m.outcomes(s, "a" if t == turn else "b")  # type: ignore[assignment]
            earned.append(r)
            if s == 0:
                break
        if turn == 1:
            assert earned == [0.0] * (length - 1) + [1.0]
        elif turn == length:
            assert earned == [0.0] * (length - 1) + [2.0]
        else:
            assert earned == [0.0] * turn
    assert_close(solve(m).v[0], 2 * 0.99 ** (length - 1) / (1 - 0.99**length))


def test_double_loop_by_sweeps() -> None:
    """The uniform policy, from the picture of the nine states."""
    on_a = {0: 1, 1: 2, 2: 3, 3: 4, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}
    on_b = {0: 5, 1: 2, 2: 3, 3: 4, 4: 0, 5: 6, 6: 7, 7: 8, 8: 0}
    reward = {4: 1, 8: 2}
    v = dict.fromkeys(range(9), 0.0)
    for _ in range(300):
        v = {s: reward.get(s, 0) + 0.9 * (v[on_a[s]] + v[on_b[s]]) / 2 for s in v}
    m = double_loop(gamma=0.9)
    assert_close(evaluate(m, m.uniform_policy()).v, list(v.values()))


def always(m: FiniteMDP, action: str) -> list[list[float]]:
    return [[float(a == action) for a in m.actions] for _ in m.states]


@pytest.mark.parametrize("slip", [0.0, 0.2, 0.5, 1.0])
def test_chain(slip: float) -> None:
    """a's effect has the probability 1 - slip or slip, in every state: sweeps over the five states."""
    m = chain(slip=slip, gamma=0.9)
    for action, p in (("a", 1 - slip), ("b", slip)):
        v = [0.0] * 5
        for _ in range(300):
            v = [p * (10 * (s == 4) + 0.9 * v[min(s + 1, 4)]) + (1 - p) * (2 + 0.9 * v[0]) for s in range(5)]
        assert_close(evaluate(m, always(m, action)).v, v)
    assert_close(m.p(5, 10.0, 5, "a"), 1 - slip, 1e-15)
    assert_close(m.p(1, 2.0, 3, "a"), slip, 1e-15)


def test_the_chain_is_climbed() -> None:
    """Dearden et al.: at gamma = .99 "a" is optimal everywhere. At gamma = .5 it is not in state 1."""
    a = chain().action_index("a")
    assert_close(solve(chain()).policy[:, a], [1] * 5, 0)
    assert solve(chain(gamma=0.5)).policy[0, a] == 0


def test_impossible_loops_and_chains() -> None:
    with pytest.raises(ValueError, match="at least 2 states, not 1"):
        double_loop(1)
    with pytest.raises(ValueError, match="at least 2 states, not 1"):
        chain(1)
    with pytest.raises(ValueError, match=r"slip must lie in \[0, 1\], not 1.4"):
        chain(slip=1.4)


# ---- Garnets ----


def test_a_garnet_is_its_seed() -> None:
    first, again, other = garnet(), garnet(), garnet(seed=1)
    assert all(np.array_equal(x, y) for x, y in zip(first.table, again.table, strict=True))
    assert not np.array_equal(first.table.p, other.table.p)


@pytest.mark.parametrize(
    ("states", "actions", "branching"), [(20, 3, 3), (1, 1, 1), (4, 2, 4), (7, 5, 1), (10_000, 3, 3)]
)
def test_garnet_has_b_successors(states: int, actions: int, branching: int) -> None:
    """Equal successors of a pair would have merged only if their rewards were equal too: count different s'."""
    t = garnet(states, actions, branching).table
    successors = np.unique(np.stack([t.state * actions + t.action, t.next]), axis=1)[0]
    assert np.array_equal(np.bincount(successors), np.full(states * actions, branching))
    assert len(t.p) == states * actions * branching


def test_garnet_is_drawn_uniformly() -> None:
    """20,000 pairs with 2 successors of 5. Seed 3; each of 14 bounds is 6 standard errors: 3e-8 false alarms in all."""
    t = garnet(5, 4_000, 2, seed=3).table
    sets = Counter(map(tuple, t.next.reshape(-1, 2).tolist()))
    assert set(sets) == set(combinations(range(5), 2))
    assert max(abs(count - 2_000) for count in sets.values()) < 6 * np.sqrt(20_000 * 0.1 * 0.9)
    p = t.p.reshape(-1, 2)[:, 0]  # uniform on [0, 1]: mean 1/2, variance 1/12, and E[p^2] = 1/3 with variance 4/45
    assert abs(p.mean() - 1 / 2) < 6 * np.sqrt(1 / 12 / len(p))
    assert abs((p**2).mean() - 1 / 3) < 6 * np.sqrt(4 / 45 / len(p))
    assert abs(t.reward.mean()) < 6 / np.sqrt(len(t.reward))
    assert abs(t.reward.var() - 1) < 6 * np.sqrt(2 / len(t.reward))


def test_garnet_cuts_the_interval_uniformly() -> None:
    """Three pieces: Dirichlet(1, 1, 1), mean 1/3 and variance 1/18, E[p^2] = 1/6, E[p^4] = 1/15.

    Seed 4; each of 6 bounds is 6 standard errors: 2e-8 false alarms in all.
    """
    p = garnet(6, 5_000, 3, seed=4).table.p.reshape(-1, 3)
    assert np.all(np.abs(p.mean(axis=0) - 1 / 3) < 6 * np.sqrt(1 / 18 / len(p)))
    assert np.all(np.abs((p**2).mean(axis=0) - 1 / 6) < 6 * np.sqrt((1 / 15 - 1 / 36) / len(p)))


def test_garnet_values() -> None:
    """v of the uniform policy from a dense system, v* from sweeps, both over the rows of the table."""
    m = garnet(seed=5)
    P, r = np.zeros((20, 3, 20)), np.zeros((20, 3))
    for s, a, after, reward, p in zip(*(x.tolist() for x in m.table), strict=True):
        P[s, a, after] += p
        r[s, a] += p * reward
    uniform = np.linalg.solve(np.eye(20) - 0.95 * P.mean(axis=1), r.mean(axis=1))
    assert_close(evaluate(m, m.uniform_policy()).v, uniform)
    v = uniform
    for _ in range(600):
        v = (r + 0.95 * P @ v).max(axis=1)
    assert_close(solve(m).v, v)


def test_garnet_rewards_have_mean_and_sd() -> None:
    plain, scaled = garnet().table, garnet(mean=2.0, sd=0.5).table
    assert_close(scaled.reward, 2 + 0.5 * plain.reward, 1e-12)


def test_impossible_garnets() -> None:
    with pytest.raises(ValueError, match="not 0 and 3"):
        garnet(0)
    with pytest.raises(ValueError, match="not 20 and 0"):
        garnet(n_actions=0)
    for branching in (0, 21):
        with pytest.raises(ValueError, match=rf"branching must lie in 1 .. 20, the number of states, not {branching}"):
            garnet(branching=branching)
    with pytest.raises(ValueError, match="sd must be at least 0, not -1"):
        garnet(sd=-1.0)
