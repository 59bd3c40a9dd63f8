"""Episodes of a policy, from a FiniteMDP (all copies at once) or from a Gymnasium vector environment.

An environment's copies play whole rounds, one episode each. Taking the first N episodes that end would favour short
ones: on the short corridor the mean return would be -6.60 instead of -12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from agents.losses import negligible_after
from agents.policies import SoftmaxPolicy
from mdp import Episodes, FiniteMDP, Simulator
from mdp.model.labels import checked_gamma
from mdp.prediction.graph import may_never_end
from mdp.sampling.episodes import joined


def rollout(
    policy: SoftmaxPolicy,
    source: FiniteMDP | VectorEnv[Any, Any, Any],
    episodes: int,
    *,
    group_size: int = 1,
    generator: torch.Generator,
    max_steps: int | None = None,
    gamma: float | None = None,
) -> Episodes:
    """`episodes` episodes of the policy; each start state is drawn once and shared by a group of `group_size`.

    max_steps   episodes are cut off there, and marked truncated. None: they are played to their end; where the policy
                may never end on a FiniteMDP with gamma < 1, until all that follows is below rounding, gamma^t-weighted
                (`negligible_after`)
    gamma       the discount of a vector environment that does not carry its MDP; a FiniteMDP has its own

    A vector environment is reset with options={"group_size": n} where n > 1; what its copies then see must be equal
    within a group. Its info["action_mask"], if there is one, is A(s), and info["state"] the index of the state.

    Raises ValueError for a number of episodes that is not a positive multiple of group_size, for a group that does not
    start in one state, max_steps < 1, and a discount given twice or not at all.

    >>> import torch
    >>> from agents import SoftmaxPolicy, TabularPreferences, rollout
    >>> from envs import tokens
    >>> m, generator = tokens(), torch.Generator().manual_seed(0)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> episodes = rollout(policy, m, 6, group_size=3, generator=generator)
    >>> episodes.group.tolist(), [len(set(s)) for s in episodes.states[:, 0].reshape(2, 3).tolist()]
    ([0, 0, 0, 1, 1, 1], [1, 1])
    """
    if group_size < 1 or episodes < 1 or episodes % group_size:
        raise ValueError(f"{episodes} episodes are no positive multiple of groups of {group_size}")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, not {max_steps}")
    if isinstance(source, FiniteMDP):
        if gamma is not None:
            raise ValueError(f"the FiniteMDP has its own discount, {source.gamma}: with_gamma makes another one")
        return _simulated(policy, source, episodes, group_size, generator, max_steps)
    return _played(policy, source, episodes, group_size, generator, max_steps, gamma)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator seeded by a draw from a torch one."""
    device = generator.device
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=device)))


