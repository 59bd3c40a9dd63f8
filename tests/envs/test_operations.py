"""Car rental, replacement, inventory and queue, against their sources and against programs written from the rules."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from math import exp, factorial

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.operations.inventory import inventory
from envs.operations.queue import admission_queue
from envs.operations.rental import car_rental, car_rental_exercise
from envs.operations.replacement import PROFIT, machine_replacement
from mdp import FiniteMDP, Solution, evaluate, solve, unroll
from tests.worlds import assert_close

# ---- car rental ----


@cache
def rental(exercise: bool) -> FiniteMDP:
    return car_rental_exercise() if exercise else car_rental()


@cache
def solved(exercise: bool) -> Solution:
    return solve(rental(exercise))


def poisson(mean: float, k: int) -> float:
    return exp(-mean) * mean**k / factorial(k)


@cache
def opening_day(capacity: int, requests: float, returns: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Income (m,) and Pr(n' | m) of a place that opens with m cars: every number of requests and returns up to 60."""
    asked, back = ([poisson(mean, k) for k in range(61)] for mean in (requests, returns))
    income, P = np.zeros(capacity + 1), np.zeros((capacity + 1, capacity + 1))
    for m in range(capacity + 1):
        for x, p in enumerate(asked):
            income[m] += p * 10 * min(x, m)
            for y, q in enumerate(back):
                P[m, min(m - min(x, m) + y, capacity)] += p * q
    return income, P


def night(n1: int, n2: int, a: int, capacity: int, exercise: bool) -> tuple[int, int, float]:
    """(m1, m2, cost) of moving a cars."""
    m1, m2 = min(n1 - a, capacity), min(n2 + a, capacity)
    cost = 2.0 * abs(a)
    if exercise:
        cost += (-2 if a > 0 else 0) + (4 if m1 > 10 else 0) + (4 if m2 > 10 else 0)
    return m1, m2, cost


def rental_values(capacity: int, most: int, exercise: bool, best: bool) -> NDArray[np.float64]:
    """v (n1, n2) by 270 sweeps: .9^270 700 is 3e-10; the value of a morning first, then of the evening before."""
    (r1, P1), (r2, P2) = opening_day(capacity, 3, 3), opening_day(capacity, 4, 2)
    evenings = [(n1, n2) for n1 in range(capacity + 1) for n2 in range(capacity + 1)]
    nights = [
        [night(n1, n2, a, capacity, exercise) for a in range(-most, most + 1) if a <= n1 and -a <= n2]
        for n1, n2 in evenings
    ]
    width = max(map(len, nights))
    padded = np.array([row + row[:1] * (width - len(row)) for row in nights])
    m1, m2, cost = padded[..., 0].astype(int), padded[..., 1].astype(int), padded[..., 2]
    real = np.array([[1] * len(row) + [0] * (width - len(row)) for row in nights])
    v = np.zeros((capacity + 1, capacity + 1))
    for _ in range(270):
        morning = r1[:, None] + r2 + 0.9 * P1 @ v @ P2.T
        q = morning[m1, m2] - cost
        v = (q.max(axis=1) if best else (q * real).sum(axis=1) / real.sum(axis=1)).reshape(v.shape)
    return v


@pytest.mark.parametrize("exercise", [False, True])
def test_car_rental(exercise: bool) -> None:
    assert_close(solved(exercise).v, rental_values(20, 5, exercise, best=True).ravel())
    m = rental(exercise)
    assert_close(evaluate(m, m.uniform_policy()).v, rental_values(20, 5, exercise, best=False).ravel())


@pytest.mark.parametrize(("capacity", "most"), [(1, 0), (2, 5), (13, 2)])
def test_car_rental_of_other_sizes(capacity: int, most: int) -> None:
    m = car_rental(True, capacity, most)
    assert_close(solve(m).v, rental_values(capacity, most, True, best=True).ravel())


def test_the_policy_of_figure_4_2() -> None:
    """The figure's policy has 5 .. -4, 0 in a wide middle, and moves more cars the more there are at place 1."""
    policy = (solved(False).policy.argmax(axis=1) - 5).reshape(21, 21)
    assert (policy.max(), policy.min()) == (5, -4)
    assert (policy[20, 0], policy[0, 20], policy[10, 10], policy[20, 20], policy[0, 0]) == (5, -4, 0, 0, 0)
    assert (np.diff(policy, axis=0) >= 0).all()
    assert (np.diff(policy, axis=1) <= 0).all()
    assert_close([solved(False).v.min(), solved(False).v.max()], [421.41, 636.99], 1e-4)


