"""`python -m tests.reproducibility.worker THREADS [after other work]`: {name: sha256} of what is computed from seeds.

Everything that takes a seed or a generator, and everything exact, at sizes where BLAS, LAPACK, torch and the products
of `mdp.model.products` do use their threads. Prints one line of JSON; "global state" says whether numpy's, torch's and
Python's own global generators are as they were.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from scipy import sparse

import envs
from agents import (
    ExactAscent,
    ExactEM,
    LanguageModelPolicy,
    LearnedValues,
    MLPPreferences,
    Reinforce,
    ReinforceLoss,
    SoftmaxPolicy,
    audit,
    exact_gradient,
    gradient_moments,
    pgcheck,
    plain_ascent,
    rollout,
    train,
)
from agents.learning.training import TIMES
from agents.losses import named
from mdp import (
    FiniteMDP,
    best_baselines,
    em_step,
    evaluate,
    natural_policy_gradient,
    occupancy,
    policy_gradient,
    reinforce_moments,
    simulate,
    solve,
)
from mdp.plot import board_of, plot_board
from tests.agents.models import small, small_policy, writing
from tests.agents.problems import network, seeded, tabular

Work = Callable[[], Any]



def digest(x: Any) -> str:
    """sha256 of all the bits of a result: arrays, tensors, and what holds them."""
    found = hashlib.sha256()
    for part in bits(x):
        found.update(part)
    return found.hexdigest()


def bits(x: Any) -> Any:
    """Pieces of bytes; the times of a training are left out."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    if isinstance(x, np.ndarray):
        yield f"{x.dtype}{x.shape}".encode()
        yield np.ascontiguousarray(x).tobytes()
    elif isinstance(x, Mapping):
        for name, y in x.items():
            if name not in TIMES:
                yield repr(name).encode()
                yield from bits(y)
    elif is_dataclass(x) and not isinstance(x, type):
        yield from bits({field.name: getattr(x, field.name) for field in fields(x)})
    elif isinstance(x, (list, tuple)):
        for y in x:
            yield from bits(y)
    elif isinstance(x, bytes):
        yield x
    else:
        assert x is None or isinstance(x, (bool, int, float, str, np.generic)), type(x)
        yield repr(x).encode()


@cache
def random_graph(n: int, branching: int = 6) -> FiniteMDP:
    """Successors anywhere: no order brings them near the diagonal."""
    return envs.garnet(n, 4, branching, seed=1)


def matrix(m: FiniteMDP) -> Any:
    """A random policy (S, A)."""
    return tabular(m).matrix(m).detach().numpy()


def preferences(m: FiniteMDP) -> Any:
    return np.random.default_rng(3).normal(size=m.admissible.shape)


def labelled() -> FiniteMDP:
    """Labels that are strings: their hashes differ from process to process."""
    ways = {(f"s{i}", f"a{j}"): [(0.5, f"s{(i + j) % 7}", 1.0 * i), (0.5, f"s{(3 * i + j) % 7}", -1.0)]
            for i in range(6) for j in range(3)}  # fmt: skip
    return FiniteMDP.from_outcomes(ways, gamma=0.9)


def trained(policy: SoftmaxPolicy, source: Any, *, updates: int = 2, **settings: Any) -> Any:
    """The parameters after some updates, and what was noted."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.01)
    agent = Reinforce(policy, optimizer=optimizer, **settings)
    history = train(agent, source, updates=updates, episodes=256, group_size=4, generator=seeded(5))
    return [*policy.parameters(), *history.rows]


def stepped(agent: Any, m: FiniteMDP) -> Any:
    train(agent, m, updates=3, episodes=1, generator=seeded(5))
    return list(agent.policy.parameters())


def every_moment(m: FiniteMDP) -> Any:
    found = reinforce_moments(m, preferences(m))
    return [found.mean, found.covariance, found.trace]


def spread() -> Any:
    """A product of more than 4,000,000 entries, which is spread over the cores."""
    rng = np.random.default_rng(0)
    n, k = 42_000, 100
    P = sparse.csr_array((rng.random(n * k), rng.integers(0, n, n * k), np.arange(0, n * k + 1, k)), shape=(n, n))
    m = FiniteMDP.from_arrays([P / P.sum(axis=1)[:, None]], np.zeros((n, 1)), gamma=0.9)
    return m.backup(rng.random(n))


def written(m: FiniteMDP) -> Any:
    """The bytes of its two kinds of file, and of a picture."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("m.npz", "m.json")]
        for path in paths:
            m.save(path)
        return [path.read_bytes() for path in paths]


def picture() -> bytes:
    m = envs.gridworld_4x4(0.9)
    board = board_of(m, lambda s: s)
    assert board is not None
    file = io.BytesIO()
    plot_board(m, board, v=solve(m).v).savefig(file, format="png")
    return file.getvalue()


def works() -> dict[str, Work]:
    """Name -> what is computed."""
    return sampled() | learned() | exact()


