"""The counterpart of trl_worker.py: `Reinforce` on the same model, prompts and sizes, one line of JSON for each step.

    python tests/benchmarks/exactrl_worker.py MODEL --loss rloo --beta 0.05 --steps 8 [--general]

A step is what `exactrl train --model` does in one update: rollout, scoring (of the reference too, where beta > 0), the
gradient, AdamW. Completions never end early: the problem has no token that ends one.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from agents import LanguageModelPolicy, Reinforce, load_model, load_tokenizer, rollout
from agents.cli.language.losses import loss_of
from agents.learning.checkpoints import generator_of
from envs import TokenMDP
from envs.rewards import digit_fraction, on_text

VERSIONS = ("exactrl", "transformers", "torch")


def say(**record: Any) -> None:
    print(json.dumps(record), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a folder of transformers")
    parser.add_argument("--loss", default="rloo")
    parser.add_argument("--beta", type=float, default=0.05)
    for name, default in {"steps": 8, "group": 8, "tokens": 32, "threads": 1, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--texts", type=json.loads, required=True, help="the prompts: a list in JSON")
    parser.add_argument("--general", action="store_true", help="transformers' own forward, as for any architecture")
    parser.add_argument("--take-turns", action="store_true", help="say ready, then wait for a line before each step")
    return parser.parse_args()


def agent_of(at: argparse.Namespace) -> tuple[Reinforce, Any]:
    """The agent, and the environment whose copies are one step's completions."""
    tokenizer, model = load_tokenizer(at.model), load_model(at.model)
    frozen = copy.deepcopy(model).requires_grad_(False)
    reference = LanguageModelPolicy(frozen, fast=not at.general) if at.beta else None
    policy = LanguageModelPolicy(model, tokenizer, fast=not at.general)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=at.lr, weight_decay=0.0, fused=True)
    prompts = [tuple(tokenizer(text).input_ids) for text in at.texts]
    reward = on_text(digit_fraction, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
    problem = TokenMDP(model.config.vocab_size, at.tokens, reward, prompts=prompts)
    agent = Reinforce(policy, loss=loss_of(at.loss, at.tokens, at.beta), optimizer=optimizer, reference=reference)
    return agent, problem.vector_env(len(prompts) * at.group)


def main() -> None:
    at = arguments()
    torch.set_num_threads(at.threads)
    agent, envs = agent_of(at)
    if at.take_turns:
        say(ready=True)
    for k in range(1, at.steps + 1):
        if at.take_turns and not sys.stdin.readline():
            raise EOFError("stdin ended before the last step")
        cpu, wall = time.process_time(), time.perf_counter()
        played = rollout(agent.policy, envs, envs.num_envs, group_size=at.group, generator=generator_of(at.seed, k))
        sampled = time.process_time() - cpu
        metrics = agent.update(played)
        parts = {"generation": sampled} | {x: metrics[f"{x}_s"] for x in ("scoring", "backward", "optimizer")}
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        batch = {"reward": float(played.rewards.sum(1).mean()), "completions": len(played)}
        say(step=k, cpu=cpu, wall=wall, **batch, lengths=sorted(set(played.lengths.tolist())), parts=parts)
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    say(peak_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, versions=versions)


if __name__ == "__main__":
    main()
