"""average_reward and solve_average: closed forms, the deviation matrix, a linear program, the limit of discounting."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from envs import ZOO, admission_queue, machine_replacement, recycling_robot, short_corridor
from mdp import FiniteMDP, average_reward, evaluate, solve, solve_average
from mdp.model.table import Floats
from tests.worlds import assert_close, random_mdp, random_policy

CONTINUING = ("RecyclingRobot", "RiverSwim", "DoubleLoop", "Chain", "Garnet", "Gridworld5x5", "MachineReplacement",
              "Inventory", "AdmissionQueue")  # fmt: skip
ENDING = ("ShortCorridor", "RandomWalk", "Gridworld4x4", "FrozenLake4x4", "FrozenLake8x8", "Gambler", "Cliff", "Taxi")


def dense(seed: int, states: int = 6, actions: int = 3) -> FiniteMDP:
    """Every state may follow every pair: unichain, whatever is done."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.full(states, 0.3), size=(states, actions)) + 1e-3
    return FiniteMDP.from_arrays(P / P.sum(-1, keepdims=True), rng.normal(size=(states, actions)), gamma=0.5)


UNICHAIN = {f"dense {seed}": dense(seed) for seed in range(8)} | {name: ZOO[name].make() for name in CONTINUING}


def two_states(a: float, b: float, r: tuple[float, float]) -> FiniteMDP:
    return FiniteMDP.from_outcomes(
        {("x", 0): [(1 - a, "x", r[0]), (a, "y", r[0])], ("y", 0): [(b, "x", r[1]), (1 - b, "y", r[1])]}, gamma=1
    )


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.2), (1.0, 1.0), (1e-9, 1e-3), (1e-17, 1e-17), (1.0, 1e-15)])
def test_two_states(a: float, b: float) -> None:
    """mu = (b, a) / (a + b); bias(x) - bias(y) = (r_x - r_y) / (a + b). 1, 1 is periodic, 1 - 1e-17 is 1 in float64."""
    m = two_states(a, b, (3.0, -1.0))
    gain, bias = average_reward(m, m.uniform_policy())
    mu = np.array([b, a]) / (a + b)
    assert_close(gain, mu @ [3, -1], 1e-14)
    assert_close(bias, [mu[1] * 4 / (a + b), -mu[0] * 4 / (a + b)], 1e-12)


@pytest.mark.parametrize(
    ("m", "gain"),
    [
        (recycling_robot(), Fraction(10, 6)),  # 5 searches, and one step to recharge
        (machine_replacement(), (Fraction(50 + 45 + 35) / Fraction(8, 10) - 75) / (3 / Fraction(8, 10))),
        (machine_replacement(p_wear=1.0), Fraction(50 + 45 + 35 + 20 - 75, 4)),
        # one job: busy slots follow busy ones with 1 - .5 + .5 x .4, idle ones with .4, and earn .5 x 20 - 1
        (admission_queue(capacity=1), Fraction(9 * 4, 7)),
    ],
)
def test_robot_machine_and_queue(m: FiniteMDP, gain: Fraction) -> None:
    """By renewal: the reward of a cycle over its length. It lies within the bound."""
    found = solve_average(m)
    assert abs(Fraction(found.gain) - gain) <= found.bound <= 1e-12


def test_a_machine_is_replaced_after_four_years() -> None:
    m = machine_replacement(p_wear=1.0)
    assert [m.actions[a] for a in solve_average(m).policy.argmax(axis=1)] == ["keep"] * 4 + ["replace"] * 2


def test_published_gains() -> None:
    """Strens (2000): 3677 in 1,000 steps of his chain; his two loops pay 2 in 5 steps."""
    assert_close(solve_average(ZOO["Chain"].make()).gain, 3.6768, 1e-12)
    assert_close(solve_average(ZOO["DoubleLoop"].make()).gain, 0.4, 1e-14)