def sampled() -> dict[str, Work]:
    lake, taxi, wide_lake = envs.frozen_lake(), envs.taxi(), envs.frozen_lake_8x8()
    gpt2, text = small_policy("gpt2"), writing()
    return {
        "from_outcomes with strings": lambda: written(labelled()),
        "simulate": lambda: simulate(lake, lake.uniform_policy(), 5_000, rng=np.random.default_rng(1)),
        "simulate, statistics": lambda: simulate(
            taxi, taxi.uniform_policy(), 50, rng=np.random.default_rng(1), statistics=True
        ),
        "vector environment": lambda: rollout(
            network(wide_lake), gymnasium.make_vec("exactrl/FrozenLake8x8-v0", num_envs=64), 64, generator=seeded(2)
        ),
        "rollout, table": lambda: rollout(tabular(lake), lake, 2_000, generator=seeded(2)),
        "rollout, Llama": lambda: rollout(llama(), text.vector_env(512), 512, group_size=4, generator=seeded(2)),
        "rollout, GPT-2": lambda: rollout(gpt2, text.vector_env(64), 64, group_size=4, generator=seeded(2)),
    }


def learned() -> dict[str, Work]:
    """And what is checked by samples."""
    lake, wide_lake = envs.frozen_lake(), envs.frozen_lake_8x8()
    corridor, tokens = envs.short_corridor(0.9), envs.tokens(gamma=0.9)
    text = writing()
    wide = SoftmaxPolicy(MLPPreferences(64, 4, hidden=(256, 256), generator=seeded()))
    return {
        "train, table": lambda: trained(
            tabular(lake), lake, loss=ReinforceLoss(baseline=LearnedValues(lake.n_states))
        ),
        "train, network": lambda: trained(wide, wide_lake, loss=named.rloo()),
        "train, Llama": lambda: trained(llama(), text.vector_env(256), loss=named.rloo(), pieces=2),
        "train, GPT-2": lambda: trained(small_policy("gpt2"), text.vector_env(256), loss=named.grpo()),
        "exact ascent": lambda: stepped(ascent(lake, natural=False), lake),
        "natural ascent": lambda: stepped(ascent(lake, natural=True), lake),
        "EM": lambda: stepped(ExactEM(tabular(lake), lake), lake),
        "pgcheck": lambda: pgcheck(tabular(lake), lake, episodes=3_000).as_dict(),
        "pgcheck, network": lambda: pgcheck(network(corridor), corridor, episodes=3_000).as_dict(),
        "audit, listed": lambda: audit(named.grpo(), tabular(tokens), tokens, group_size=2).as_dict(),
        "audit, sampled": lambda: audit(named.rloo(), tabular(tokens), tokens, group_size=4, samples=2_000).as_dict(),
    }


def exact() -> dict[str, Work]:
    """Of the table alone, and of gradients."""
    lake, taxi, wide_lake = envs.frozen_lake(), envs.taxi(), envs.frozen_lake_8x8()
    dense, krylov = random_graph(300), random_graph(3_000)
    wide = SoftmaxPolicy(MLPPreferences(64, 4, hidden=(256, 256), generator=seeded()))
    return {
        "solve, value iteration": lambda: solve(taxi, method="value_iteration"),
        "solve, policy iteration": lambda: solve(dense, method="policy_iteration"),
        "solve, modified policy iteration": lambda: solve(krylov, method="modified_policy_iteration"),
        "solve, linear programming": lambda: solve(lake, method="linear_programming"),
        "solve, auto": lambda: [solve(m) for m in (taxi, dense, krylov, lake, labelled())],
        "evaluate, dense": lambda: [evaluate(dense, matrix(dense)), occupancy(dense, matrix(dense))],
        "evaluate, sparse direct": lambda: [evaluate(taxi, matrix(taxi)), occupancy(taxi, matrix(taxi))],
        "evaluate, Krylov": lambda: [evaluate(krylov, matrix(krylov)), occupancy(krylov, matrix(krylov))],
        "policy gradient": lambda: [policy_gradient(m, preferences(m)) for m in (lake, taxi, dense, krylov)],
        "natural policy gradient": lambda: natural_policy_gradient(lake, preferences(lake)),
        "EM step": lambda: em_step(lake, lake.uniform_policy()),
        "moments": lambda: [every_moment(m) for m in (lake, random_graph(100, 3))],
        "best baselines": lambda: best_baselines(lake, preferences(lake)),
        "gradient moments": lambda: gradient_moments(network(lake), lake),
        "exact gradient, table": lambda: exact_gradient(tabular(taxi), taxi),
        "exact gradient, network": lambda: exact_gradient(wide.double(), wide_lake),
        "large product": spread,
        "picture": picture,
    }


def llama() -> LanguageModelPolicy:
    """In float32, on the fast path, wide enough for threads."""
    return LanguageModelPolicy(small("llama", hidden_size=128, intermediate_size=256, num_attention_heads=4))


def ascent(m: FiniteMDP, *, natural: bool) -> ExactAscent:
    policy = tabular(m)
    return ExactAscent(policy, m, optimizer=plain_ascent(policy, 0.1), natural=natural)


def global_state() -> str:
    return digest([repr(random.getstate()), repr(np.random.get_state()), torch.get_rng_state()])  # noqa: NPY002


def main(threads: int, *, disturbed: bool) -> None:
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if disturbed:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        torch.manual_seed(7)
        torch.rand(1000)
    before = global_state()
    found = {name: digest(work()) for name, work in works().items()}
    print(json.dumps(found | {"global state": "as it was" if global_state() == before else "changed"}))


if __name__ == "__main__":
    main(int(sys.argv[1]), disturbed=len(sys.argv) > 2)
