"""REINFORCE by `train` beside a loop in the manner of CleanRL: one environment, one episode at a time, torch.

    python tests/benchmarks/reinforce_beside_cleanrl.py

Both make the same updates: as many episodes in each, the same loss with gamma^t, baseline, entropy bonus and optimiser,

    loss = -(1/N) sum over episodes, sum over t of gamma^t [(G_t - b(S_t)) log pi(A_t|S_t) + c H(pi(.|S_t))]

and both end episodes where gamma^t makes the rest less than rounding. The loop plays Gymnasium's environment; `train`
plays the table of it, all episodes of an update at once. Where the loop would take too long it makes every k-th update
only, from the parameters that `train` had there, and its time is that for each step times the steps of `train`. It is
spared the checks of torch.distributions, which CleanRL leaves on. `train` runs before the loop and
after it, and the slower one counts; its time includes the exact J after every update. One thread. Writes
reinforce_beside_cleanrl.md next to this file.
"""

from __future__ import annotations

import importlib.metadata
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from agents import Batch, LearnedValues, Reinforce, ReinforceLoss, train
from agents.cli.problems import load, starting_policy
from agents.losses import negligible_after
from agents.losses.aggregation import episode_sum
from agents.losses.returns import discounts
from mdp import FiniteMDP, evaluate, solve
from mdp.model.table import Floats

SEEDS = range(4)  # of `train`; the loop has the first


class Case(NamedTuple):
    """A problem and its settings; the loop makes every `every`-th update."""

    id: str
    gamma: float
    updates: int
    episodes: int
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    entropy: float = 0.0
    every: int = 1

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(module.parameters(), lr=self.lr, betas=self.betas, weight_decay=0.0)


CASES = (
    Case("exactrl/ShortCorridor-v0", 1.0, updates=20, episodes=1000, lr=0.05),
    Case("FrozenLake-v1", 0.99, updates=30, episodes=500, lr=0.3, betas=(0.9, 0.99)),
    Case("CliffWalking-v1", 0.99, updates=500, episodes=500, lr=0.1, betas=(0.9, 0.9), entropy=0.35, every=50),
)


# ---- ours ----


@dataclass
class WithEntropy:
    """REINFORCE with a bonus of c gamma^t H(pi(.|S_t)) a step."""

    reinforce: ReinforceLoss
    c: float

    def __call__(self, batch: Batch) -> Tensor:
        bonus = episode_sum(discounts(batch.rewards, batch.gamma) * batch.entropies, batch) if self.c else 0.0
        return self.reinforce(batch) - self.c * bonus

    @property
    def baseline(self) -> Any:
        return self.reinforce.baseline


class Run(NamedTuple):
    """Seconds, all steps, J at the end, and theta before each update."""

    seconds: float
    steps: float
    J: float
    thetas: list[Tensor]


def ours(case: Case, mdp: FiniteMDP, seed: int = SEEDS[0]) -> Run:
    policy = starting_policy(mdp)
    theta = next(policy.parameters())
    thetas = [theta.detach().clone()]
    loss = WithEntropy(ReinforceLoss(baseline=LearnedValues(mdp.n_states)), case.entropy)
    agent = Reinforce(policy, loss=loss, optimizer=case.optimizer(policy))
    began = time.perf_counter()
    history = train(
        agent, mdp, updates=case.updates, episodes=case.episodes, max_steps=negligible_after(case.gamma),
        generator=torch.Generator().manual_seed(seed), progress=lambda _: thetas.append(theta.detach().clone()),
    )  # fmt: skip
    seconds = time.perf_counter() - began
    steps = float(np.nansum(history.column("mean_length")) * case.episodes)
    return Run(seconds, steps, float(history.column("J")[-1]), thetas)


# ---- the loop ----


