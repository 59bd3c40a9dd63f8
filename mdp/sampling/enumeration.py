"""All trajectories of an MDP under a policy, with their probabilities.

    Pr(s_0 a_0 r_1 s_1 ...) = start(s_0) pi(a_0|s_0) p(s_1, r_1|s_0, a_0) pi(a_1|s_1) ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph

from mdp.model.table import Floats
from mdp.prediction.chain import checked_policy

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class Trajectory(NamedTuple):
    """S_0 A_0 R_1 ... S_T by index: states has T + 1 entries, actions and rewards T; rewards[t] is R_{t+1}."""

    states: tuple[int, ...]
    actions: tuple[int, ...]
    rewards: tuple[float, ...]
    terminated: bool


def enumerate_trajectories(
    mdp: FiniteMDP, policy: ArrayLike, /, horizon: int | None = None
) -> Iterator[tuple[float, Trajectory]]:
    """(probability, trajectory) of every trajectory with positive probability, depth first; they sum to 1.

    horizon: steps after which a trajectory is cut off (terminated is then False). None: to the end, which is
    refused with ValueError where a state can return to itself, since there are infinitely many then.

    >>> from envs import tokens
    >>> from mdp import enumerate_trajectories
    >>> m = tokens()  # 2 prompts, 15 completions each
    >>> found = list(enumerate_trajectories(m, m.uniform_policy()))
    >>> len(found), round(sum(p for p, _ in found), 10)
    (30, 1.0)
    >>> round(sum(p * sum(x.rewards) for p, x in found), 10)  # J = 19/30
    0.6333333333
    """
    pi = checked_policy(mdp, policy)
    if horizon is None:
        _refuse_cycles(mdp, pi)
    elif horizon < 0:
        raise ValueError(f"the horizon must be at least 0, not {horizon}")
    return _depth_first(mdp, pi, horizon)


def count_trajectories(mdp: FiniteMDP, policy: ArrayLike, /) -> int:
    """How many trajectories `enumerate_trajectories` gives, without listing: n(s) = sum over outcomes of n(s').

    Raises ValueError where a state can return to itself.

    >>> from envs import tokens
    >>> from mdp import count_trajectories
    >>> m = tokens()  # after each of 2 prompts "." is written first, second, or third; or never
    >>> count_trajectories(m, m.uniform_policy()), 2 * (1 + 2 + 4 + 8)
    (30, 30)
    """
    n = _from_the_end(mdp, policy, lambda after: sum(after) if after else 1)
    return sum(n[int(s)] for s in np.flatnonzero(mdp.start))


def longest_trajectory(mdp: FiniteMDP, policy: ArrayLike, /) -> int:
    """Steps of the longest trajectory, without listing: n(s) = 1 + max over outcomes of n(s'). Raises as the count.

    >>> from envs import tokens
    >>> from mdp import longest_trajectory
    >>> m = tokens()
    >>> longest_trajectory(m, m.uniform_policy())
    3
    """
    n = _from_the_end(mdp, policy, lambda after: 1 + max(after) if after else 0)
    return max(n[int(s)] for s in np.flatnonzero(mdp.start))


def _from_the_end(mdp: FiniteMDP, policy: ArrayLike, of: Callable[[list[int]], int]) -> dict[int, int]:
    """n(s) = of(n(s') for all outcomes), [] in terminal states, for all states that are reached."""
    pi = checked_policy(mdp, policy)
    _refuse_cycles(mdp, pi)
    t = mdp.table
    first = np.searchsorted(t.state, np.arange(mdp.n_states + 1))
    used = pi[t.state, t.action] > 0
    n: dict[int, int] = {}
    stack = [int(s) for s in np.flatnonzero(mdp.start)]
    while stack:  # a state is dealt with once all that may follow it are
        s = stack[-1]
        after = [] if mdp.terminal[s] else t.next[first[s] : first[s + 1]][used[first[s] : first[s + 1]]].tolist()
        waiting = [x for x in after if x not in n]
        if waiting:
            stack += waiting
        else:
            n[stack.pop()] = of([n[x] for x in after])
    return n


def _depth_first(mdp: FiniteMDP, pi: Floats, horizon: int | None) -> Iterator[tuple[float, Trajectory]]:
    t = mdp.table
    first = np.searchsorted(t.state, np.arange(mdp.n_states + 1))
    stack = [(float(mdp.start[s]), Trajectory((int(s),), (), (), False)) for s in np.flatnonzero(mdp.start)[::-1]]
    while stack:
        probability, (states, actions, rewards, _) = stack.pop()
        s = states[-1]
        if mdp.terminal[s] or len(actions) == horizon:
            yield probability, Trajectory(states, actions, rewards, bool(mdp.terminal[s]))
            continue
        for k in range(first[s + 1] - 1, first[s] - 1, -1):
            a = int(t.action[k])
            if pi[s, a] > 0:
                step = Trajectory((*states, int(t.next[k])), (*actions, a), (*rewards, float(t.reward[k])), False)
                stack.append((probability * float(pi[s, a] * t.p[k]), step))


def _refuse_cycles(mdp: FiniteMDP, pi: Floats) -> None:
    """Raises ValueError with a state that the policy can return to, among those it can reach."""
    t, S = mdp.table, mdp.n_states
    used = pi[t.state, t.action] > 0
    starts = np.flatnonzero(mdp.start)
    rows, columns = np.append(t.state[used], np.full(len(starts), S)), np.append(t.next[used], starts)
    graph = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(S + 1, S + 1))
    reached = csgraph.breadth_first_order(graph, S, return_predecessors=False)
    component = csgraph.connected_components(graph, connection="strong")[1]
    size = np.bincount(component)
    loops = (size[component] > 1) | (graph.diagonal() > 0)
    cyclic = reached[loops[reached]]
    if len(cyclic):
        raise ValueError(
            f"the policy can return to state {mdp.states[cyclic[0]]!r}, so there are infinitely many trajectories: "
            f"pass a horizon"
        )