@pytest.mark.parametrize("name", UNICHAIN)
def test_the_deviation_matrix_gives_the_same(name: str) -> None:
    """With P* = 1 mu^T: gain = mu . r, bias = ((I - P + P*)^-1 - P*) r (Puterman, A.5); mu from P's eigenvector."""
    m = UNICHAIN[name]
    pi = random_policy(m, 1)
    P = np.einsum("sa,sat->st", pi, m.transition.toarray().reshape(m.n_states, m.n_actions, -1))
    r = (pi * m.expected_reward).sum(axis=1)
    values, vectors = np.linalg.eig(P.T)
    mu = vectors[:, np.argmin(np.abs(values - 1))].real
    mu /= mu.sum()
    gain, bias = average_reward(m, pi)
    assert_close(gain, mu @ r, 1e-11)
    assert_close(bias, np.linalg.solve(np.eye(len(P)) - P + mu, r) - mu @ r, 1e-10)
    assert_close(mu @ bias, 0, 1e-11)


@pytest.mark.parametrize("name", UNICHAIN)
def test_discounting_tells_the_same(name: str) -> None:
    """v_gamma = gain / (1 - gamma) + bias + O(1 - gamma) (Puterman, Corollary 8.2.4)."""
    short = 1e-5  # rounding is about eps gain / short^2
    m = UNICHAIN[name].with_gamma(1 - short)
    pi = random_policy(m, 2)
    gain, bias = average_reward(m, pi)
    assert_close(evaluate(m, pi).v - gain / short, bias, 1e-3)
    best = solve_average(m)
    assert_close(short * solve(m).v, np.full(m.n_states, best.gain), 2 * short * max(1, np.abs(best.bias).max()))