def test_one_night_by_hand() -> None:
    m = rental(False)
    (stay, _, r), *_ = m.outcomes((0, 0), 0)
    assert r == 0
    assert_close(stay, exp(-5), 1e-14)  # nothing comes back
    tail = 1 - sum(poisson(3, k) for k in range(20))
    assert_close(m.p((20, 0), 0.0, (0, 0), 0), tail * exp(-2), 1e-14)
    assert_close(m.expected_reward[m.state_index((3, 0)), m.action_index(2)], 10 * (1 - exp(-3)) + r2_of(2) - 4, 1e-13)
    assert [a for a in m.actions if m.outcomes((2, 1), a)] == [-1, 0, 1, 2]
    assert m.admissible[m.state_index((20, 20))].all()
    assert m.n_states == 441


def r2_of(m: int) -> float:
    """10 E[min(X, m)] for X ~ Poisson(4), as a sum of tails."""
    return 10 * sum(1 - sum(poisson(4, k) for k in range(j)) for j in range(1, m + 1))


@pytest.mark.parametrize(
    ("state", "a", "difference"),
    [
        ((5, 5), 0, 0),
        ((5, 5), 1, 2),
        ((5, 5), 3, 2),
        ((5, 5), -3, 0),
        ((11, 10), 0, -4),
        ((11, 10), 1, 2 - 4),
        ((20, 20), -5, -8),
    ],
)
def test_what_the_exercise_changes(state: tuple[int, int], a: int, difference: float) -> None:
    plain, changed = (rental(x).expected_reward[rental(x).state_index(state), a + 5] for x in (False, True))
    assert_close(changed - plain, difference, 1e-12)


def test_impossible_rentals() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1 car, not 0"):
        car_rental(capacity=0)
    with pytest.raises(ValueError, match="most_moved must be at least 0 cars, not -1"):
        car_rental(most_moved=-1)


# ---- sweeps over rules ----

Rules = dict[Hashable, list[list[tuple[float, Hashable, float]]]]  # state: for each action the outcomes


def swept(rules: Rules, gamma: float, best: bool) -> list[float]:
    """v by sweeps until nothing moves by more than 1e-12."""
    v, change = dict.fromkeys(rules, 0.0), 1.0
    while change > 1e-12:
        q = {s: [sum(p * (r + gamma * v[x]) for p, x, r in o) for o in listed] for s, listed in rules.items()}
        new = {s: max(x) if best else sum(x) / len(x) for s, x in q.items()}
        change, v = max(abs(new[s] - v[s]) for s in v), new
    return list(v.values())


def assert_swept(m: FiniteMDP, rules: Rules) -> None:
    assert m.states == tuple(rules)
    assert_close(solve(m).v, swept(rules, m.gamma, best=True))
    assert_close(evaluate(m, m.uniform_policy()).v, swept(rules, m.gamma, best=False))


# ---- replacement ----


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize(("profit", "price"), [(PROFIT, 75.0), ((10.0, 8.0, -3.0), 5.0), ((1.0,), 2.0)])
def test_machine_replacement(p: float, profit: Sequence[float], price: float) -> None:
    last = len(profit) - 1
    rules: Rules = {
        s: [
            [(p, min(x + 1, last), profit[x] - paid), (1 - p, x, profit[x] - paid)]
            for x, paid in ((s, 0.0), (0, price))
        ]
        for s in range(last + 1)
    }
    assert_swept(machine_replacement(profit, price, p), rules)


def test_printed_values_of_the_ageing_asset() -> None:
    """Miranda & Fackler's machine of 1 .. 5 years, as QuantEcon's notebook prints it: v, and replace from 4 on."""
    solution = solve(machine_replacement(p_wear=1.0))
    assert_close(solution.v[1:], [216.56004653, 190.62227392, 172.91363769, 169.90404187, 169.90404187], 1e-9)
    assert solution.policy.argmax(axis=1).tolist() == [0, 0, 0, 0, 1, 1]


def test_replacement_is_a_threshold() -> None:
    for p in (0.1, 0.5, 0.8, 0.95):
        assert (np.diff(solve(machine_replacement(p_wear=p)).policy[:, 1]) >= 0).all()
    assert solve(machine_replacement()).policy.argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1]


def test_impossible_machines() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        machine_replacement(())
    with pytest.raises(ValueError, match=r"p_wear must lie in \[0, 1\], not -0.1"):
        machine_replacement(p_wear=-0.1)


# ---- inventory ----


def test_the_printed_table_of_rewards() -> None:
    m = inventory()
    for s, row in enumerate([[0, -1, -2, -5], [5, 0, -3], [6, -1], [5]]):
        assert_close(m.expected_reward[s, : len(row)], row, 1e-12)
    assert m.admissible.sum() == 10


