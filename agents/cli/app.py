"""The commands."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from agents.cli import audit as auditing
from agents.cli import selftest as selftesting
from agents.cli import show as showing
from agents.cli import solve as solving
from agents.cli import train as training
from agents.cli import variance as varying
from agents.cli import verify as verifying
from agents.cli import zoo
from agents.cli.course import commands as course
from agents.cli.ending import INTERRUPTED, end
from agents.cli.faults import until_interrupted, writing_to
from agents.cli.language import commands, options
from agents.cli.language.train import Settings
from agents.cli.manifest import Manifest, begun
from agents.cli.options import ENV, MOST, Gamma, Out, Seed
from agents.cli.problems import load, starting_policy
from agents.cli.records import wrote

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
console = Console()
TABULAR = ("gamma", "episodes", "optimizer", "baseline", "gradient")
LINGUISTIC = ("task", "reward", "loss", "beta", "groups", "group_size", "max_tokens", "temperature", "top_k", "top_p",
              "pieces", "sharded")  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"exactrl {importlib.metadata.version('exactrl')}")
        raise typer.Exit


@app.callback()
def exactrl(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Of exactrl.")] = False,
) -> None:
    """Every policy gradient is checked against its exact value."""
    torch.set_num_threads(1)  # the tensors are small: threads that wait for one another cost more than they bring


@app.command()
def verify(
    env: Annotated[list[str] | None, typer.Argument(help=f"{ENV} By default five, from the corridor to text.")] = None,
    gamma: Gamma = None,
    episodes: Annotated[
        int | None,
        typer.Option(max=MOST, help="Sampled; by default what SE / |grad J| = .05 takes, 2,000,000 at most."),
    ] = None,
    seed: Seed = 0,
    model: Annotated[
        Path | None, typer.Option(help="A language model, a folder of transformers, in place of ENV.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Check the checks: planted mistakes, and correct losses on 200 MDPs.")
    ] = False,
    out: Out = Path(),
) -> None:
    """Verify the policy gradient theorem: grad J by independent routes, exact and sampled. Exit code 1 if one fails."""
    other = bool(env) or gamma is not None or episodes is not None
    if self_test and (other or model is not None):
        raise ValueError("--self-test has its own random MDPs: it takes no ENV, --gamma, --episodes or --model")
    if model is not None and other:
        raise ValueError("--model has its own problems: they take no ENV, --gamma or --episodes")
    if model is not None:
        raise typer.Exit(_code(*commands.verify_model(model, seed, out, console)))
    if self_test:
        tested = selftesting.run(console)
        console.print(selftesting.table(tested))
        console.print(selftesting.summary(tested), highlight=False)
        raise typer.Exit(0 if tested.passed else 1)
    checks = [verifying.check(name, gamma, seed) for name in env] if env else verifying.default_checks(gamma, seed)
    manifest = begun(*(env or ()), seed=seed)
    reports, interrupted = until_interrupted(
        verifying.run(checks, episodes=episodes, seed=seed, console=console)
    )
    if reports:
        console.print(verifying.table(reports))
        console.print(verifying.CAPTION, highlight=False)
        _write(out, lambda: verifying.write(reports, out, seed, interrupted=interrupted), manifest,
               whole=not interrupted)
    raise typer.Exit(_code(interrupted, all(report.passed for report in reports)))


@app.command()
def solve(
    env: Annotated[str, typer.Argument(help=ENV)],
    gamma: Gamma = None,
    method: Annotated[str, typer.Option(help="See mdp.solve.")] = "auto",
    tolerance: Annotated[float, typer.Option(help="Wanted max-norm error of v*.")] = 1e-8,
    out: Out = Path(),
) -> None:
    """Exact v*, the optimal actions with ties, and a proven bound; a picture where ENV is a grid."""
    problem, manifest = load(env, gamma), begun(env)
    solution, interrupted = solving.run(problem, method=method, tolerance=tolerance, console=console)
    console.print(solving.summary(problem, solution, interrupted), highlight=False, markup=False, soft_wrap=True)
    console.print(solving.table(problem, solution))
    _write(out, lambda: solving.write(problem, solution, out), manifest, whole=not interrupted)
    raise typer.Exit(_code(interrupted, solution.converged))


@app.command()
def envs() -> None:
    """The environments of the zoo: their sizes, J of the uniform policy, J*, and where their answers are from."""
    rows, interrupted = until_interrupted(zoo.rows(console))
    if rows:
        console.print(zoo.table(rows))
        console.print(zoo.CAPTION, highlight=False)
    raise typer.Exit(_code(interrupted))


@app.command()
def show(
    env: Annotated[str, typer.Argument(help=ENV)],
    policy: Annotated[showing.Policy, typer.Option(help="Whose values are drawn.")] = showing.Policy.optimal,
    state: Annotated[
        str | None, typer.Option(help="A state, as it is labelled, whose backup diagram is drawn, too.")
    ] = None,
    gamma: Gamma = None,
    format: Annotated[showing.Format, typer.Option(help="Of the files.")] = showing.Format.png,
    out: Out = Path(),
) -> None:
    """A picture: v, q, occupancy and policy of a board, else the transition graph."""
    problem, manifest = load(env, gamma), begun(env)
    chosen = None if state is None else showing.state_of(problem.mdp, state)
    with console.status("solving"):
        view = showing.view(problem, policy)
    _write(out, lambda: showing.write(problem, view, chosen, format, out), manifest)


@app.command()
def audit(
    env: Annotated[
        str | None, typer.Argument(help=f"{ENV} By default {auditing.DEFAULT} at gamma {auditing.DEFAULT_GAMMA}.")
    ] = None,
    gamma: Gamma = None,
    horizon: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="A time limit as part of the MDP, so that its episodes can be listed."),
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, max=MOST, help="Episodes of a group, from one start state.")] = 2,
    groups: Annotated[int, typer.Option(min=1, max=MOST, help="Groups of a batch.")] = 1,
    loss: Annotated[
        str | None, typer.Option(help="module:function, your own loss(batch), in place of the named ones.")
    ] = None,
    library: Annotated[
        str | None, typer.Option(help="trl or torchrl: its own losses, by default on a small language model.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=64, max=MOST, help="Draw that many batches; without it every batch is listed.")
    ] = None,
    seed: Seed = 0,
    out: Out = Path(),
) -> None:
    """The exact gradient that each loss follows, beside the one that it claims; exit code 1 if your own is biased, or
    nothing could be seen."""
    at = auditing.setting(env, gamma, horizon, group_size, groups, samples, seed, library)
    cases, manifest = auditing.cases(at, loss, library), begun(env, loss, seed=seed)
    results = auditing.run(at, cases)
    if results.found:
        console.print(auditing.table(at, results.found))
        console.print(auditing.CAPTION, highlight=False)
    if results.refused:
        console.print(auditing.refusals(results), highlight=False, markup=False, soft_wrap=True)
    if results.found:
        _write(out, lambda: auditing.write(at, results, out, library), manifest, whole=not results.interrupted)
    failed = loss is not None and any(claimed.verdict in ("biased", "no power") for _, claimed, _ in results.found)
    raise typer.Exit(_code(results.interrupted, not failed))


@app.command()
def variance(env: Annotated[str, typer.Argument(help=ENV)], gamma: Gamma = None, out: Out = Path()) -> None:
    """The exact variance of one-episode REINFORCE for the uniform policy, and the baselines that make it least."""
    problem, manifest = load(env, gamma), begun(env)
    with console.status("solving"):
        found = varying.variances(problem, starting_policy(problem.mdp))
    console.print(varying.table(found))
    console.print(varying.caption(found), highlight=False, markup=False)
    console.print(varying.baselines(found))
    _write(out, lambda: varying.write(found, out), manifest)


@app.command()
def train(
    context: typer.Context,
    env: Annotated[str | None, typer.Argument(help=ENV)] = None,
    gamma: Gamma = None,
    updates: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="In all; by default 200, of a language model 20.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, max=MOST, help="Episodes of one update.")] = 100,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate; by default 0.1 for ascent, 0.05 for adamw, 1e-5 for a language model."),
    ] = None,
    optimizer: Annotated[
        training.Optimizer | None,
        typer.Option(help="Plain gradient ascent (the default of exact gradients), or AdamW without decay."),
    ] = None,
    baseline: Annotated[
        training.Baseline, typer.Option(help="b(s): 0, learned from returns, or v_pi itself.")
    ] = training.Baseline.learned,
    gradient: Annotated[
        training.Gradient,
        typer.Option(help="REINFORCE; exact: theta + lr grad J; natural: its natural gradient; em: an EM step."),
    ] = training.Gradient.sampled,
    model: options.Model = None,
    task: options.TaskName = "digits",
    reward: options.Reward = None,
    loss: options.Loss = "rloo",
    beta: options.Beta = 0.05,
    groups: options.Groups = 4,
    group_size: options.GroupSize = 8,
    max_tokens: options.MaxTokens = 32,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    pieces: options.Pieces = 1,
    checkpoint_every: options.Every = None,
    resume: options.Resume = False,
    sharded: options.Sharded = False,
    seed: Seed = 0,
    out: Out = Path(),
) -> None:
    """REINFORCE with a learning curve that shows the sampled return AND the exact J(theta_k), against J*.

    With --model: a language model by a policy gradient, with checkpoints that --resume goes on from.
    """
    if (env is None) == (model is None):
        raise ValueError("train takes an ENV, or --model PATH with a --task: one of the two")
    if model is not None:
        _refuse(context, TABULAR, "with --model")
        settings = Settings(
            str(model), task, reward, loss, beta, groups, group_size, max_tokens, 1e-5 if lr is None else lr,
            temperature, top_k, top_p, seed,
        )  # fmt: skip
        interrupted = commands.train_model(
            settings, out, console, updates=updates or 20, every=checkpoint_every or 10, pieces=pieces, resume=resume,
            sharded=sharded,
        )  # fmt: skip
        raise typer.Exit(_code(interrupted))
    _refuse(context, LINGUISTIC, "with an ENV")
    assert env is not None
    problem, manifest = load(env, gamma), begun(env, seed=seed)
    agent = training.make_agent(problem.mdp, optimizer, lr, baseline, gradient)
    every = checkpoint_every or (10 if resume else None)
    run = training.Run(
        problem, agent, out, episodes=episodes, seed=seed, every=every, baseline=baseline, gradient=gradient
    )
    raise typer.Exit(_code(training.trained(run, manifest, console, updates=updates or 200, resume=resume)))


app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(course.tutorials)
app.command()(course.grade)


def _write(folder: Path, write: Callable[[], list[Path]], manifest: Manifest, *, whole: bool = True) -> None:
    with writing_to(folder):
        wrote(console, write(), manifest, whole=whole)


def _code(interrupted: bool, passed: bool = True) -> int:
    return INTERRUPTED if interrupted else 0 if passed else 1


def _refuse(context: typer.Context, names: tuple[str, ...], when: str) -> None:
    """Raises ValueError for an option that was given, and would not be read."""
    sources = ((x, context.get_parameter_source(x)) for x in names)
    given = [x for x, source in sources if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise ValueError(f"{', '.join('--' + x.replace('_', '-') for x in given)} has no meaning {when}")


def main() -> None:
    """The console script."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    end(lambda: app(standalone_mode=False))