def by_linear_program(m: FiniteMDP) -> float:
    """The largest sum of x(s,a) r(s,a) over stationary distributions x of pairs. Puterman (1994), section 8.8."""
    pairs = np.flatnonzero(m.admissible)
    own = np.eye(m.n_states)[pairs // m.n_actions]
    balance = (own - m.transition.toarray()[pairs]).T
    found = linprog(
        -m.expected_reward.ravel()[pairs],
        A_eq=np.vstack([balance, np.ones(len(pairs))]),
        b_eq=np.append(np.zeros(m.n_states), 1.0),
        method="highs",
    )
    return float(-found.fun)


@pytest.mark.parametrize("name", UNICHAIN)
def test_the_best_gain_is_that_of_the_linear_program(name: str) -> None:
    m = UNICHAIN[name]
    found = solve_average(m)
    assert_close(found.gain, by_linear_program(m))
    assert found.converged
    assert found.bound <= 1e-11 * max(1, np.abs(m.table.reward).max())
    gain, bias = average_reward(m, found.policy)
    assert_close(gain, found.gain, 1e-14)
    assert_close(bias, found.bias, 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_no_policy_is_better(seed: int) -> None:
    m = dense(seed, states=4)
    gains = [average_reward(m, np.eye(3)[list(choice)]).gain for choice in np.ndindex(3, 3, 3, 3)]
    assert abs(solve_average(m).gain - max(gains)) <= solve_average(m).bound + 1e-13


@pytest.mark.parametrize("name", ENDING)
def test_where_every_episode_ends_the_bias_is_v(name: str) -> None:
    m = ZOO[name].make().with_gamma(1.0)
    found = solve_average(m)
    assert_close(found.gain, 0.0, 1e-14)
    assert_close(found.bias, solve(m).v, 1e-12)


def test_the_bias_of_a_proper_policy_is_its_value() -> None:
    m = random_mdp(0, gamma=1.0)  # two terminal states, which are one end
    pi = random_policy(m, 0)
    gain, bias = average_reward(m, pi)
    assert_close(gain, 0.0, 1e-15)
    assert_close(bias, evaluate(m, pi).v, 1e-13)


def test_a_river_that_flows_to_one_side() -> None:
    """From s one step up with probability .1, else one down: mu falls by 9 a state, to 1e-57 at the far end."""
    n = 60
    outcomes = {(s, 0): [(0.1, min(s + 1, n - 1), s), (0.9, max(s - 1, 0), s)] for s in range(n)}
    gain, bias = average_reward(FiniteMDP.from_outcomes(outcomes, gamma=1), np.ones((n, 1)))
    mu = [Fraction(1, 9) ** s for s in range(n)]
    assert_close(gain, float(sum(s * x for s, x in enumerate(mu)) / sum(mu)), 1e-14)
    flow = np.diff(bias)  # bias(s + 1) - bias(s): .1 mu(s) flow(s) = sum of mu(i) (gain - i) over i <= s
    exact = sum(s * x for s, x in enumerate(mu)) / sum(mu)
    for s in range(n - 1):
        assert_close(flow[s], float(10 * sum(mu[i] * (exact - i) for i in range(s + 1)) / mu[s]), 1e-10)


def loops(*rewards: float, linked: bool = False, end: bool = False) -> FiniteMDP:
    """States that may stay, each with its reward; linked: they may go to the next for 0; end: and end for 0."""
    n = len(rewards)
    outcomes = {(f"s{i}", "stay"): [(1.0, f"s{i}", r)] for i, r in enumerate(rewards)}
    if linked:
        outcomes |= {(f"s{i}", "go"): [(1.0, f"s{(i + 1) % n}", 0.0)] for i in range(n)}
    if end:
        outcomes |= {(f"s{i}", "end"): [(1.0, "end", 0.0)] for i in range(n)}
    return FiniteMDP.from_outcomes(outcomes, gamma=1)


@pytest.mark.parametrize("rewards", [(1, 2, 3), (3, 1, 2), (-1, -2, -3), (0, 0, 0), (0.1, 0.1, 0.1)])
def test_policies_with_many_classes_on_the_way(rewards: tuple[float, ...]) -> None:
    found = solve_average(loops(*rewards, linked=True))
    assert_close(found.gain, max(*rewards, sum(np.zeros(3))), 1e-15)
    assert found.bound <= 1e-13


@pytest.mark.parametrize("rewards", [(-1, -2), (0, -1), (0.0, 0.0)])
def test_to_end_is_to_earn_nothing_for_ever(rewards: tuple[float, ...]) -> None:
    found = solve_average(loops(*rewards, end=True))
    assert (found.gain, found.bias.tolist()) == (0, [0, 0, 0])


def test_several_recurrent_classes_are_refused() -> None:
    m = loops(1, 2, linked=True)
    with pytest.raises(ValueError, match=r"2 recurrent classes, \{'s0'\}, \{'s1'\}: its average reward depends"):
        average_reward(m, stay := np.eye(2)[[0, 0]])
    assert average_reward(m, np.eye(2)[[1, 0]]).gain == 2
    with pytest.raises(ValueError, match=r"classes, \{'s0'\}, \{'end'\}"):
        average_reward(loops(1, end=True), stay[:1].repeat(2, 0))
    with pytest.raises(ValueError, match=r"reward 2 of the states \{'s1'\} cannot surely be reached from \{'s0'\}"):
        solve_average(loops(1, 2))
    with pytest.raises(ValueError, match=r"reward 1 of the states \{'s0'\} cannot surely be reached from \{'end'\}"):
        solve_average(loops(1, end=True))
    with pytest.raises(ValueError, match="tolerance must be positive, not 0"):
        solve_average(m, tolerance=0)
    with pytest.raises(ValueError, match="sums to 0, not 1"):
        average_reward(m, np.zeros((2, 2)))


def test_terminal_states_that_nothing_leads_to_are_left_aside() -> None:
    m = FiniteMDP.from_outcomes({("x", 0): [(1.0, "x", 2.0)]}, gamma=1, states=["before", "x", "after"])
    gain, bias = average_reward(m, np.ones((3, 1)))
    assert (gain, bias.tolist()) == (2, [0, 0, 0])
    assert solve_average(m).gain == 2


def test_gamma_is_not_read() -> None:
    pi = np.asarray(short_corridor().uniform_policy())
    assert average_reward(short_corridor(0.5), pi).bias.tolist() == average_reward(short_corridor(), pi).bias.tolist()


def _rows(m: FiniteMDP) -> Floats:
    return np.asarray(m.transition.sum(axis=1))


def test_rows_that_sum_to_1_within_the_tolerance() -> None:
    third = 0.3333333331
    m = FiniteMDP.from_outcomes({(s, 0): [(third, x, s) for x in range(3)] for s in range(3)}, gamma=1)
    assert (_rows(m) < 1 - 1e-10).all()
    assert_close(average_reward(m, np.ones((3, 1))).gain, 3 * third, 1e-14)  # r(s,a) sums over outcomes as they are
    assert_close(solve_average(m).gain, 3 * third, 1e-14)
