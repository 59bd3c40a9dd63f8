"""The best average reward: policy iteration. Howard (1960); Puterman (1994), sections 8.4 to 8.6.

    h(s) + g* = max over a in A(s) of r(s,a) + sum over s' of Pr(s'|s,a) h(s')

With d(s,a) = r(s,a) + sum over s' of Pr(s'|s,a) (h(s') - h(s)) and any h whatever,

    min over s of max over a of d(s,a)  <=  g*  <=  max over s of max over a of d(s,a)      (Odoni 1969; section 8.5)

which proves the gain, however h was found and whatever chains the policies make. At the bias of a policy d(s,pi(s)) is
its gain in every state. An action that is strictly better in a recurrent state makes the gain larger, in a transient
one the bias, so that no policy comes back. Where an improvement makes several recurrent classes, one of them earns more
than before: the best is kept, and all other states go there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mdp.control.bound import TIE, rounding
from mdp.control.howard import one_hot
from mdp.model.table import Floats, Ints, greedy
from mdp.prediction.error import check_rewards
from mdp.prediction.gain import Walk
from mdp.prediction.graph import proper_policy

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class AverageSolution(NamedTuple):
    """g* and what attains it.

    gain: the largest reward of a step in the long run; bias (S,), of the policy, mu . bias = 0; policy (S, A):
    deterministic, zeros in terminal states; bound: error of the gain, proven; iterations: policies that were evaluated;
    converged: bound <= tolerance.
    """

    gain: float
    bias: Floats
    policy: Floats
    bound: float
    iterations: int
    converged: bool


def solve_average(mdp: FiniteMDP, /, *, tolerance: float = 1e-8) -> AverageSolution:
    """The optimal average reward, and a policy that attains it; gamma is not read.

    For models in which the best gain is the same from everywhere, and can be reached from everywhere: all unichain and
    all communicating ones. Terminal states are read as `average_reward` reads them: they earn 0 for ever.

    Raises ValueError for a tolerance that is not positive and, with the states named, where the largest gain that was
    found cannot surely be reached from some state: what is best depends on the start then.

    >>> from envs import gridworld_5x5
    >>> from mdp import solve_average
    >>> m = gridworld_5x5()  # Sutton & Barto, Example 3.5: 10 from A, and four steps back
    >>> found = solve_average(m)
    >>> round(found.gain, 10), found.bound < 1e-12
    (2.0, True)
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, not {tolerance}")
    check_rewards(mdp, 0.0)
    states, seen, iterations = np.arange(mdp.n_states), set[bytes](), 0
    improved = greedy(np.where(mdp.admissible, mdp.expected_reward, -np.inf))
    while improved.tobytes() not in seen:  # else nothing is better, or by rounding alone
        policy, gain, bias = _with_one_gain(mdp, improved)
        seen |= {improved.tobytes(), policy.tobytes()}
        d = _differences(mdp, bias)
        better = d.max(axis=1) > d[states, policy] + _uncertain(mdp, bias)
        improved, iterations = np.where(better, greedy(d), policy), iterations + 1
    best = d.max(axis=1)[~mdp.terminal]
    bound = max(float(best.max()) - gain, gain - float(best.min())) + rounding(mdp, 2 * bias)
    return AverageSolution(gain, bias, one_hot(mdp, policy), bound, iterations, bound <= tolerance)


def _with_one_gain(mdp: FiniteMDP, policy: Ints) -> tuple[Ints, float, Floats]:
    """(policy, gain, bias) of a policy (S,), changed to go to its best recurrent class where it has several."""
    walk = Walk(mdp, one_hot(mdp, policy))
    classes = walk.recurrent_classes()
    if len(classes) > 1:
        best = max(classes, key=lambda closed: (_gain(walk, closed), walk.end in closed))
        goal = np.isin(walk.node, best)
        there, sure = proper_policy(mdp, mdp.admissible, goal)
        lost = walk.node[~sure & (walk.node < walk.n)]
        if len(lost):
            raise ValueError(
                f"the average reward {_gain(walk, best):.6g} of the states {walk.named(best)} cannot surely be reached "
                f"from {walk.named(lost)}: what is best depends on the start; take those states out, or gamma < 1"
            )
        policy = np.where(goal, policy, np.maximum(there, 0))
        walk = Walk(mdp, one_hot(mdp, policy))
        classes = walk.recurrent_classes()
    return policy, *walk.average_reward(classes[0])


def _gain(walk: Walk, closed: Ints) -> float:
    """The gain of a recurrent class; a little less where it is not the end, which ties by rounding must not beat."""
    slack = 0.0 if walk.end in closed else TIE * float(np.abs(walk.r).max())
    return float(walk.stationary(closed) @ walk.r[closed]) - slack


def _differences(mdp: FiniteMDP, h: Floats) -> Floats:
    """d(s,a), (S, A); -inf where a is not in A(s), 0 in terminal states."""
    P, shape = mdp.transition, mdp.admissible.shape
    d = mdp.expected_reward + (P @ h).reshape(shape) - P.sum(axis=1).reshape(shape) * h[:, None]
    return np.where(mdp.admissible, d, np.where(mdp.terminal[:, None], 0.0, -np.inf))


def _uncertain(mdp: FiniteMDP, h: Floats) -> Floats:
    """What rounding may change in the d of a state, (S,)."""
    size = np.abs(mdp.expected_reward) + (mdp.transition @ np.abs(h)).reshape(mdp.admissible.shape) + np.abs(h)[:, None]
    return np.asarray(TIE * size.max(axis=1))