class Looped:
    """A table of preferences, a learned baseline, and one environment."""

    def __init__(self, case: Case, theta: Tensor, n_states: int) -> None:
        limit = negligible_after(case.gamma)
        self.case, self.env = case, gymnasium.make(case.id, max_episode_steps=limit or -1, disable_env_checker=True)
        self.policy = nn.Embedding(len(theta), theta.shape[1], _weight=theta.float())
        self.optimizer = case.optimizer(self.policy)
        self.b, self.steps = np.zeros(n_states), 0

    def episode(self) -> tuple[list[int], list[float]]:
        """One episode, its gradient added; (states, G_t)."""
        observation, info = self.env.reset()
        states, log_probs, entropies, rewards, over = [], [], [], [], False
        while not over:
            states.append(int(info.get("state", observation)))
            logits = self.policy(torch.as_tensor(observation))
            now: Any = Categorical(logits=logits, validate_args=False)
            action = now.sample()
            log_probs.append(now.log_prob(action))
            if self.case.entropy:
                entropies.append(now.entropy())
            observation, reward, terminated, truncated, info = self.env.step(action.item())
            rewards.append(float(reward))
            over = terminated or truncated
        returns, G = [0.0] * len(rewards), 0.0
        for t in reversed(range(len(rewards))):
            G = rewards[t] + self.case.gamma * G
            returns[t] = G
        discount = self.case.gamma ** torch.arange(len(rewards))
        loss = -(discount * torch.tensor(np.array(returns) - self.b[states]) * torch.stack(log_probs)).sum()
        if self.case.entropy:
            loss = loss - self.case.entropy * (discount * torch.stack(entropies)).sum()
        (loss / self.case.episodes).backward()  # type: ignore[no-untyped-call]
        self.steps += len(rewards)
        return states, returns

    def update(self) -> None:
        """One update from as many episodes, then the baseline's."""
        self.optimizer.zero_grad()
        played = [self.episode() for _ in range(self.case.episodes)]
        self.optimizer.step()
        states, returns = (np.concatenate([episode[k] for episode in played]) for k in (0, 1))
        count = np.bincount(states, minlength=len(self.b))
        mean = np.bincount(states, weights=returns, minlength=len(self.b)) / np.maximum(count, 1)
        self.b += np.where(count > 0, 0.1 * (mean - self.b), 0.0)


def theirs(case: Case, mdp: FiniteMDP, thetas: list[Tensor]) -> Run:
    loop = Looped(case, thetas[0], mdp.n_states)
    loop.env.reset(seed=SEEDS[0])
    torch.manual_seed(SEEDS[0])
    began = time.perf_counter()
    for k in range(case.every // 2, case.updates, case.every):
        if case.every > 1:
            loop.policy.weight.data.copy_(thetas[k])
        loop.update()
    seconds = time.perf_counter() - began
    return Run(seconds, loop.steps, objective(mdp, loop.policy.weight.detach()), [])


def objective(mdp: FiniteMDP, theta: Tensor) -> float:
    """J, exact."""
    policy = starting_policy(mdp)
    next(policy.parameters()).data.copy_(theta)
    pi: Floats = policy.matrix(mdp).detach().numpy()
    return evaluate(mdp, pi).objective


# ---- the page ----


def row(case: Case) -> str:
    mdp = load(case.id, case.gamma).mdp
    best = -(6 + 4 * 2**0.5) if "Corridor" in case.id else float(mdp.start @ solve(mdp).v)
    first = ours(case, mdp)
    loop = theirs(case, mdp, first.thetas)
    again = [ours(case, mdp, seed) for seed in SEEDS]
    seconds, least = max(first.seconds, again[0].seconds), min(run.J for run in again)
    whole = loop.seconds * (1 if case.every == 1 else first.steps / loop.steps)
    part = "all" if case.every == 1 else f"1 in {case.every}"
    settings = f"AdamW {case.lr:g}, betas {case.betas[0]:g} {case.betas[1]:g}, c {case.entropy:g}"
    theirs_gap = f"{(best - loop.J) / abs(best):.2%}" if case.every == 1 else "-"
    return (
        f"| {case.id} | {case.gamma:g} | {settings} | {case.updates} x {case.episodes:,} | "
        f"{objective(mdp, first.thetas[0]):.5g} | {first.J:.5g} | {best:.5g} | {(best - first.J) / abs(best):.2%} | "
        f"{(best - least) / abs(best):.2%} | "
        f"{theirs_gap} | {first.steps:,.0f} | {loop.steps:,.0f} | {seconds:.2f} | {whole:.0f} | {part} | "
        f"{whole / seconds:.0f} |"
    )


def without_bonus(case: Case) -> str:
    mdp = load(case.id, case.gamma).mdp
    plain = ours(case._replace(entropy=0.0), mdp)
    return f"Without the bonus c H, {case.id} by the same settings ends at J = {plain.J:.5g}, on a longer way."


def main() -> None:
    torch.set_num_threads(1)
    names = ("exactrl", "torch", "gymnasium", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    lines = [
        "# REINFORCE beside a loop in the manner of CleanRL",
        "",
        "`python tests/benchmarks/reinforce_beside_cleanrl.py`, whose docstring says what is done; wall time on one "
        f"thread of a shared machine. {versions}. J is exact, J* that of the policy class, the gap (J* - J) / |J*|. "
        "Where the loop made 1 update in k, its seconds are an estimate: those of a step, times the steps of `train`.",
        "",
        "| problem | gamma | settings | updates x episodes | J at the start | J reached | J* | gap | "
        "largest gap of 4 seeds | gap of the loop | steps | steps of the loop | seconds | seconds of the loop | "
        "updates that it made | ratio |",
        "|" + "---|" * 16,
        *map(row, CASES),
        "",
        *(without_bonus(case) for case in CASES if case.entropy),
    ]
    page = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
