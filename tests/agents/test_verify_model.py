"""`exactrl verify --model` on a model small enough for a test."""

from __future__ import annotations

import io
import json
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from typer.testing import CliRunner

from agents import Batch, LanguageModelPolicy, ReinforceLoss, SoftmaxPolicy, exact_gradient, load_tokenizer, rollout
from agents.checks.projected import leave_one_out_variance, reinforce_variance, scored_by
from agents.cli.app import app
from agents.cli.language import verify
from agents.cli.language.tasks import DIGITS
from agents.cli.language.verify import Part, Row, drawn_by, listed, one_step, table
from agents.exact.moments import in_preferences
from agents.exact.objective import flat_gradient
from agents.losses import named
from envs import TokenMDP
from mdp import FiniteMDP
from tests.agents import models
from tests.agents.problems import seeded

pytest.importorskip("transformers")


def test_verify_model_prints_and_writes_both_parts(tmp_path: Path) -> None:
    """Three estimates along three directions; at seed 0, no false alarm."""
    folder = models.save(tmp_path / "tiny")
    result = CliRunner().invoke(app, ["verify", "--model", str(folder), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "one step, all 23 tokens after 4 prompts" in result.output
    assert "top-4 tree, 4 tokens, 256 completions" in result.output
    written = json.loads((tmp_path / "exactrl-verify-model.json").read_text())
    assert written["passed"]
    rows = {row["what"]: row for part in written["parts"] for row in part["rows"]}
    assert rows["autograd through J"]["off"] < 1e-8
    assert rows["scored by whole softmax"]["off"] > 0.01
    assert "…" not in result.output  # it fits 80 columns
    assert (tmp_path / "exactrl-verify-model.png").stat().st_size > 10_000


def test_a_row_beyond_its_limit_fails() -> None:
    rows = [Row("a", "1", 2e-3, 1e-3), Row("b", "1", 2.0, 3.0, unit="SE"), Row("c", "1", 5e-7)]
    text = io.StringIO()
    Console(file=text, width=80, color_system=None).print(table(Part("part", rows, {})))
    printed = [line.split() for line in text.getvalue().splitlines()]
    assert ["a", "1", "2.0e-03", "1e-03", "FAIL"] in printed
    assert ["b", "1", "2.0", "SE", "3.0", "SE", "ok"] in printed
    assert ["c", "1", "5.0e-07"] in printed
    assert not Part("part", rows, {}).passed


def test_verify_model_takes_no_other_problem(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "FrozenLake-v1", "--model", str(tmp_path)])
    assert "they take no ENV" in str(result.exception)
    result = CliRunner().invoke(app, ["verify", "--model", str(tmp_path)])
    assert "is no model: config.json is missing" in str(result.exception)


# ---- what its numbers are ----

EPISODES, FEW, SEED = 512, 32, 3


@pytest.fixture
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "EPISODES", EPISODES)
    monkeypatch.setattr(verify, "FEW", FEW)
    monkeypatch.setattr(verify, "WRITTEN", 20)


