"""The commands. A mistake of the user's is one line on stderr and exit code 2; an interrupt is exit code 130."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, Any

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
from agents.cli.language import commands, options
from agents.cli.language.train import Settings
from agents.cli.options import ENV, Gamma, Out, Seed
from agents.cli.problems import load, starting_policy
from agents.cli.records import wrote
from agents.learning import TrainingStopped
from mdp import solve as solved

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
console = Console()
INTERRUPTED = 130  # typer's own exit code after ctrl-C
TABULAR = ("gamma", "episodes", "optimizer", "baseline", "gradient")
LINGUISTIC = ("task", "reward", "loss", "beta", "groups", "group_size", "max_tokens", "temperature", "top_k", "top_p",
              "pieces", "checkpoint_every", "resume", "sharded")  # fmt: skip
UsageError: Any = typer.BadParameter.__base__  # of every mistake in the arguments; typer does not export it


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
        int | None, typer.Option(help="Sampled episodes; by default what SE / |grad J| = .05 takes, 2,000,000 at most.")
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
        raise typer.Exit(0 if commands.verify_model(model, seed, out, console) else 1)
    if self_test:
        tested = selftesting.run(console)
        console.print(selftesting.table(tested))
        console.print(selftesting.summary(tested), highlight=False)
        raise typer.Exit(0 if tested.passed else 1)
    checks = [verifying.check(name, gamma, seed) for name in env] if env else verifying.default_checks(gamma, seed)
    reports = verifying.run(checks, episodes=episodes, seed=seed, console=console)
    console.print(verifying.table(reports))
    console.print(verifying.CAPTION, highlight=False)
    wrote(console, verifying.write(reports, out, seed))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


@app.command()
def solve(
    env: Annotated[str, typer.Argument(help=ENV)],
    gamma: Gamma = None,
    method: Annotated[str, typer.Option(help="See mdp.solve.")] = "auto",
    tolerance: Annotated[float, typer.Option(help="Wanted max-norm error of v*.")] = 1e-8,
    out: Out = Path(),
) -> None:
    """Exact v*, the optimal actions with ties, and a proven bound; a picture where ENV is a grid."""
    problem = load(env, gamma)
    with console.status("solving") as status:
        solution = solved(
            problem.mdp,
            method=method,
            tolerance=tolerance,
            progress=lambda k, bound: status.update(f"iteration {k}: within {bound:.2e}"),
        )
    console.print(solving.summary(problem, solution), highlight=False, soft_wrap=True)
    console.print(solving.table(problem, solution))
    wrote(console, solving.write(problem, solution, out))
    raise typer.Exit(0 if solution.converged else 1)


@app.command()
def envs() -> None:
    """The environments of the zoo: their sizes, J of the uniform policy, J*, and where their answers are from."""
    console.print(zoo.table(list(zoo.rows(console))))
    console.print(zoo.CAPTION, highlight=False)


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
    problem = load(env, gamma)
    chosen = None if state is None else showing.state_of(problem.mdp, state)
    with console.status("solving and drawing"):
        written = showing.write(problem, showing.view(problem, policy), chosen, format, out)
    wrote(console, written)


@app.command()
def audit(
    env: Annotated[
        str | None, typer.Argument(help=f"{ENV} By default {auditing.DEFAULT} at gamma {auditing.DEFAULT_GAMMA}.")
    ] = None,
    gamma: Gamma = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="A time limit as part of the MDP, so that its episodes can be listed.")
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, help="Episodes of a group, from one start state.")] = 2,
    groups: Annotated[int, typer.Option(min=1, help="Groups of a batch.")] = 1,
    loss: Annotated[
        str | None, typer.Option(help="module:function, your own loss(batch), in place of the named ones.")
    ] = None,
    library: Annotated[
        str | None, typer.Option(help="trl or torchrl: its own losses, by default on a small language model.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=64, help="Draw that many batches; without it every batch is listed.")
    ] = None,
    seed: Seed = 0,
    out: Out = Path(),
) -> None:
    """The exact gradient that each loss follows, beside the one that it claims; exit code 1 if your own is biased."""
    at = auditing.setting(env, gamma, horizon, group_size, groups, samples, seed, library)
    results = auditing.run(at, auditing.cases(at, loss, library))
    if results.found:
        console.print(auditing.table(at, results.found))
        console.print(auditing.CAPTION, highlight=False)
    if results.refused:
        console.print(auditing.refusals(results), highlight=False, markup=False, soft_wrap=True)
    if results.found:
        wrote(console, auditing.write(at, results.found, out, library))
    if results.interrupted:
        raise typer.Exit(INTERRUPTED)
    biased = loss is not None and any(claimed.verdict == "biased" for _, claimed, _ in results.found)
    raise typer.Exit(1 if biased else 0)


@app.command()
def variance(env: Annotated[str, typer.Argument(help=ENV)], gamma: Gamma = None, out: Out = Path()) -> None:
    """The exact variance of one-episode REINFORCE for the uniform policy, and the baselines that make it least."""
    problem = load(env, gamma)
    with console.status("solving"):
        found = varying.variances(problem, starting_policy(problem.mdp))
    console.print(varying.table(found))
    console.print(varying.caption(found), highlight=False)
    console.print(varying.baselines(found))
    wrote(console, varying.write(found, out))


@app.command()
def train(
    context: typer.Context,
    env: Annotated[str | None, typer.Argument(help=ENV)] = None,
    gamma: Gamma = None,
    updates: Annotated[
        int | None, typer.Option(min=1, help="In all; by default 200, of a language model 20.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of one update.")] = 100,
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
    checkpoint_every: options.Every = 10,
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
            settings, out, console, updates=updates or 20, every=checkpoint_every, pieces=pieces, resume=resume,
            sharded=sharded,
        )  # fmt: skip
        raise typer.Exit(INTERRUPTED if interrupted else 0)
    _refuse(context, LINGUISTIC, "with an ENV")
    assert env is not None
    problem = load(env, gamma)
    optimum = float(problem.mdp.start @ solved(problem.mdp).v)
    agent = training.make_agent(problem.mdp, optimizer, lr, baseline, gradient)
    try:
        history = training.run(
            agent, problem.mdp, updates=updates or 200, episodes=episodes, seed=seed, console=console
        )
    except TrainingStopped as stopped:
        wrote(console, training.write(problem, stopped.history, optimum, out))
        raise
    J = history.column("J")
    console.print(
        f"{problem.name}, gamma {problem.mdp.gamma:g}: J went from {J[0]:.6g} to {J[-1]:.6g} in {len(J) - 1} updates; "
        f"{training.best(problem.mdp, optimum)}",
        highlight=False,
        soft_wrap=True,
    )
    wrote(console, training.write(problem, history, optimum, out))
    if history.interrupted:
        raise typer.Exit(INTERRUPTED)


app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(course.tutorials)
app.command()(course.grade)


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
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError as error:
        _end(f"not enough memory: {error}", 2)
    except UsageError as error:
        _end(error.format_message(), 2)
    except (ValueError, TypeError, OSError) as error:
        _end(str(error), 2)
    if code == INTERRUPTED:
        _end("interrupted", code)
    sys.exit(code)


def _end(message: str, code: int) -> None:
    print(f"exactrl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
