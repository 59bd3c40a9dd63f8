"""TRL's own RLOOTrainer or GRPOTrainer, on one CPU, one line of JSON per optimisation step. Needs trl>=1.16.

    python tests/benchmarks/trl_worker.py MODEL --trainer rloo --beta 0.05 --steps 8

The setting is the one that costs TRL least: no gradient checkpointing (its default is to), no clipping of the gradient
(its default is 1.0), no logs, no files. All completions have the same length: generation is given an end-of-sequence
that no token is, and TRL's own mask looks for the same one. The clock of a step runs from Trainer's on_step_begin to
its on_step_end: generation, scoring, loss, gradient, optimizer. With --take-turns each step waits for a line on stdin.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found, unused-ignore]
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

TRAINERS = {"rloo": (RLOOTrainer, RLOOConfig), "grpo": (GRPOTrainer, GRPOConfig)}
VERSIONS = ("trl", "transformers", "accelerate", "torch")
TEXTS = ["The year is", "She counted to", "The price is", "My number is"]


def digits(text: str) -> float:
    """The share of a text's characters that are digits."""
    return sum(letter in "0123456789" for letter in text) / max(len(text), 1)


def say(**record: Any) -> None:
    print(json.dumps(record), flush=True)


class Meter(TrainerCallback):
    """Clocks the steps and their parts, and says each step when it ends."""

    def __init__(self, take_turns: bool) -> None:
        self.take_turns = take_turns
        self.parts: defaultdict[str, float] = defaultdict(float)
        self.batch: dict[str, Any] = {}

    def reward(self, prompts: list[str], completions: list[str], completion_ids: Any, **_: Any) -> list[float]:
        """TRL's reward function; it also notes what the batch was."""
        rewards = [digits(text) for text in completions]
        lengths = sorted({len(ids) for ids in completion_ids})
        counts = {"prompts": len(set(prompts)), "completions": len(completions), "lengths": lengths}
        self.batch = {"reward": sum(rewards) / len(rewards), **counts}
        return rewards

    def clocked(self, call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        """The same call, its CPU seconds added to the part that `name` makes of its arguments."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = call(*args, **kwargs)
            self.parts[name(*args)] += time.process_time() - start
            return result

        return wrapped

    def watch(self, trainer: Any) -> None:
        """Put clocks around the trainer's own methods."""

        def scored(model: Any, *_: Any) -> str:
            if torch.is_grad_enabled():
                return "forward"
            return "reference" if model is trainer.ref_model else "old"

        score = "_get_per_token_logps_and_entropies"
        trainer._generate = self.clocked(trainer._generate, lambda *_: "generation")
        setattr(trainer, score, self.clocked(getattr(trainer, score), scored))
        trainer.accelerator.backward = self.clocked(trainer.accelerator.backward, lambda *_: "backward")

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if self.take_turns and not sys.stdin.readline():
            raise EOFError("stdin ended before the last step")
        self.parts.clear()
        self.start = time.process_time(), time.perf_counter()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.parts["optimizer"] = -time.process_time()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.parts["optimizer"] += time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        cpu, wall = time.process_time() - self.start[0], time.perf_counter() - self.start[1]
        say(step=state.global_step, cpu=cpu, wall=wall, **self.batch, parts=dict(self.parts))


def trainer_of(at: argparse.Namespace, meter: Meter, folder: str) -> Any:
    """TRL's trainer on the model of the folder, every step a new batch of prompts x group completions."""
    trainer, config = TRAINERS[at.trainer]
    off = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True}
    cpu = {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False, "gradient_checkpointing": at.checkpointing}
    batch = {"per_device_train_batch_size": at.prompts * at.group, "gradient_accumulation_steps": 1}
    group = {"num_generations": at.group, "max_completion_length": at.tokens, "shuffle_dataset": False}
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    climb = {"learning_rate": at.lr, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    settings = {**off, **cpu, **batch, **group, **sampling, **climb, "optim": "adamw_torch_fused"}
    args = config(folder, max_steps=at.steps, beta=at.beta, seed=at.seed, **settings)
    texts = at.texts[: at.prompts] * at.steps  # in one epoch: each step takes the next `prompts` of them
    made = trainer(at.model, meter.reward, args, Dataset.from_dict({"prompt": texts}), callbacks=[meter])
    made.remove_callback(PrinterCallback)
    return made


def never_end(trainer: Any) -> None:
    """No token ends a completion: the end that generation and TRL look for is the id after the last one."""
    trainer.eos_token_ids = [trainer.model.config.vocab_size]
    trainer.generation_config.eos_token_id = trainer.generation_kwargs["eos_token_id"] = trainer.eos_token_ids


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder of transformers")
    parser.add_argument("--trainer", choices=TRAINERS, default="rloo")
    parser.add_argument("--beta", type=float, default=0.05)
    for name, default in {"steps": 8, "prompts": 4, "group": 8, "tokens": 32, "threads": 1, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--texts", type=json.loads, default=TEXTS, help="the prompts: a list in JSON")
    parser.add_argument("--checkpointing", action="store_true", help="TRL's default: less memory, more time")
    parser.add_argument("--take-turns", action="store_true", help="say ready, then wait for a line before each step")
    at = parser.parse_args()
    if len(at.texts) < at.prompts:
        parser.error(f"{len(at.texts)} texts are too few for {at.prompts} prompts")
    return at


def main() -> None:
    at = arguments()
    torch.set_num_threads(at.threads)
    meter = Meter(at.take_turns)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(at, meter, folder)
        never_end(trainer)
        meter.watch(trainer)
        if at.take_turns:
            say(ready=True)
        trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say(peak_rss=peak, versions={name: importlib.metadata.version(name) for name in VERSIONS})


if __name__ == "__main__":
    main()