def _simulated(
    policy: SoftmaxPolicy, mdp: FiniteMDP, episodes: int, group_size: int, generator: torch.Generator,
    max_steps: int | None,
) -> Episodes:  # fmt: skip
    with torch.no_grad():
        pi = policy.matrix(mdp).double().cpu().numpy()
    # a float32 softmax sums to 1 within 1e-7 only; its rows are the same distribution after this
    simulator = Simulator(mdp, pi / np.where(mdp.terminal, 1.0, pi.sum(1))[:, None])
    rng = numpy_generator(generator)
    starts = simulator.starts(episodes // group_size, rng).repeat(group_size)
    if max_steps is None and len(may_never_end(mdp, simulator.policy)):
        max_steps = negligible_after(mdp.gamma)
    return simulator.run(starts, rng, max_steps, group=np.arange(episodes) // group_size)


# ---- Gymnasium ----


@dataclass
class _Step:
    state: NDArray[np.int64]
    seen: NDArray[Any]
    mask: NDArray[Any] | None
    action: NDArray[Any]
    log_prob: NDArray[Any]
    reward: NDArray[Any]
    playing: NDArray[np.bool_]


def _played(
    policy: SoftmaxPolicy, envs: VectorEnv[Any, Any, Any], episodes: int, group_size: int,
    generator: torch.Generator, max_steps: int | None, gamma: float | None,
) -> Episodes:  # fmt: skip
    if envs.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
        raise ValueError("rollout needs a vector environment that resets its copies (autoreset)")
    if envs.num_envs % group_size:
        raise ValueError(f"{envs.num_envs} copies are no multiple of groups of {group_size}")
    gamma = _gamma(envs, gamma)
    rounds = []
    for first in range(0, episodes, envs.num_envs):
        n = min(envs.num_envs, episodes - first)  # the last round's first n copies: chosen before anything is known
        rounds.append(_round(policy, envs, n, group_size, generator, max_steps, gamma))
    return joined(rounds)


def _gamma(envs: VectorEnv[Any, Any, Any], gamma: float | None) -> float:
    own = getattr(envs, "gamma", getattr(getattr(envs, "mdp", None), "gamma", None))
    if own is None and isinstance(envs, gymnasium.vector.SyncVectorEnv):
        own = getattr(getattr(envs.envs[0].unwrapped, "mdp", None), "gamma", None)
    if own is not None and gamma is not None:
        raise ValueError(f"the environment has its own gamma, {own}")
    if own is None and gamma is None:
        raise ValueError("give gamma: the environment has none")
    return checked_gamma(gamma if own is None else own)  # type: ignore[arg-type]


def _round(
    policy: SoftmaxPolicy, envs: VectorEnv[Any, Any, Any], n: int, group_size: int,
    generator: torch.Generator, max_steps: int | None, gamma: float,
) -> Episodes:  # fmt: skip
    """One episode of each copy; the first n are kept."""
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    seen, info = envs.reset(seed=seed, options={"group_size": group_size} if group_size > 1 else None)
    _check_groups(np.asarray(seen), group_size)
    _check_groups(np.asarray(info.get("state", np.zeros(envs.num_envs))), group_size)
    steps: list[_Step] = []
    terminated, truncated = np.zeros(envs.num_envs, bool), np.zeros(envs.num_envs, bool)
    memory: Any = None
    while not (terminated | truncated)[:n].all():
        playing = ~(terminated | truncated)
        mask = _mask(info)
        drawn, scored, memory = policy.sample(seen, mask, memory, generator=generator)
        action, log_prob = drawn.cpu().numpy(), scored.cpu().numpy()
        state = np.array(info.get("state", np.full(envs.num_envs, -1)))
        after, reward, ends, cuts, info = envs.step(action)
        steps.append(_Step(state[:n], np.array(seen)[:n], None if mask is None else mask[:n], action[:n], log_prob[:n],
                           np.where(playing, reward, 0.0)[:n], playing[:n]))  # fmt: skip
        after = np.where(playing.reshape(-1, *[1] * (after.ndim - 1)), after, seen)  # an episode that is over stays so
        terminated |= playing & ends
        truncated |= playing & cuts & ~ends
        if max_steps is not None and len(steps) >= max_steps:
            truncated |= ~(terminated | truncated)
        seen = after
    return _episodes(steps, terminated[:n], truncated[:n], gamma, group_size)


def _check_groups(seen: NDArray[Any], group_size: int) -> None:
    grouped = seen.reshape(-1, group_size, *seen.shape[1:])
    if (grouped != grouped[:, :1]).any():
        raise ValueError(
            f"the copies of a group of {group_size} do not start in one state: the environment's reset does not know "
            f'options={{"group_size": {group_size}}}'
        )


def _mask(info: dict[str, Any]) -> NDArray[np.bool_] | None:
    """A(s) of every copy, (n, A) or None; a copy in a terminal state is about to be reset, whatever it does."""
    if "action_mask" not in info:
        return None
    mask: NDArray[np.bool_] = np.stack(list(info["action_mask"])).astype(bool)
    return mask | ~mask.any(axis=1, keepdims=True)


def _episodes(
    steps: list[_Step], terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], gamma: float, group_size: int
) -> Episodes:
    def field(name: str) -> NDArray[Any]:  # (n, T, ...)
        return np.stack([getattr(step, name) for step in steps], axis=1)

    playing, seen = field("playing"), field("seen")
    n, T = playing.shape
    return Episodes(
        states=np.where(playing, field("state"), -1),
        actions=np.where(playing, field("action"), 0),
        rewards=field("reward"),
        lengths=playing.sum(1),
        terminated=terminated,
        truncated=truncated,
        gamma=gamma,
        sight=np.arange(n * T).reshape(n, T),
        sights=seen.reshape(n * T, *seen.shape[2:]),
        choices=None if steps[0].mask is None else field("mask").reshape(n * T, -1),
        group=np.arange(n) // group_size,
        behaviour_log_probs=np.where(playing, field("log_prob"), 0.0),
    )