def digits(prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    return sum(x > 2 for x in completion) / len(completion) + 0.1 * len(prompt)


class Judge:
    """What is sampled, by hand: an estimate along grad J and two random directions, in standard errors."""

    def __init__(self, policy: SoftmaxPolicy, m: FiniteMDP) -> None:
        self.policy, self.m, self.g = policy, m, exact_gradient(policy, m)
        generator = seeded(SEED)
        drawn = [torch.randn(len(self.g), generator=generator, dtype=torch.float64) for _ in range(2)]
        self.u = torch.stack([x / x.norm() for x in (self.g, *drawn)])
        self.U = in_preferences(policy, m, self.u.T)
        self.pi = policy.matrix(m).detach().numpy()

    def estimate(self, loss: Any, group_size: int, seed: int, n: int) -> torch.Tensor:
        played = rollout(self.policy, self.m, n, group_size=group_size, generator=seeded(seed))
        return -flat_gradient(self.policy, loss(Batch.of(self.policy, played)))

    def row(self, name: str, estimate: torch.Tensor, variance: NDArray[np.float64]) -> tuple[Row, list[float]]:
        """Nine deviates in all, and a false alarm of 1e-4."""
        found, error = (self.u @ estimate).numpy(), np.sqrt(variance / EPISODES)
        z = (found - (self.u @ self.g).numpy()) / error
        limit = NormalDist().inv_cdf(1 - 1e-4 / 18)
        return Row(f"{name}, 512 samples", f"{found[0]:.4g} ± {error[0]:.2g}", abs(z).max(), limit, " SE"), z.tolist()


def assert_rows(found: list[Row], expected: list[Row]) -> None:
    """The texts, and the numbers but for rounding."""
    assert [(x.what, x.value, x.unit) for x in found] == [(x.what, x.value, x.unit) for x in expected]
    for x, y in zip(found, expected, strict=True):
        assert (x.off is None, x.limit is None) == (y.off is None, y.limit is None), x.what
        assert x.off is None or x.off == pytest.approx(y.off, rel=1e-7, abs=1e-7), x.what
        assert x.limit == pytest.approx(y.limit), x.what


@pytest.mark.usefixtures("_few_samples")
def test_one_step_by_hand() -> None:
    """J as a sum, each estimate from the episodes of its seed, its standard error from its exact variance."""
    policy = models.small_policy("llama", 5)
    problem = TokenMDP(5, 1, digits, prompts=[(0,), (1, 0, 1)])
    said: list[str] = []
    part = one_step(policy, problem, SEED, said.append)
    m = problem.finite()
    judge = Judge(policy, m)
    J = sum(judge.pi[s, a] * digits(x, (a,)) / 2 for s, x in enumerate(problem.prompts) for a in range(5))
    norm = float(judge.g.norm())

    def beside(estimate: torch.Tensor) -> Row:
        far = float(estimate @ judge.g / estimate.norm() / judge.g.norm()), float(estimate.norm()) / norm
        return Row("32 samples, beside grad J", "cosine {:.3f}, length {:.3g}".format(*far))

    r = np.array([[digits(x, (a,)) for a in range(5)] for x in problem.prompts])
    z = r[:, :, None] * judge.U.reshape(m.n_states, 5, 3)[:2]  # of one episode, R u . psi
    mean, square = (np.einsum("sa,sak->k", judge.pi[:2], x) / 2 for x in (z, z**2))
    first, its_z = judge.row("REINFORCE", judge.estimate(ReinforceLoss(), 1, SEED, EPISODES), square - mean**2)
    variance = 16 * leave_one_out_variance(m, judge.pi, judge.U, 16)
    second, other_z = judge.row("RLOO", judge.estimate(named.rloo(), 16, SEED + 1, EPISODES), variance)
    expected = [
        Row("J", f"{J:.10g}"), Row("|grad J|, theorem", f"{norm:.10g}"), Row("autograd through J", "", 0.0, 1e-8),
        Row("finite differences", "", 0.0, 1e-8),
        first, beside(judge.estimate(ReinforceLoss(), 1, SEED, FEW)),
        second, beside(judge.estimate(named.rloo(), 16, SEED + 1, FEW)),
    ]  # fmt: skip
    assert part.name == "one step, all 5 tokens after 2 prompts"
    assert_rows(part.rows, expected)
    assert part.z.keys() == {"one step, REINFORCE", "one step, RLOO"}
    np.testing.assert_allclose(part.z["one step, REINFORCE"], its_z, rtol=1e-7)
    np.testing.assert_allclose(part.z["one step, RLOO"], other_z, rtol=1e-7)
    assert said == [
        "one step: grad J by three routes", "one step: derivatives along grad J and random directions",
        "one step: 512 samples, REINFORCE", "one step: 512 samples, RLOO",
    ]  # fmt: skip


@pytest.mark.usefixtures("_few_samples")
def test_the_tree_by_hand() -> None:
    """J from all 16 completions of two likeliest tokens at each step, and samples of it."""
    model = models.small("llama", 5).double()
    policy, narrow = LanguageModelPolicy(model), LanguageModelPolicy(model, top_k=2)
    problem = TokenMDP(5, 4, digits, prompts=[(0, 1)])
    said: list[str] = []
    part = listed(policy, narrow, problem, SEED, said.append)
    m = problem.finite(tokens=drawn_by(narrow, problem))
    judge = Judge(narrow, m)
    assert m.n_states == 1 + 2 + 4 + 8 + 1
    norm, wrong = float(judge.g.norm()), scored_by(policy, narrow, m)
    level: list[Any] = [(m.states[0], 1.0)]
    for _ in range(4):
        level = [
            (next(t for _, t, _ in m.outcomes(s, a)) if len(s[1]) < 3 else (s[0], (*s[1], a)), p * judge.pi[k, a])
            for s, p in level for k in [m.state_index(s)] for a in range(5) if judge.pi[k, a] > 0
        ]  # fmt: skip
    assert len(level) == 16
    J = sum(p * digits(*s) for s, p in level)
    sampled, z = judge.row(
        "REINFORCE", judge.estimate(ReinforceLoss(), 1, SEED, EPISODES), reinforce_variance(m, judge.pi, judge.U)
    )
    far = float(wrong @ judge.g / wrong.norm() / norm), float(wrong @ judge.g) / norm**2
    assert far[1] != pytest.approx(1, abs=1e-3)
    expected = [
        Row("J", f"{J:.10g}"), Row("|grad J|, theorem", f"{norm:.10g}"), Row("autograd through J", "", 0.0, 1e-8),
        sampled, Row("20 texts, log pi", "sampled, and scored", 0.0, 1e-10),
        Row("scored by whole softmax", "cosine {:.4f}, scale {:.4f}".format(*far),
            float((wrong - judge.g).norm()) / norm),
    ]  # fmt: skip
    assert part.name == "top-4 tree, 4 tokens, 256 completions"
    assert_rows(part.rows, expected)
    assert part.z.keys() == {"top-4 tree, REINFORCE"}
    np.testing.assert_allclose(part.z["top-4 tree, REINFORCE"], z, rtol=1e-7)
    assert said == [
        "top-4 tree: listing", "top-4 tree: derivatives along grad J and random directions",
        "top-4 tree: 512 samples", "top-4 tree: 20 texts with the cache", "top-4 tree: scored by the whole softmax",
    ]  # fmt: skip


def test_the_tokens_that_may_be_drawn() -> None:
    """After every text that may be written, up to one that ends before the horizon; each level in one forward pass."""
    model = models.small("llama", 4).double()
    narrow = LanguageModelPolicy(model, top_k=2)
    problem = TokenMDP(4, 3, digits, prompts=[(0,), (1, 1)], eos=2)
    calls: list[int] = []
    narrow.register_forward_hook(lambda _, x, __: calls.append(len(x[0])))
    tokens = drawn_by(narrow, problem)
    pi = narrow.matrix(m := problem.finite(tokens=tokens)).detach().numpy()
    written: dict[int, int] = {}
    states: list[Any] = [s for s in m.states if s != "end"]
    for s in states:
        observation = problem.observation(*s)
        assert tokens(observation) == np.flatnonzero(pi[m.state_index(s)]).tolist()
        assert len(tokens(observation)) == 2
        written[len(s[1])] = written.get(len(s[1]), 0) + 1
    assert calls[:3] == [written[0], written[1], written[2]]
    with pytest.raises(KeyError):
        tokens(problem.observation((0,), (0, 0, 0)))


def test_the_cache_is_held_against_one_forward_pass_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of transformers' own, by the same top-k policy, on as many texts as are written at once."""
    policy = LanguageModelPolicy(models.small("llama", 5).double(), top_k=2)
    problem = TokenMDP(5, 3, digits, prompts=[(0,)])
    made: list[LanguageModelPolicy] = []

    class Noted(LanguageModelPolicy):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(verify, "LanguageModelPolicy", Noted)
    row = verify.written_row(policy, problem, 0)
    assert (row.what, row.value, row.limit, row.unit) == ("256 texts, log pi", "sampled, and scored", 1e-10, "")
    assert row.passed
    (scorer,) = made
    assert (scorer.model is policy.model, scorer.top_k, scorer._fast, policy._fast is None) == (True, 2, None, False)
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[3] += 1e-3
    seen: list[Any] = []
    scored = LanguageModelPolicy.log_prob

    def off_by_one(self: Any, played: Any) -> Any:
        seen.append(played)
        found = scored(self, played).clone()
        found[17, 1] += 0.25
        return found

    monkeypatch.setattr(Noted, "log_prob", off_by_one)
    assert verify.written_row(policy, problem, 0).off == pytest.approx(0.25)
    again = rollout(policy, problem.vector_env(256), 256, generator=seeded(0))
    np.testing.assert_array_equal(seen[0].actions, again.actions)


def test_both_parts_are_of_the_model_and_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four prompts for one step, the third for the tree; the reward is that of text, without special tokens."""
    first, second = Part("first", [], {}), Part("second", [], {})
    one, two = mock.Mock(return_value=first), mock.Mock(return_value=second)
    monkeypatch.setattr(verify, "one_step", one)
    monkeypatch.setattr(verify, "listed", two)
    folder = models.save(tmp_path / "tiny")
    noted: list[str] = []
    status = SimpleNamespace(update=noted.append)

    class Says:
        def status(self, text: str) -> Any:
            noted.append(text)
            return self

        def __enter__(self) -> Any:
            return status

        def __exit__(self, *_: object) -> None: ...

    assert list(verify.run(folder, 7, Says())) == [first, second]  # type: ignore[arg-type]
    whole, problem, seed, say = one.call_args.args
    same, narrow, tree, its_seed, its_say = two.call_args.args
    tokenizer = load_tokenizer(folder)
    ids = tuple(tuple(tokenizer(x).input_ids) for x in DIGITS)
    assert same is whole
    assert (whole.top_k, narrow.top_k, narrow.model is whole.model) == (None, 4, True)
    assert {p.dtype for p in whole.parameters()} == {torch.float64}
    for policy in (whole, narrow):
        assert policy.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert (problem.horizon, problem.prompts, len(problem.vocabulary), problem.eos) == (1, ids, 23, None)
    assert (tree.horizon, tree.prompts, len(tree.vocabulary), tree.eos) == (4, (ids[2],), 23, None)
    assert (seed, its_seed) == (7, 7)
    say("one")
    its_say("two")
    assert noted == ["", "one", "two"]
    end = tokenizer.eos_token_id
    for x in (problem, tree):
        assert x.reward(ids[0], (*tokenizer("3").input_ids, end)) == 1
        assert x.reward(ids[0], (*tokenizer("a").input_ids, end)) == 0
