"""Bandits: one step, then the end.

k-armed: Sutton & Barto (2nd ed.), section 2.3, with rewards mean + 1 or mean - 1 (variance 1, as in the testbed).

Contextual: the one-step objective of fine-tuning a language model. A prompt o is drawn from P(o), the agent answers
with a response a, the reward is r(o, a):

    J(theta) = sum over o of P(o) sum over a of pi_theta(a|o) r(o, a)

Known answers: v* is the best mean in each context, v of the uniform policy the mean of the means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from envs.answers import Answer, Entry
from mdp import FiniteMDP

MEANS = (-1.5, -1.0, -0.75, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
REWARDS = {
    "2 + 2 =": {"4": 1.0, "Paris": 0.0, "blue": 0.0, "I do not know": 0.25},
    "The capital of France is": {"4": 0.0, "Paris": 1.0, "blue": 0.0, "I do not know": 0.25},
    "The best colour is": {"4": 0.0, "Paris": 0.25, "blue": 0.75, "I do not know": 0.5},
}
PROBABILITIES = (0.5, 0.3, 0.2)


def bandit(means: Sequence[float] = MEANS, gamma: float = 1.0) -> FiniteMDP:
    """One state "bandit", arms 0 .. k - 1, then "end"; an arm pays its mean + 1 or - 1, each with probability 1/2.

    >>> from envs import bandit
    >>> from mdp import solve
    >>> solve(bandit()).v.tolist()  # the best mean
    [1.5, 0.0]
    """
    outcomes = {("bandit", k): [(0.5, "end", mean + 1), (0.5, "end", mean - 1)] for k, mean in enumerate(means)}
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma)


def contextual_bandit(
    rewards: Mapping[str, Mapping[str, float]] = REWARDS,
    prompt_probabilities: Sequence[float] | None = None,
    gamma: float = 1.0,
) -> FiniteMDP:
    """A state for each prompt, an action for each response, then "end"; rewards: {prompt: {response: r(o, a)}}.

    prompt_probabilities: P(o), in the order of the prompts; by default uniform (for the default prompts .5, .3, .2).

    >>> from envs import contextual_bandit
    >>> from mdp import solve
    >>> solve(contextual_bandit()).v.tolist()  # the best response to each prompt
    [1.0, 1.0, 0.75, 0.0]
    """
    if prompt_probabilities is None and rewards is REWARDS:
        prompt_probabilities = PROBABILITIES
    outcomes = {(o, a): [(1.0, "end", r)] for o, responses in rewards.items() for a, r in responses.items()}
    start = None if prompt_probabilities is None else np.append(prompt_probabilities, 0.0)
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start=start)


BANDIT = Entry(
    bandit,
    (
        Answer("uniform", 1.0, {"bandit": sum(MEANS) / len(MEANS)}, "the mean of the means"),
        Answer("optimal", 1.0, {"bandit": max(MEANS)}, "the best mean"),
    ),
)
CONTEXTUAL_BANDIT = Entry(
    contextual_bandit,
    (
        Answer("uniform", 1.0, {o: sum(r.values()) / len(r) for o, r in REWARDS.items()}, "the mean reward"),
        Answer("optimal", 1.0, {o: max(r.values()) for o, r in REWARDS.items()}, "the best reward"),
    ),
)
