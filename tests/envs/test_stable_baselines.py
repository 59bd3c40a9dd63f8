"""Another library's agents on environments of the zoo (the extra `bench`): what they learn is judged exactly.

stable-baselines3 sees the Gymnasium environment only. Its policy is then read off, state by state, and its J is
computed from the table: J* - J at most 5 % of |J*|, with the seed given.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import envs  # noqa: F401  registers the ids
from mdp import FiniteMDP, evaluate, solve
from mdp.model.table import Floats

sb3 = pytest.importorskip("stable_baselines3")


def policy_matrix(model: Any, m: FiniteMDP) -> Floats:
    """pi(a|s) of a stable-baselines3 policy in every state, (S, A)."""
    seen, _ = model.policy.obs_to_tensor(m.observations)
    with torch.no_grad():
        p = model.policy.get_distribution(seen).distribution.probs.double().numpy()
    return np.asarray(p / p.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("algorithm", "id", "steps", "settings"),
    [
        ("PPO", "exactrl/RandomWalk19-v0", 16_000, {"n_steps": 128, "learning_rate": 3e-3, "gamma": 0.99}),
        ("A2C", "exactrl/MachineReplacement-v0", 20_000, {"n_steps": 16, "learning_rate": 3e-3, "gamma": 0.9}),
        ("A2C", "exactrl/ContextualBandit-v0", 8_000, {"n_steps": 8, "learning_rate": 3e-3, "gamma": 1.0}),
    ],
)
def test_it_learns(algorithm: str, id: str, steps: int, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    made = sb3.common.env_util.make_vec_env(lambda: gymnasium.make(id, max_episode_steps=100), n_envs=8, seed=0)
    model = getattr(sb3, algorithm)("MlpPolicy", made, seed=0, device="cpu", **settings)
    m = made.envs[0].unwrapped.mdp
    best = float(m.start @ solve(m).v)
    before = evaluate(m, policy_matrix(model, m)).objective
    model.learn(steps)
    after = evaluate(m, policy_matrix(model, m)).objective
    assert before < best - 0.05 * abs(best)
    assert best - after <= 0.05 * abs(best)
