"""`exactrl verify --model PATH`: grad J of a real language model, exact, and what samples of it are worth.

    one step      J = sum over prompts P(x) sum over all tokens a of pi(a|x) r(x, a)
    top-4 tree    four tokens, each among the four likeliest: 256 completions, all listed. Not by finite differences: J
                  has a kink wherever the fourth token and the fifth change places

The reward is the share of digits in what is written. Everything is float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agents.checks.errors import largest_z
from agents.checks.pgcheck import FALSE_ALARM, TOLERANCE
from agents.checks.projected import (
    Directions,
    Exact,
    cosine,
    differences,
    exact_routes,
    leave_one_out_variance,
    reinforce_variance,
    scored_by,
)
from agents.checks.routes import gradient_of
from agents.cli.language.plot import draw_checks
from agents.cli.language.tasks import DIGITS, encoded
from agents.cli.records import versions
from agents.language import LanguageModelPolicy, load_model, load_tokenizer
from agents.learning import rollout
from agents.losses import ReinforceLoss, named
from envs import TokenMDP
from envs.rewards import digit_fraction, on_text
from mdp import Episodes, FiniteMDP
from mdp.files.writing import replacing

EPISODES, GROUP, FEW = 65_536, 16, 64
TOP, STEPS, WRITTEN = 4, 4, 256
RANDOM = 2  # directions beside grad J
SAME = 1e-10  # of log-probabilities in float64


@dataclass(frozen=True)
class Row:
    """value, how far it is off (relative, or in standard errors), the limit of that (None: nothing to hold)."""

    what: str
    value: str
    off: float | None = None
    limit: float | None = None
    unit: str = ""

    @property
    def passed(self) -> bool:
        return self.limit is None or self.off is None or self.off <= self.limit


@dataclass(frozen=True)
class Part:
    """One problem: its name, its size, the rows, and z (K,) of each sampled estimate."""

    name: str
    rows: list[Row]
    z: dict[str, list[float]]

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)


def run(path: Path, seed: int, console: Console) -> Iterator[Part]:
    """Both parts, one after the other; each says on the console what it is at."""
    tokenizer, model = load_tokenizer(path), load_model(path, dtype=torch.float64)
    policy, narrow = LanguageModelPolicy(model, tokenizer), LanguageModelPolicy(model, tokenizer, top_k=TOP)
    prompts = [encoded(tokenizer, x) for x in DIGITS]
    reward = on_text(digit_fraction, lambda ids: tokenizer.decode(ids, skip_special_tokens=True))
    V = model.get_input_embeddings().weight.shape[0]
    with console.status("") as status:
        yield one_step(policy, TokenMDP(V, 1, reward, prompts=prompts), seed, status.update)
        yield listed(policy, narrow, TokenMDP(V, STEPS, reward, prompts=prompts[2:3]), seed, status.update)


def one_step(policy: LanguageModelPolicy, problem: TokenMDP, seed: int, say: Callable[[str], Any]) -> Part:
    """All tokens summed; REINFORCE and leave-one-out on samples."""
    mdp = problem.finite()
    say("one step: grad J by three routes")
    exact = exact_routes(policy, mdp)
    rows = exact_rows(exact)
    rows.append(Row("finite differences", "", differences(policy, mdp, exact.gradient), TOLERANCE))
    say("one step: derivatives along grad J and random directions")
    along = Directions.of(policy, mdp, exact.gradient, RANDOM, seed)
    pi = matrix(policy, mdp)
    limit = largest_z(3 * len(along.truth), FALSE_ALARM)
    z = {}
    losses: dict[str, tuple[Any, int, NDArray[np.float64]]] = {
        "REINFORCE": (ReinforceLoss(), 1, reinforce_variance(mdp, pi, along.U)),
        "RLOO": (named.rloo(), GROUP, GROUP * leave_one_out_variance(mdp, pi, along.U, GROUP)),
    }
    for k, (name, (loss, group, variance)) in enumerate(losses.items()):
        say(f"one step: {EPISODES:,} samples, {name}")
        estimate = gradient(policy, loss, sample(policy, mdp, EPISODES, group, seed + k))
        z[f"one step, {name}"] = along.of_estimate(estimate), np.sqrt(variance / EPISODES)
        rows.append(sampled_row(name, EPISODES, along, *z[f"one step, {name}"], limit))
        few = gradient(policy, loss, sample(policy, mdp, FEW, group, seed + k))
        length = float(few.norm() / exact.gradient.norm())
        far = f"cosine {cosine(few, exact.gradient):.3f}, length {length:.3g}"
        rows.append(Row(f"{FEW} samples, beside grad J", far))
    n, tokens = len(problem.prompts), len(problem.vocabulary)
    return Part(f"one step, all {tokens:,} tokens after {n} prompts", rows, scores(z, along))


def listed(
    policy: LanguageModelPolicy, narrow: LanguageModelPolicy, problem: TokenMDP, seed: int, say: Callable[[str], Any]
) -> Part:
    """The tree of what the top-k policy may write; and its samples scored by the whole softmax."""
    say("top-4 tree: listing")
    mdp = problem.finite(tokens=drawn_by(narrow, problem))
    exact = exact_routes(narrow, mdp)
    say("top-4 tree: derivatives along grad J and random directions")
    along = Directions.of(narrow, mdp, exact.gradient, RANDOM, seed)
    variance = reinforce_variance(mdp, matrix(narrow, mdp), along.U)
    say(f"top-4 tree: {EPISODES:,} samples")
    estimate = gradient(narrow, ReinforceLoss(), sample(narrow, mdp, EPISODES, 1, seed))
    found = along.of_estimate(estimate), np.sqrt(variance / EPISODES)
    row = sampled_row("REINFORCE", EPISODES, along, *found, largest_z(3 * len(along.truth), FALSE_ALARM))
    say(f"top-4 tree: {WRITTEN} texts with the cache")
    cache = written_row(narrow, problem, seed)
    say("top-4 tree: scored by the whole softmax")
    wrong = scored_by(policy, narrow, mdp)
    scale = float(wrong @ exact.gradient / exact.gradient.square().sum())
    off = float((wrong - exact.gradient).norm() / exact.gradient.norm())
    far = f"cosine {cosine(wrong, exact.gradient):.4f}, scale {scale:.4f}"
    name = f"top-{TOP} tree, {STEPS} tokens, {TOP**STEPS} completions"
    rows = [*exact_rows(exact), row, cache, Row("scored by whole softmax", far, off)]
    return Part(name, rows, scores({"top-4 tree, REINFORCE": found}, along))


def drawn_by(policy: LanguageModelPolicy, problem: TokenMDP) -> Callable[[NDArray[np.int64]], list[int]]:
    """The tokens that a policy may draw after each text, for `TokenMDP.finite`: all texts of one length at once."""
    tokens: dict[bytes, list[int]] = {}
    level: list[tuple[tuple[int, ...], tuple[int, ...]]] = [(prompt, ()) for prompt in problem.prompts]
    while level:
        seen = np.stack([problem.observation(*state) for state in level])
        with torch.no_grad():
            may = policy(seen) > -torch.inf
        tokens |= {text.tobytes(): row.nonzero()[:, 0].tolist() for text, row in zip(seen, may, strict=True)}
        longer = [(p, (*c, a)) for (p, c), text in zip(level, seen, strict=True) for a in tokens[text.tobytes()]]
        level = [(p, c) for p, c in longer if not problem.ends(c)]
    return lambda observation: tokens[observation.tobytes()]


def matrix(policy: LanguageModelPolicy, mdp: FiniteMDP) -> NDArray[np.float64]:
    """pi (S, A), as numbers."""
    with torch.no_grad():
        return policy.matrix(mdp).cpu().numpy()


def sample(policy: LanguageModelPolicy, mdp: FiniteMDP, n: int, group_size: int, seed: int) -> Episodes:
    """n completions, drawn from the table."""
    return rollout(policy, mdp, n, group_size=group_size, generator=torch.Generator().manual_seed(seed))


def written_row(policy: LanguageModelPolicy, problem: TokenMDP, seed: int) -> Row:
    """What is sampled token by token with the key-value cache is what one forward pass scores."""
    generator = torch.Generator().manual_seed(seed)
    played = rollout(policy, problem.vector_env(WRITTEN), WRITTEN, generator=generator)
    scorer = LanguageModelPolicy(policy.model, top_k=policy.top_k, fast=False)
    assert played.behaviour_log_probs is not None
    with torch.no_grad():
        off = float(np.abs(played.behaviour_log_probs - scorer.log_prob(played).cpu().numpy()).max())
    return Row(f"{WRITTEN} texts, log pi", "sampled, and scored", off, SAME)


def gradient(policy: LanguageModelPolicy, loss: Any, episodes: Episodes) -> Tensor:
    """The estimate of grad J, (d,)."""
    return torch.as_tensor(gradient_of(policy, loss, episodes))


def exact_rows(exact: Exact) -> list[Row]:
    """J, and |grad J| by each route."""
    norm = float(exact.gradient.norm())
    return [
        Row("J", f"{exact.objective:.10g}"),
        Row("|grad J|, theorem", f"{norm:.10g}"),
        Row("autograd through J", "", exact.autograd, TOLERANCE),
    ]


def sampled_row(
    name: str, n: int, along: Directions, found: NDArray[np.float64], error: NDArray[np.float64], limit: float
) -> Row:
    """The estimate along grad J; the largest |z| of all directions, in standard errors."""
    off = float(np.abs((found - along.truth) / error).max())
    return Row(f"{name}, {n:,} samples", f"{found[0]:.4g} ± {error[0]:.2g}", off, limit, " SE")


def scores(
    found: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], along: Directions
) -> dict[str, list[float]]:
    """z of each estimate along each direction."""
    return {name: ((x - along.truth) / error).tolist() for name, (x, error) in found.items()}


def table(part: Part) -> Table:
    """Every row of one part."""
    out = Table(title=part.name, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("", "value", "off by", "limit", " "):
        justify: Any = "right" if column in ("off by", "limit", " ") else "left"
        out.add_column(column, justify=justify, no_wrap=True)
    for row in part.rows:
        off = "" if row.off is None else f"{row.off:.1f} SE" if row.unit else f"{row.off:.1e}"
        limit = "" if row.limit is None else f"{row.limit:.1f} SE" if row.unit else f"{row.limit:.0e}"
        judged = "" if row.limit is None else "ok" if row.passed else "[bold red]FAIL"
        out.add_row(row.what, row.value, off, limit, judged)
    return out


CAPTION = """Samples are judged along grad J and two random directions; the value is their
component along grad J. A false alarm has probability 1e-4."""


def write(parts: list[Part], title: str, folder: Path, seed: int, *, interrupted: bool) -> list[Path]:
    """The picture and the JSON file."""
    picture, numbers = folder / "exactrl-verify-model.png", folder / "exactrl-verify-model.json"
    draw_checks(parts, title, picture)
    content = {
        "model": title, "passed": all(part.passed for part in parts) and not interrupted,
        "interrupted": interrupted, "seed": seed,
        "versions": versions("transformers"), "parts": [asdict(part) for part in parts],
    }  # fmt: skip
    with replacing(numbers) as new:
        new.write_text(json.dumps(content, indent=1, allow_nan=False))
    return [picture, numbers]
