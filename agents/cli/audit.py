"""`exactrl audit`: what the losses in use do to the gradient, exactly; or what yours does."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich import box
from rich.markup import escape
from rich.table import Table
from torch import Tensor

import envs
from agents.audits import catalogue as zoo
from agents.audits.catalogue import Case, Found
from agents.audits.plot import plot_audits
from agents.audits.result import Audit
from agents.cli.problems import Problem, load, starting_policy
from agents.cli.records import versions
from agents.cli.user import user_function, what
from agents.losses import Batch
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, longest_trajectory, unroll
from mdp.files.writing import replacing

DEFAULT, DEFAULT_GAMMA = "exactrl/Tokens-v0", 0.9
LIBRARIES = ("trl", "torchrl")
CAPTION = """The expected -grad loss beside the true gradient of what the loss claims:
cosine, scale along it, relative error; the trace of one batch's covariance;
the verdict, and that beside grad J where the claim is another. Verdicts belong
to this problem, policy and batch shape."""
COLORS = {"exact": "green", "consistent": "green", "scaled": "cyan", "biased": "red", "no power": "yellow"}


class Setting(NamedTuple):
    """One problem, its policies (another one that plays or demonstrates, and a reference), the shape of a batch."""

    title: str
    mdp: FiniteMDP
    policy: SoftmaxPolicy
    other: SoftmaxPolicy
    reference: SoftmaxPolicy
    group_size: int
    groups: int
    samples: int | None
    seed: int


def setting(
    env: str | None, gamma: float | None, horizon: int | None, group_size: int, groups: int, samples: int | None,
    seed: int, library: str | None,
) -> Setting:  # fmt: skip
    """ENV with three tables drawn from N(0, 1/2^2); for another library's losses by default a small language model."""
    small = env is None and library is not None
    if small:
        problem = small_text(1.0 if gamma is None else gamma)
    else:
        problem = load(env or DEFAULT, DEFAULT_GAMMA if env is None and gamma is None else gamma)
    mdp = problem.mdp if horizon is None else unroll(problem.mdp, horizon)
    policies = _small_language_models(library) if library is not None and small else _tables(mdp, seed)
    return Setting(
        _title(problem.name, mdp, horizon, group_size, groups, samples), mdp, policies[0], policies[1], policies[2],
        group_size, groups, samples, seed,
    )  # fmt: skip


def _title(name: str, mdp: FiniteMDP, horizon: int | None, group_size: int, groups: int, samples: int | None) -> str:
    limit = "" if horizon is None else f", {horizon} steps at most"
    drawn = "" if samples is None else f"; {samples:,} of them drawn"
    batch = f"{groups} group{'s' * (groups > 1)} of {group_size}"
    return f"{name.removesuffix('-v0')}, gamma {mdp.gamma:g}{limit}; a batch is {batch}{drawn}"


def _tables(mdp: FiniteMDP, seed: int) -> list[SoftmaxPolicy]:
    generator = torch.Generator().manual_seed(seed)
    return [starting_policy(mdp, generator) for _ in range(3)]


def _small_language_models(library: str) -> list[SoftmaxPolicy]:
    """A one-layer Llama with three tokens, and two others of its kind."""
    small = _library("instance", library)
    return [small.tiny_llama(seed) for seed in (0, 2, 1)]


def small_text(gamma: float) -> Problem:
    """One prompt, at most three tokens; R = (number of 1s) / 2 + 1 if the last one is 2, less 0.2 for each token."""

    def reward(prompt: envs.token.Tokens, completion: envs.token.Tokens) -> float:
        del prompt
        return completion.count(1) / 2 + (completion[-1] == 2) - 0.2 * len(completion)

    return Problem("SmallLlama", envs.TokenMDP(3, 3, reward, prompts=[(0,)], eos=2, gamma=gamma).finite())


def cases(at: Setting, loss: str | None, library: str | None) -> list[Case]:
    """The user's own loss, another library's, or every named one."""
    if loss is not None and library is not None:
        raise ValueError("--loss and --library are two questions: ask one")
    if loss is not None:
        return [Case(loss, user_loss(loss), reference=at.reference)]
    length = _longest(at)
    if library is not None:
        theirs: list[Case] = _library(library, library).cases(length, at.reference)
        return theirs
    return zoo.catalogue(at.policy, at.mdp, other=at.other, reference=at.reference, length=length)


