"""Tutorial 5: it follows its controls, and says nothing that is not so."""

from __future__ import annotations

from itertools import islice
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import frozen_lake
from mdp import FiniteMDP, enumerate_trajectories, evaluate, occupancy, return_variance, simulate, solve, sweeps, unroll
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close, random_mdp, random_policy

UNLIMITED = 14 / 17


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(5)


def best(H: int) -> str:
    """The best success within H steps, by the unrolled lake."""
    m = unroll(frozen_lake(), H)
    return f"{m.start @ solve(m).v:.10f}"


def cut(H: int) -> str:
    """The mean return of the first H steps under the policy that is optimal without a limit."""
    m = frozen_lake()
    return f"{m.start @ next(islice(sweeps(m, solve(m).policy), H, None)):.10f}"


def sampled(H: int, seed: int) -> str:
    """The mean return of 10,000 episodes that are cut at H."""
    m = frozen_lake()
    episodes = simulate(m, solve(m).policy, 10_000, rng=np.random.default_rng(seed), max_steps=H)
    return f"{episodes.rewards.sum() / len(episodes):.6f}"


def thin_ice(H: int) -> str:
    """What TD learns of the cell next to the goal: r + (1 - c) P v with the package's numbers of visits."""
    m = frozen_lake()
    pi = solve(m).policy
    visits = occupancy(unroll(m, H), np.tile(pi, (H + 1, 1))).reshape(H + 1, -1)
    c = visits[H - 1] / np.maximum(visits.sum(axis=0), 1e-300)
    v = np.zeros(m.n_states)
    for _ in range(3000):
        q = m.expected_reward + (1 - c)[:, None] * (m.transition @ v).reshape(pi.shape)
        v = (pi * q).sum(axis=1)
    return f"{v[m.state_index((3, 2))]:.10f}"


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    return shown(page, **{"H": 100, "w": 0.9, "seed": 0, "k": 0} | controls)


READING = Reading(
    at_first=lambda: [best(100), cut(100), sampled(100, 0)],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [best(150), cut(150), thin_ice(150)],
    button="other episodes",
    clicks=1,
    pressed=lambda: [sampled(150, 1)],
)


def test_what_is_shown_at_one_hundred_steps(page: ModuleType) -> None:
    text, values = show(page)
    for number in ("0.8235294118", "0.7441902878", "0.7401648978"):
        assert number in text
    assert_close(values["best_within"], 0.7441902878)
    assert_close([mean for mean, _ in values["exact"].values()], [0.7401648978, UNLIMITED])
    spec = gymnasium.spec("FrozenLake-v1")
    assert (spec.max_episode_steps, spec.reward_threshold) == (100, 0.7)


@pytest.mark.parametrize("H", [10, 50, 300])
def test_another_limit_shows_other_numbers(page: ModuleType, H: int) -> None:
    text, values = show(page, H=H)
    assert best(H) in text
    assert cut(H) in text
    assert sampled(H, 0) in text
    assert best(100) not in text
    assert_close(values["exact"]["bootstrapped"][0], UNLIMITED)
    for _, _, one, _, other in values["routes"]:
        assert_close(one, other)


def test_other_episodes_and_another_critic(page: ModuleType) -> None:
    _, first = show(page)
    text, other = show(page, seed=1, w=0.0)
    assert sampled(100, 1) in text
    assert other["exact"] == first["exact"]
    cut_as_end, bootstrapped = (mean for mean, _ in first["exact"].values())
    assert_close(other["with_critic"], cut_as_end)
    assert_close(first["with_critic"], 0.1 * cut_as_end + 0.9 * bootstrapped)
    assert_close(show(page, w=1.0)[1]["with_critic"], bootstrapped)


def test_the_next_episode(page: ModuleType) -> None:
    _, values = show(page)
    episodes = values["episodes"]
    pairs = [page.one_of_each(episodes, k) for k in range(3)]
    assert len({truncated for truncated, _ in pairs}) == 3
    for truncated, terminated in pairs:
        assert episodes.truncated[truncated]
        assert episodes.terminated[terminated]
        assert episodes.lengths[truncated] == 100
    assert show(page, k=2)[0] != show(page, k=1)[0]


def test_a_batch_without_truncated_episodes(page: ModuleType) -> None:
    m = frozen_lake()
    episodes, S_H = page.episodes_within(m, solve(m).policy, 2000, 50, 0)
    assert page.one_of_each(episodes, 0)[0] is None
    assert (S_H == -1).all()
    assert page.draw_episodes(m, episodes, S_H, page.one_of_each(episodes, 0)) is not None


def test_the_state_at_the_cut_is_the_one_that_the_last_action_led_to(page: ModuleType) -> None:
    m = frozen_lake()
    episodes, S_H = page.episodes_within(m, m.uniform_policy(), 4, 200, 0)
    for n in np.flatnonzero(episodes.truncated):
        s, a = m.states[episodes.states[n, 3]], m.actions[episodes.actions[n, 3]]
        assert m.states[S_H[n]] in [after for _, after, _ in m.outcomes(s, a)]