def test_the_printed_table_of_transitions() -> None:
    """Puterman's Pr(s' | s + u), s' = 0 .. 3."""
    printed = np.array([[4, 0, 0, 0], [3, 1, 0, 0], [1, 2, 1, 0], [0, 1, 2, 1]]) / 4
    P = inventory().transition.toarray().reshape(4, 4, 4)
    for s in range(4):
        for u in range(4 - s):
            assert_close(P[s, u], printed[s + u], 0)


def test_three_months() -> None:
    """Puterman, section 4.6.1: v and the first orders, 3 in state 0 and none elsewhere."""
    m = unroll(inventory(gamma=1.0), 3)
    first = [m.state_index((0, s)) for s in range(4)]
    solution = solve(m)
    assert_close(solution.v[first], [67 / 16, 129 / 16, 194 / 16, 227 / 16])
    assert [m.actions[a] for a in solution.policy[first].argmax(axis=1)] == [3, 0, 0, 0]
    assert solve(inventory()).policy.argmax(axis=1).tolist() == [3, 0, 0, 0]


@pytest.mark.parametrize(
    ("capacity", "demand"), [(3, (0.25, 0.5, 0.25)), (2, (0.1, 0.2, 0.3, 0.2, 0.2)), (6, (0.5, 0.5))]
)
def test_inventory(capacity: int, demand: tuple[float, ...]) -> None:
    def month(s: int, u: int) -> list[tuple[float, Hashable, float]]:
        paid = (5 + 1.5 * u) * (u > 0) + 0.5 * (s + u)
        return [
            (p, s + u - d, 7.0 * d - paid) if d <= s + u else (p, 0, 7.0 * (s + u) - paid)
            for d, p in enumerate(demand)
        ]

    rules: Rules = {s: [month(s, u) for u in range(capacity - s + 1)] for s in range(capacity + 1)}
    assert_swept(inventory(capacity, 5.0, 1.5, 0.5, 7.0, demand), rules)


@pytest.mark.parametrize("demand", [(), (0.5, 0.4), (1.5, -0.5)])
def test_impossible_inventories(demand: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="demand must be probabilities that sum to 1"):
        inventory(demand=demand)
    with pytest.raises(ValueError, match="capacity must be at least 1 unit, not 0"):
        inventory(capacity=0)


# ---- queue ----


@pytest.mark.parametrize(("room", "arrive", "serve"), [(10, 0.4, 0.5), (1, 0.7, 0.2), (4, 1.0, 0.9), (3, 0.3, 0.0)])
def test_admission_queue(room: int, arrive: float, serve: float) -> None:
    """Sweeps over f(y), the value of a slot with y jobs once the door is shut; that of (x, w) is read off."""
    for best in (True, False):
        f = [0.0] * (room + 2)

        def at_the_door(x: int, f: list[float] = f, best: bool = best) -> float:
            open_ = [f[x], f[x + 1]] if x < room else [f[x]]
            return max(open_) if best else sum(open_) / len(open_)

        for _ in range(800):
            u = [(1 - arrive) * f[x] + arrive * at_the_door(x) for x in range(room + 1)]
            f[0] = 0.95 * u[0]
            for y in range(1, room + 1):
                f[y] = serve * (20 + 0.95 * u[y - 1]) + (1 - serve) * 0.95 * u[y] - y
        m = admission_queue(room, arrive, serve)
        v = solve(m).v if best else evaluate(m, m.uniform_policy()).v
        for x in range(room + 1):
            assert_close([v[m.state_index((x, w))] for w in (0, 1)], [f[x], at_the_door(x)])


def test_admission_is_a_threshold() -> None:
    m = admission_queue()
    accepts = solve(m).policy[[m.state_index((x, 1)) for x in range(11)], m.action_index("accept")]
    assert accepts.tolist() == [1] * 3 + [0] * 8


def test_one_slot_by_hand() -> None:
    m = admission_queue()
    assert sorted(m.outcomes((0, 1), "accept")) == sorted(
        [(0.2, (0, 1), 19.0), (0.3, (0, 0), 19.0), (0.2, (1, 1), -1.0), (0.3, (1, 0), -1.0)]
    )
    assert sorted(m.outcomes((0, 0), "wait")) == [(0.4, (0, 1), 0.0), (0.6, (0, 0), 0.0)]
    assert m.outcomes((10, 1), "accept") == m.outcomes((0, 0), "reject") == m.outcomes((0, 1), "wait") == []
    assert_close(m.start[[m.state_index((0, 0)), m.state_index((0, 1))]], [0.6, 0.4], 0)


def test_impossible_queues() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1 job, not 0"):
        admission_queue(0)
    with pytest.raises(ValueError, match=r"p_arrival must lie in \[0, 1\], not 2"):
        admission_queue(p_arrival=2)
    with pytest.raises(ValueError, match=r"p_service must lie in \[0, 1\], not -1"):
        admission_queue(p_service=-1)