def _longest(at: Setting) -> int:
    """Steps of the longest episode; 100 where there is none, since episodes may return to a state."""
    pi = at.policy.matrix(at.mdp).detach().cpu().numpy()
    try:
        return longest_trajectory(at.mdp, pi)
    except ValueError:
        return 100


def user_loss(spec: str) -> Callable[..., Tensor]:
    """The user's loss, whose errors are ValueErrors that name it. Raises ValueError where there is none."""
    loss = user_function("--loss", spec)

    def watched(batch: Batch) -> Tensor:
        try:
            value: Tensor = loss(batch)
            return value
        except (ValueError, TypeError):
            raise
        except Exception as error:
            raise ValueError(f"--loss {spec} raised {what(error)}") from error

    return watched


def _library(module: str, library: str) -> Any:
    if library not in LIBRARIES:
        raise ValueError(f"--library takes {' or '.join(LIBRARIES)}, not {library!r}")
    try:
        return importlib.import_module(f"agents.libraries.{module}")
    except ImportError as error:
        raise ValueError(f"--library {library} needs the extras lm and bench of exactrl: {error}") from None


class Results(NamedTuple):
    """What was found, which losses refused the problem and why, and whether ctrl-C came before the end."""

    found: list[Found]
    refused: list[tuple[str, str]]
    interrupted: bool = False


def run(at: Setting, every: list[Case]) -> Results:
    """Audit each. Raises ValueError where not one could be audited."""
    results = Results([], [])
    try:
        for case in every:
            try:
                results.found.append(_audited(at, case))
            except ValueError as error:
                results.refused.append((case.name, str(error)))
    except KeyboardInterrupt:
        return results._replace(interrupted=True)
    if not results.found:
        raise ValueError(results.refused[0][1])
    return results


def _audited(at: Setting, case: Case) -> Found:
    found = zoo.audited(
        case, at.policy, at.mdp, group_size=at.group_size, groups=at.groups, samples=at.samples, seed=at.seed
    )
    _ = found.claimed.covariance_trace  # computed here, where it may still be refused or interrupted
    return found


def refusals(results: Results) -> str:
    """A line for each reason."""
    reasons = dict.fromkeys(why for _, why in results.refused)
    return "\n".join(
        f"not audited: {', '.join(name for name, reason in results.refused if reason == why)}: {why}" for why in reasons
    )


def table(at: Setting, found: list[Found]) -> Table:
    """One row a loss, below the objective that it claims to climb."""
    out = Table(title=at.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("loss", "cosine", "scale", "off by", "trace", "verdict", "of J"):
        out.add_column(column, justify="left" if column in ("loss", "verdict", "of J") else "right", no_wrap=True)
    for claims in dict.fromkeys(case.claims for case, _, _ in found):
        out.add_row(f"[bold]claims {claims}")
        for case, claimed, of_J in (one for one in found if one.case.claims == claims):
            out.add_row(
                f"  {escape(case.name)}", f"{claimed.cosine:.4f}", _short(claimed.scale),
                f"{claimed.relative_error:.0e}", _short(claimed.covariance_trace, 2), _colored(claimed),
                "" if case.objective is None else _colored(of_J),
            )  # fmt: skip
        out.add_section()
    return out


def _short(x: float, digits: int = 4) -> str:
    text = f"{x:.{digits}g}"
    return text if len(text.lstrip("-")) <= digits + 3 else f"{x:.0e}"


def _colored(found: Audit) -> str:
    return f"[{COLORS[found.verdict]}]{found.verdict}"


def write(at: Setting, results: Results, folder: Path, library: str | None) -> list[Path]:
    """The bar chart and the JSON file, in `folder`."""
    picture, numbers = folder / "exactrl-audit.png", folder / "exactrl-audit.json"
    plot_audits([(case.name, claimed) for case, claimed, _ in results.found], picture, at.title)
    rows = [
        {"name": case.name, "claims": case.claims, **claimed.as_dict(), "verdict_of_J": of_J.verdict,
         "cosine_of_J": of_J.cosine if math.isfinite(of_J.cosine) else None}
        for case, claimed, of_J in results.found
    ]  # fmt: skip
    of = versions(*(() if library is None else (library,)))
    content = {"title": at.title, "seed": at.seed, "versions": of, "interrupted": results.interrupted, "audits": rows}
    with replacing(numbers) as new:
        new.write_text(json.dumps(content, indent=1, allow_nan=False))
    return [picture, numbers]