def test_the_policy_risks_a_hole_in_one_cell_alone() -> None:
    m = frozen_lake()
    best = solve(m)
    risky = [s for k, s in enumerate(m.states) if best.v[k] > 0 and any(
        after == "end" and r == 0 for _, after, r in m.outcomes(s, m.actions[best.policy[k].argmax()])
    )]  # fmt: skip
    assert risky == [(1, 2)]


def test_ties_in_q_are_not_equal_within_a_limit(page: ModuleType) -> None:
    """Section 2: left, down, right attain v*, up never ends; within 100 steps they differ."""
    m = frozen_lake()
    best = solve(m)
    start = m.state_index((0, 0))
    assert best.optimal_actions[start].all()
    assert m.actions[best.policy[start].argmax()] == "left"
    for a in ("left", "down", "right"):
        assert_close(evaluate(m, page.at_the_start(m, best.policy, a)).objective, UNLIMITED)
    assert page.within(m, page.at_the_start(m, best.policy, "up"), 1000) == 0
    with pytest.raises(ValueError, match="end"):
        evaluate(m, page.at_the_start(m, best.policy, "up"))


def test_the_best_policy_needs_the_clock(page: ModuleType) -> None:
    """Patient with much time left, and not with little; so no policy of the cell alone is best."""
    m = frozen_lake()
    _, actions = page.with_a_clock(m, 100)
    start = m.state_index((0, 0))
    assert [m.actions[a] for a in np.flatnonzero(actions[0, start])] == ["left"]
    assert [m.actions[a] for a in np.flatnonzero(actions[90, start])] == ["down", "right"]


def test_the_standard_deviations(page: ModuleType) -> None:
    """By return_variance of the unrolled lake, to whose last step v_hat is added."""
    m = frozen_lake()
    pi, v, H = solve(m).policy, solve(m).v, 20
    clocked = unroll(m, H)
    always = np.tile(pi, (H + 1, 1))
    assert_close(page.cut_return(m, pi, H, 0 * v)[1] ** 2, clocked.start @ return_variance(clocked, always))
    outcomes = {}
    added = np.append(np.zeros(H * m.n_states), v)  # v_hat of the states with t = H
    for label in clocked.states:
        for a in m.actions:
            given = clocked.outcomes(label, a)
            if given:
                outcomes[label, a] = [(p, after, r + added[clocked.state_index(after)]) for p, after, r in given]
    repaired = FiniteMDP.from_outcomes(
        outcomes, gamma=1.0, start=clocked.start, states=clocked.states, actions=m.actions
    )
    assert_close(evaluate(repaired, always).objective, UNLIMITED)
    assert_close(page.cut_return(m, pi, H, v)[1] ** 2, repaired.start @ return_variance(repaired, always))


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_td_rests_where_the_mean_of_its_targets_is_v(page: ModuleType, gamma: float) -> None:
    """Section 5, over all trajectories: the sum of r + gamma v(s') [not over] - v(s) over visits to s has mean 0."""
    m, H = random_mdp(3, gamma=gamma), 4
    pi = random_policy(m, 3)
    v, _ = page.learned(m, pi, H)
    errors = np.zeros(m.n_states)
    for probability, played in enumerate_trajectories(m, pi, H):
        for t, r in enumerate(played.rewards):
            s, after = played.states[t], played.states[t + 1]
            over = t == H - 1 or m.terminal[after]
            errors[s] += probability * (page.target(r, over, v[after], gamma) - v[s])
    assert_close(errors, np.zeros(m.n_states), 1e-12)


def test_it_learns_the_values_of_a_lake_with_thin_ice(page: ModuleType) -> None:
    m, H = frozen_lake(), 50
    pi = m.uniform_policy()
    v, c = page.learned(m, pi, H)
    outcomes = {}
    for s, label in enumerate(m.states):
        for a in m.actions:
            given = m.outcomes(label, a)
            if given:
                outcomes[label, a] = [*(((1 - c[s]) * p, after, r) for p, after, r in given),
                                      *((c[s] * p, "the water", r) for p, _, r in given)]  # fmt: skip
    thin = FiniteMDP.from_outcomes(
        outcomes, gamma=1.0, start=[*m.start, 0], states=[*m.states, "the water"], actions=m.actions
    )
    assert_close(evaluate(thin, np.vstack([pi, np.zeros(4)])).v[:-1], v)


def test_every_state_is_too_low(page: ModuleType) -> None:
    m = frozen_lake()
    found = solve(m)
    live = found.v > 0
    for H in (10, 100):
        below = found.v - page.learned(m, found.policy, H)[0]
        assert (below[live] > 0).all()
        assert m.states[np.where(live, below, 1).argmin()] == (3, 2)  # next to the goal


def test_any_critic_between_0_and_v_is_better_than_0(page: ModuleType) -> None:
    m = frozen_lake()
    pi, v = solve(m).policy, solve(m).v
    rng = np.random.default_rng(0)
    worst = UNLIMITED - page.cut_return(m, pi, 50, 0 * v)[0]
    for _ in range(10):
        assert 0 < UNLIMITED - page.cut_return(m, pi, 50, v * rng.random(len(v)))[0] < worst


def test_as_a_script_it_prints_the_treatments() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("05"))
    result = run(path)
    assert "bootstrapped: 0.8235294118" in result.stdout
    assert "cut taken for an end: 0.7401648978" in result.stdout
