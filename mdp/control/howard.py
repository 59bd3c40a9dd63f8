"""Policy iteration. Howard (1960); Sutton & Barto (2nd ed.), section 4.3.

At gamma = 1 it starts from a proper policy and changes an action only where another one is strictly better, so that
it stays proper: a recurrent class of an improper improvement would have positive average reward, and then v* is
infinite. That is found and refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdp.control.bound import uncertain
from mdp.control.progress import Found, Show
from mdp.control.turns import exact_value
from mdp.model.table import Floats, Ints, greedy, largest
from mdp.prediction.evaluation import evaluate
from mdp.prediction.graph import end_components, never_ending, proper_policy

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def policy_iteration(mdp: FiniteMDP, policy: Ints, show: Show) -> Found:
    """Howard (1960): evaluate exactly, improve strictly, until nothing is better (S&B section 4.3).

    Better by what rounding may explain is not better; and a policy that comes back, by rounding, ends it too.
    """
    states, seen = np.arange(mdp.n_states), set()
    while True:
        v = evaluate(mdp, one_hot(mdp, policy)).v if mdp.gamma == 1 else exact_value(mdp, policy)
        q = mdp.backup(v)
        top = largest(q)
        seen.add(policy.tobytes())
        show(len(seen), float((top - v).max()), v)
        best, off = greedy(q), uncertain(mdp, v)
        better = top > q[states, policy] + np.maximum(off[states, policy], off[states, best])
        improved = np.where(better, best, policy)
        if improved.tobytes() in seen:
            return Found(v, policy, len(seen))
        policy = improved
        if mdp.gamma == 1:
            _refuse_profitable_loop(mdp, policy)


def _refuse_profitable_loop(mdp: FiniteMDP, policy: Ints) -> None:
    stuck = never_ending(mdp, pi := one_hot(mdp, policy))
    if len(stuck):
        loop = np.flatnonzero(end_components(mdp, pi > 0)[0] >= 0)
        raise ValueError(
            f"at gamma = 1 positive reward can be earned for ever in {named(mdp, loop)}: v* is infinite there; take "
            f"gamma < 1, or unroll(mdp, horizon)"
        )


def first_policy(mdp: FiniteMDP) -> Ints:
    """An action for each state to start from: proper at gamma = 1. Raises ValueError where no policy ends."""
    if mdp.gamma < 1:
        return greedy(mdp.reward_or_limit)
    policy, ends = proper_policy(mdp, mdp.admissible)
    if not ends.all():
        raise ValueError(
            f"at gamma = 1 no policy surely ends from {named(mdp, np.flatnonzero(~ends))}: take gamma < 1, or "
            f"unroll(mdp, horizon)"
        )
    return np.maximum(policy, 0)


def one_hot(mdp: FiniteMDP, actions: Ints) -> Floats:
    """The deterministic policy (S, A) that takes `actions` (S,); zeros in terminal states."""
    pi = np.zeros(mdp.admissible.shape)
    pi[np.arange(mdp.n_states), actions] = ~mdp.terminal
    return pi


def named(mdp: FiniteMDP, states: Ints) -> str:
    """A few states in error messages."""
    more = f" and {len(states) - 5} more" if len(states) > 5 else ""
    return "states " + ", ".join(repr(mdp.states[s]) for s in states[:5]) + more
