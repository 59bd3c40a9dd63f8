"""What a loss sees: episodes as tensors, with log pi(A_t|S_t) differentiable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.policies import SoftmaxPolicy
from agents.policies.preferences import as_tensor
from mdp import Episodes


@dataclass(frozen=True)
class Batch:
    """N episodes of at most T steps; every (N, T) tensor is 0 after the end of an episode, states are -1.

    rewards, actions, states (N, T): rewards[:, t] is R_{t+1}; mask (N, T) bool; lengths, group (N,); gamma
    observations (N, T, ...)     what the agent saw
    log_probs (N, T)             log pi(A_t|S_t), differentiable
    behaviour_log_probs          (N, T) or None: of the policy that played
    reference_log_probs          (N, T) or None: of a frozen reference
    truncated (N,)               the episode was cut off before its end
    states_are_known             False where a source did not tell them
    entropies (N, T)             of pi(.|S_t), computed when read

    >>> import numpy as np
    >>> from agents import Batch, SoftmaxPolicy, TabularPreferences
    >>> from envs import random_walk
    >>> from mdp import simulate
    >>> episodes = simulate(random_walk(), [[0, 1]] * 7, 1, rng=np.random.default_rng(0))  # C, D, E, and then 1
    >>> batch = Batch.of(SoftmaxPolicy(TabularPreferences(random_walk())).double(), episodes)
    >>> batch.rewards.tolist()
    [[0.0, 0.0, 1.0]]
    >>> batch.log_probs.exp().detach().numpy().round(10).tolist()  # of the uniform policy
    [[0.5, 0.5, 0.5]]
    """

    rewards: Tensor
    actions: Tensor
    states: Tensor
    mask: Tensor
    lengths: Tensor
    group: Tensor
    gamma: float
    log_probs: Tensor
    behaviour_log_probs: Tensor | None
    reference_log_probs: Tensor | None
    truncated: Tensor
    states_are_known: bool
    _observations: Callable[[], Tensor]
    _entropies: Callable[[], Tensor]

    @property
    def observations(self) -> Tensor:
        return self._observations()

    @property
    def entropies(self) -> Tensor:
        return self._entropies()

    def known_states(self) -> Tensor:
        """states (N, T), for what depends on them. Raises ValueError where a source did not tell them."""
        if not self.states_are_known:
            raise ValueError('a baseline of the state needs states, and the environment\'s info has no "state"')
        return self.states

    @classmethod
    def of(cls, policy: SoftmaxPolicy, episodes: Episodes, *, reference: SoftmaxPolicy | None = None) -> Batch:
        """The batch of some episodes, scored by `policy` (and by a frozen `reference`)."""
        with torch.no_grad():
            reference_log_probs = None if reference is None else reference.log_prob(episodes)
        return cls.scored(episodes, policy.log_prob(episodes), reference_log_probs, lambda: policy.entropies(episodes))

    @classmethod
    def scored(
        cls, episodes: Episodes, log_probs: Tensor, reference_log_probs: Tensor | None, entropies: Callable[[], Tensor]
    ) -> Batch:
        """The batch of some episodes whose log-probabilities (N, T) are known; entropies() is called when read."""
        played = episodes.behaviour_log_probs
        return cls(
            rewards=as_tensor(episodes.rewards, log_probs).to(log_probs.dtype),
            actions=as_tensor(episodes.actions, log_probs),
            states=as_tensor(episodes.states, log_probs),
            mask=as_tensor(episodes.mask, log_probs),
            lengths=as_tensor(episodes.lengths, log_probs),
            group=as_tensor(episodes.group, log_probs),
            gamma=episodes.gamma,
            log_probs=log_probs,
            behaviour_log_probs=None if played is None else as_tensor(played, log_probs).to(log_probs.dtype),
            reference_log_probs=reference_log_probs,
            truncated=as_tensor(episodes.truncated, log_probs),
            states_are_known=not (episodes.states[episodes.mask] < 0).any(),
            _observations=lambda: as_tensor(episodes.observations, log_probs),
            _entropies=entropies,
        )
