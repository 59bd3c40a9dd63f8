"""The parts of an audit: verdicts at their limits, what is the same, what is drawn and how it is judged."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

import envs
from agents import (
    Audit,
    Batch,
    PolicyLoss,
    ReinforceLoss,
    SoftmaxPolicy,
    TabularPreferences,
    audit,
    exact_gradient,
    exact_objective,
    likelihood,
    regularised_objective,
    rollout,
)
from agents.audits import catalogue, sampling, trajectories
from agents.audits.gradients import PROBES, Differentiated, Gradients, _equal, _same
from agents.audits.rarity import _far, rare, weights
from agents.audits.result import Sampled
from agents.audits.trajectories import Table, listed
from agents.exact.objective import flat_gradient
from agents.losses import named, supervised
from agents.losses.advantages import GAE, discounted, whole_return
from agents.losses.kl import KL
from mdp import Episodes, FiniteMDP, enumerate_trajectories, evaluate, unroll
from mdp.gradient.cumulants import Shape, two_sided_tail
from tests.agents.brute_force import Loss, as_episodes
from tests.agents.problems import MDPS, seeded, tabular
from tests.worlds import random_mdp

listing = importlib.import_module("agents.audits.audit")  # `agents.audits.audit` is the function


# ---- the verdict, at its limits ----


def figures(expected: tuple[float, float], exact: tuple[float, float] = (0.0, 64.0), **given: Any) -> Audit:
    """An audit of two parameters that found these."""
    found = {
        "loss": "l", "policy": "p", "mdp": "m", "gamma": 0.9, "group_size": 2, "groups": 3, "tolerance": 1 / 16,
        "batches": 1234, "vectorised": True, "trace": lambda: 2.5, "trajectories": 5678, "rounding": 0.0,
    }  # fmt: skip
    true = {"expected": torch.tensor(expected).double(), "exact": torch.tensor(exact).double()}
    return Audit(**(found | true | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expected", "given", "verdict"),
    [
        ((4.0, 64.0), {}, "exact"),  # |expected - exact| = |exact| / 16, the tolerance
        ((4.25, 64.0), {}, "biased"),
        ((0.0, 68.0), {}, "exact"),
        ((0.0, 68.25), {}, "scaled"),
        ((0.0, -64.0), {}, "biased"),
        ((5.0, 64.0), {"tolerance": 1e-9, "rounding": 2.5}, "exact"),  # twice the rounding may be lost
        ((6.0, 64.0), {"tolerance": 1e-9, "rounding": 2.5}, "biased"),
        ((0.0, 4.0), {"rounding": 2.0}, "biased"),  # what is expected could be rounding
        ((0.0, 5.0), {"rounding": 2.0}, "scaled"),
        ((3.0, 32.0), {"rounding": 0.5}, "scaled"),  # 32 / 16 from the tolerance, 2 x .5 from rounding
        ((3.25, 32.0), {"rounding": 0.5}, "biased"),
        ((0.0, 64.0), {"rounding": 0.64, "magnitude": 1.0}, "no power"),  # 1/100 of the larger of 64 and 1
        ((0.0, 64.0), {"rounding": 0.63, "magnitude": 1.0}, "exact"),
        ((0.0, 64.0), {"rounding": 0.99, "magnitude": 100.0}, "exact"),
        ((0.0, 32.0), {"rounding": 0.64, "magnitude": 1.0}, "no power"),
        ((0.0, 32.0), {"rounding": 0.63, "magnitude": 1.0}, "scaled"),
        ((8.0, 0.0), {"rounding": 1.0, "magnitude": 1.0}, "biased"),  # what is wrong for sure needs no power
    ],
)
def test_verdicts_of_listed_batches(expected: tuple[float, float], given: dict[str, Any], verdict: str) -> None:
    assert figures(expected, **given).verdict == verdict


@pytest.mark.parametrize(
    ("expected", "sample", "given", "verdict"),
    [
        ((0.0, 64.0), (0.1, 0.01, 0.01), {}, "consistent"),  # at the odds themselves no alarm
        ((0.0, 64.0), (0.1, 0.009, 0.5), {}, "biased"),
        ((0.0, 32.0), (0.12, 0.5, 0.009), {}, "scaled"),
        ((0.0, 32.0), (0.125, 0.5, 0.009), {}, "biased"),  # a scale of 4 standard errors could be none
        ((0.0, 64.0), (1 / 6, 0.5, 0.5), {}, "no power"),
        ((0.0, 64.0), (0.16, 0.5, 0.5), {}, "consistent"),
        ((0.0, 64.0), (0.3, 0.5, 0.5), {}, "no power"),
        ((0.0, 64.0), (0.1, 0.0, 0.0), {"rounding": 1.0, "magnitude": 1.0}, "no power"),
        ((0.0, 64.0), (math.nan, 0.5, 0.0), {"rounding": 64.0}, "consistent"),  # the true gradient vanishes
    ],
)
def test_verdicts_of_drawn_batches(
    expected: tuple[float, float], sample: tuple[float, float, float], given: dict[str, Any], verdict: str
) -> None:
    assert figures(expected, sample=Sampled(*sample, false_alarm=0.01), **given).verdict == verdict


def test_figures_where_there_is_a_gradient_and_where_there_is_none() -> None:
    found = figures((0.0, 3.0), (3.0, 4.0))
    assert (found.norm, found.cosine, found.scale) == (5.0, 0.8, 12 / 25)
    assert found.relative_error == pytest.approx(math.sqrt(10) / 5)
    assert figures((0.0, 2.0), (3.0, 4.0), rounding=2.0).cosine == 0.0
    none = figures((4.0, 1.0), (0.0, 1.0), rounding=2.0)
    assert none.vanishes
    assert figures((4.0, 1.0), (0.0, 1.0), rounding=1.0).vanishes
    assert not figures((4.0, 1.0), (0.0, 1.0), rounding=0.9).vanishes
    assert (none.relative_error, math.isnan(none.cosine), math.isnan(none.scale)) == (0.0, True, True)
    assert figures((5.0, 1.0), (0.0, 1.0), rounding=2.0).relative_error == math.inf


@pytest.mark.parametrize("drawn", [True, False])
def test_what_an_audit_prints_and_writes(drawn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word; without colours, and 120 columns wide, whatever the terminal is."""
    sample = Sampled(math.inf, 0.25, 0.125, 1e-4) if drawn else None
    found = figures((0.0, 3.0), (3.0, 4.0), sample=sample, mdp="m " * 200, loss="[l]")
    table = found.table()
    assert [list(column.cells) for column in table.columns] == [
        ["cosine with the true gradient", "scale along it", "relative error", "|expected|, |exact|", "batch", "policy",
         "problem"],
        ["0.8", "0.48", "0.632", "3, 5", "3 group(s) of 2", "p, 2 parameters", "m " * 200],
    ]  # fmt: skip
    verdict = "no power" if drawn else "biased"
    assert (table.title, table.title_justify, table.caption_justify) == (f"\\[l]: {verdict}", "left", "left")
    assert not table.show_header
    assert table.caption == (
        "1,234 batches drawn; scale within inf (one standard error); p = 0.25 for the direction, 0.12 for scale 1, "
        "judged at 0.0001" if drawn else "5,678 trajectories, 1,234 batches listed as multisets, vectorised"
    )  # fmt: skip
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    text = str(found)
    assert text == repr(found)
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) == 120
    assert text.splitlines()[0].rstrip() == f"[l]: {verdict}"
    found.to_json(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "loss": "[l]", "policy": "p", "mdp": "m " * 200, "gamma": 0.9, "group_size": 2, "groups": 3, "batches": 1234,
        "tolerance": 1 / 16, "vectorised": True, "trajectories": 5678, "ordered": False, "rounding": 0.0,
        "exact": [3.0, 4.0], "expected": [0.0, 3.0], "magnitude": None, "norm": 5.0, "scale": 0.48, "cosine": 0.8,
        "relative_error": found.relative_error, "covariance_trace": 2.5, "verdict": verdict,
        "sample": {"scale_error": None, "p_direction": 0.25, "p_scale": 0.125, "false_alarm": 1e-4} if drawn else None,
    }  # fmt: skip


def test_tuples_one_by_one_are_told() -> None:
    ordered = figures((0.0, 3.0), ordered=True, vectorised=False)
    assert ordered.summary == "5,678 trajectories, 1,234 batches listed as tuples, one by one"


def test_no_json_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        figures((math.nan, 3.0)).to_json(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


# ---- what is listed ----


@pytest.mark.parametrize("m", ["tokens", "random", "robot"])
def test_every_trajectory_is_listed_and_rows_of_it_are_batches(m: str) -> None:
    """Field by field what the tests' own brute force makes of them; rows of the table are what a policy scores."""
    others = {"random": random_mdp(1, gamma=0.9, acyclic=True), "robot": unroll(MDPS["robot"], 3)}
    mdp = others.get(m, MDPS[m])
    policy, plays, reference = (tabular(mdp, seed) for seed in range(3))
    every = listed(mdp, plays)
    probability, played = zip(*enumerate_trajectories(mdp, plays.matrix(mdp).detach().numpy()), strict=True)
    own, found = as_episodes(mdp, list(played), 1, plays), every.episodes
    assert list(np.concatenate([p * every.probability[rows] for p, rows in every.starts])) == pytest.approx(
        [probability[k] for _, rows in every.starts for k in rows], rel=1e-12
    )
    first = [{played[k].states[0] for k in rows} for _, rows in every.starts]
    assert first == [{s} for s in np.flatnonzero(mdp.start)]
    for name in ("states", "actions", "rewards", "lengths", "terminated", "truncated", "sight", "sights"):
        a, b = getattr(found, name), getattr(own, name)
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.dtype == b.dtype, name
    assert found.behaviour_log_probs == pytest.approx(own.behaviour_log_probs, abs=1e-13)
    assert found.gamma == mdp.gamma
    assert (found.choices is None) == bool(mdp.admissible[~mdp.terminal].all()) == (m == "tokens")
    rows = torch.arange(len(played)).flip(0)[:3]
    table = Table(policy, found, reference=reference, group=torch.tensor([0, 0, 1]))
    T = int(own.lengths[rows.numpy()].max())
    batch = table.batch(rows, table.log_probs[rows, :T], table.entropies[rows, :T])
    alone = Batch.of(policy, as_episodes(mdp, [played[k] for k in rows.tolist()], 2, plays), reference=reference)
    for field in dataclasses.fields(Batch):
        if not field.name.startswith("_"):
            torch.testing.assert_close(getattr(batch, field.name), getattr(alone, field.name), msg=field.name)
    torch.testing.assert_close(batch.entropies, alone.entropies)
    torch.testing.assert_close(batch.observations[alone.mask], alone.observations[alone.mask])


@pytest.mark.parametrize("most", [30, 29])
def test_the_most_trajectories_that_are_listed(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectories, "MOST", most)
    m = MDPS["tokens"]
    if most == 30:
        assert len(listed(m, tabular(m)).episodes) == 30
        return
    with pytest.raises(ValueError, match=r"^30 trajectories are too many to list \(limit 29\)\. Instead"):
        listed(m, tabular(m))


# ---- a loss over batches ----


@pytest.mark.parametrize(("n", "more"), [(3, ""), (4, ""), (5, "; ..."), (6, "; ...")])
def test_four_episodes_of_a_batch_are_described(n: int, more: str) -> None:
    mdp = MDPS["tokens"]
    seen = differentiated(mdp, n)
    assert seen.own_width
    w = seen.table.whole
    four = [f"actions {w.actions[k, : w.lengths[k]].tolist()} rewards {w.rewards[k, : w.lengths[k]].tolist()}"
            for k in range(n)]  # fmt: skip
    assert seen.described(torch.arange(n)) == "; ".join(four[:4]) + more


def differentiated(mdp: FiniteMDP, n: int, loss: Loss = ReinforceLoss()) -> Differentiated:  # noqa: B008
    """A loss over n episodes that were drawn."""
    policy = tabular(mdp)
    episodes = rollout(policy, mdp, n, generator=seeded())
    table = Table(policy, episodes, reference=None, group=torch.arange(n))
    return Differentiated(loss, policy, table, torch.arange(n)[None])


@pytest.mark.parametrize(
    ("vectorised", "episodes", "steps", "batches"),
    [
        (False, 1, 1, 256),
        (True, 1, 1, 2**15),
        (True, 8, 16, 2**12),
        (True, 8, 15, 2**19 // 120),
        (True, 64, 0, 2**13),
        (True, 100, 100, 64),
    ],
)
def test_batches_at_a_time(vectorised: bool, episodes: int, steps: int, batches: int) -> None:
    """2^19 numbers, but from 64 batches to 2^15; 256 where they go one by one."""
    seen = differentiated(MDPS["tokens"], 2)
    seen.vectorised = vectorised
    seen.table = Mock(group=torch.arange(episodes), log_probs=torch.zeros(9, steps))
    assert seen.at_once == batches
    assert isinstance(seen.at_once, int)


def gradients(losses: list[float], x: list[float], h: list[float] | None = None) -> Gradients:
    """Of batches of one episode of two steps, the second with half the gradient of the first."""
    by_x, by_h = (torch.tensor(g).double()[:, None, None] * torch.tensor([1.0, 0.5]) for g in (x, h or [0.0] * len(x)))
    return Gradients(torch.tensor(losses).double(), by_x, by_h, [])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (gradients([1.0], [1.0]), gradients([1.0], [1.0]), True),
        (gradients([1.0], [1.0]), gradients([1.0], [1 + 9e-7]), True),  # to 1e-6 of the larger one
        (gradients([1.0], [1.0]), gradients([1.0], [1 + 2e-6]), False),
        (gradients([1.0], [1 + 2e-6]), gradients([1.0], [1.0]), False),
        (gradients([1.0], [1.0], [1.0]), gradients([1.0], [1.0], [1 + 2e-6]), False),
        (gradients([1.0], [1.0], [9e-7]), gradients([1.0], [1.0], [0.0]), True),  # beside the other gradient
        (gradients([1.0], [9e-7], [1.0]), gradients([1.0], [0.0], [1.0]), True),
        (gradients([1.0], [1.0]), gradients([-1.0], [1.0]), False),
        (gradients([1.0], [1.0]), gradients([1.0], [-1.0]), False),
        (gradients([5.0], [1.0]), gradients([5 + 4e-6], [1.0]), True),
        (gradients([5.0], [1.0]), gradients([5 + 1e-5], [1.0]), False),
        (gradients([0.0], [5.0]), gradients([4e-6], [5.0]), True),  # below the size of its gradient
        (gradients([1.0, 1.0], [1.0, 1.0]), gradients([1.0, 1.0], [1.0, 1.1]), False),  # each batch by itself
        (gradients([1.0, 1.0], [1e3, 1.0]), gradients([1.0, 1.0], [1e3, 1 + 1e-5]), False),
        (gradients([1.0, 0.0], [1e6, 9e-11]), gradients([1.0, 0.0], [1e6, 0.0]), True),  # rounding of the others
        (gradients([1.0, 0.0], [1e6, 9e-9]), gradients([1.0, 0.0], [1e6, 0.0]), False),
        (gradients([1.0, 0.0], [1e6, 0.0]), gradients([1.0, 9e-11], [1e6, 0.0]), True),
        (gradients([1.0, 0.0], [1e6, 0.0]), gradients([1.0, 9e-9], [1e6, 0.0]), False),
        (gradients([], []), gradients([], []), True),
        (gradients([0.0], [0.0]), gradients([0.0], [0.0]), True),
    ],
)
def test_what_is_the_same_up_to_rounding(a: Gradients, b: Gradients, same: bool) -> None:
    assert (_same(a, b), _same(b, a)) == (same, same)


def test_terms_outside_a_batch_are_the_same_or_not() -> None:
    one = [torch.ones(2).double(), torch.ones(3).double()]
    assert _equal(one, [x * (1 + 9e-7) for x in one])
    assert not _equal(one, [one[0], one[1] * (1 + 2e-6)])
    assert not _equal(one, one[:1])
    assert not _equal([1e-9 * one[0]], [torch.zeros(2).double()])
    nothing = Gradients(torch.ones(1), torch.zeros(1, 2, 0), torch.zeros(1, 2, 0), [])
    assert _same(nothing, nothing)


def test_random_batches_to_look_at_a_loss_with() -> None:
    """A third uniform, a third as they are played, a third tied. 512 batches of three, seeds 0 .. 7.

    Of two start states one has probability .99, and one of its three trajectories .99: of 171 groups that are played
    167 +- 2 are of it, of uniform ones half: below 140, and above 110, with odds of 1e-9.
    """
    mdp = FiniteMDP.from_outcomes(
        {("s", "a"): [(0.99, "e", 1.0), (0.005, "e", 2.0), (0.005, "f", 1.0)],
         ("t", "a"): [(0.5, "e", 1.0), (0.3, "e", 2.0), (0.2, "f", 1.0)]}, gamma=0.5, start={"s": 0.99, "t": 0.01},
    )  # fmt: skip
    every = listed(mdp, tabular(mdp))
    G, s = every.episodes.rewards.sum(1), every.episodes.states[:, 0]
    groups = np.concatenate([listing._probes(every, 3, 1, np.random.default_rng(seed)).numpy() for seed in range(8)])
    assert groups.shape == (8 * PROBES, 3)
    assert (s[groups] == s[groups[:, :1]]).all()
    kind = np.tile(np.arange(PROBES) % 3, 8)
    tied = G[groups] == G[groups[:, :1]]
    assert tied[kind == 2].all()
    assert {len(set(rows.tolist())) for rows in groups[kind == 2]} == {1, 2, 3} - {3}
    often = [(every.probability[groups[kind == k]] > 0.9).sum() / 3 for k in range(3)]
    first = [(s[groups[kind == k, 0]] == 0).sum() for k in range(3)]
    assert often[1] > 150 > 110 > often[0]
    assert first[1] > 150 > 120 > first[0] > 50
    assert 120 > first[2] > 50
    two = listing._probes(every, 2, 3, np.random.default_rng(0))
    assert two.shape == (PROBES, 6)
    assert len(set(map(tuple, two.reshape(-1, 3, 2)[:, 1].tolist()))) > 4  # groups are drawn one by one


# ---- the parts of a drawn audit ----


@pytest.mark.parametrize("beside", [False, True])
def test_a_drawn_audit_is_that_of_what_was_drawn(beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures from every batch by itself, by ordinary autograd; the first quarter only shows where to look."""
    m, policy, n, quarter = MDPS["tokens"], tabular(MDPS["tokens"]), 256, 64
    loss: Loss = named.grpo()
    if beside:  # a term outside the batch
        demonstrations = rollout(tabular(m, 5), m, 7, generator=seeded())
        loss = supervised.WithDemonstrations(loss, policy, demonstrations, weight=0.4)
    kept, asked = [], []

    def playing(*args: Any, **options: Any) -> Episodes:
        kept.append(rollout(*args, **options))
        return kept[-1]

    def rare(*args: Any) -> NDArray[np.bool_]:
        asked.append(args)
        return np.zeros(10, bool)

    monkeypatch.setattr(sampling, "rollout", playing)
    monkeypatch.setattr(sampling, "rare", rare)
    found = audit(loss, policy, m, group_size=2, groups=2, samples=n, seed=3)
    batches = [x.rows(slice(k, k + 4)) for x in kept for k in range(0, len(x), 4)]
    g = torch.stack([-flat_gradient(policy, loss(Batch.of(policy, x))) for x in batches])
    assert len(g) == n
    torch.testing.assert_close(found.expected, g.mean(0), rtol=1e-10, atol=1e-14)
    assert found.covariance_trace == pytest.approx(float(g.var(0).sum()), rel=1e-9)
    assert len(kept) == 8  # the same four pieces again
    U = sampling._directions(found.exact, g[:quarter].mean(0), seed=3)
    along = (g[quarter:] @ U).numpy()
    assert found.magnitude == pytest.approx(np.abs(along).max(), rel=1e-9)
    assert found.sample == pytest.approx(sampling._judged(along, found.norm, np.zeros(10, bool)), rel=1e-6)
    ((*who, directions, episodes),) = asked
    assert who == [policy, policy, m]
    assert directions.shape == (m.admissible.size, 10)
    assert episodes == 4 * (n - quarter)
    assert found.vectorised


def test_drawn_batches_where_the_gradient_vanishes() -> None:
    """Every completion is paid 1: there is no scale, and what moves is wrong. Seed 0."""
    m = envs.TokenMDP(2, 2, lambda *_: 1.0).finite()
    right = audit(ReinforceLoss(), tabular(m), m, samples=400)
    assert (right.vanishes, right.verdict) == (True, "consistent")
    assert right.sample is not None
    assert math.isnan(right.sample.scale_error)
    assert right.sample.p_scale == 1.0
    assert audit(
        lambda batch: batch.log_probs[:, 0].sum() * batch.actions[0, 0], tabular(m), m, samples=400
    ).verdict == ("biased")


def test_the_fewest_batches_are_64_and_their_bars_tell_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 of them first."""
    told: list[Any] = []

    @contextmanager
    def watched(*what: Any) -> Iterator[Any]:
        told.append(what)
        yield told.append

    monkeypatch.setattr(sampling, "watched", watched)
    m = MDPS["tokens"]
    with pytest.raises(ValueError, match=r"^samples must be at least 64, not 63$"):
        audit(named.rloo(), tabular(m), m, group_size=2, samples=63)
    _ = audit(named.rloo(), tabular(m), m, group_size=2, samples=64).covariance_trace
    assert told == [("auditing", 64, "batches"), 16, 48, ("its variance", 64, "batches"), 16, 48]
    with pytest.raises(TypeError):
        audit(named.rloo(), tabular(m), m, samples=64.0)  # type: ignore[arg-type]


def test_directions_that_a_mean_gradient_is_judged_along() -> None:
    """The true one, then orthogonal to it the rest of the pilot's mean and eight random ones; all of length 1."""
    random = np.random.default_rng(0)
    exact, pilot = (torch.as_tensor(random.normal(size=6)) for _ in range(2))
    U = sampling._directions(exact, pilot, 1)
    assert U.shape == (6, 10)
    torch.testing.assert_close(U[:, 0], exact / exact.norm())
    torch.testing.assert_close(U.norm(dim=0), torch.ones(10).double())
    torch.testing.assert_close(U[:, 0] @ U[:, 1:], torch.zeros(9).double(), atol=1e-14, rtol=0)
    rest = pilot - exact * (exact @ pilot) / exact.square().sum()
    torch.testing.assert_close(U[:, 1], rest / rest.norm())
    assert torch.equal(U, sampling._directions(exact, pilot, 1))
    other = sampling._directions(exact, 1e-3 * pilot, 2)
    torch.testing.assert_close(U[:, :2], other[:, :2])
    assert (U[:, 2:] - other[:, 2:]).abs().max() > 0.1
    assert not sampling._directions(exact, -3 * exact, 1)[:, 1].any()  # nothing beside it
    nowhere = sampling._directions(torch.zeros(6).double(), pilot, 1)
    assert nowhere.shape == (6, 9)
    torch.testing.assert_close(nowhere[:, 0], pilot / pilot.norm())


def skewed(columns: int, n: int = 4_000) -> NDArray[np.float64]:
    """Gradients of single batches: mean 0, skewness 2, excess kurtosis 6."""
    return np.random.default_rng(1).exponential(size=(n, columns)) - 1.0


@pytest.mark.parametrize("norm", [0.0, 0.5])
def test_odds_of_a_mean_gradient(norm: float) -> None:
    """By scipy's mean, standard error, skewness and kurtosis; the least of several counts as often as there are."""
    along, fine = skewed(4), np.zeros(4, bool)
    along[:, 0] += norm
    z = along.mean(0) - [norm, 0, 0, 0]
    z /= stats.sem(along)
    shape = Shape(stats.skew(along) / math.sqrt(len(along)), stats.kurtosis(along) / len(along))
    p = two_sided_tail(z, shape)
    found = sampling._judged(along, norm, fine)
    rest = p[1:] if norm else p
    assert found.p_direction == pytest.approx(min(1.0, len(rest) * rest.min()), rel=1e-9)
    assert found.p_scale == (pytest.approx(p[0], rel=1e-9) if norm else 1.0)
    assert found.scale_error == pytest.approx(stats.sem(along[:, 0]) / norm if norm else math.nan, nan_ok=True)
    assert found.false_alarm == 1e-4
    beside = sampling._judged(along[:, :2], norm, fine[:2]) if norm else sampling._judged(along[:, :1], norm, fine[:1])
    assert beside.p_direction == pytest.approx(p[1] if norm else p[0], rel=1e-9)  # one alone
    rare = sampling._judged(along, norm, ~fine)  # none of them can be judged
    assert rare[1:3] == (1.0, 1.0)
    assert rare.scale_error == pytest.approx(math.inf if norm else math.nan, nan_ok=True)


def p_direction(along: NDArray[np.float64], *rare: bool) -> float:
    return sampling._judged(along, 0.0, np.array(rare)).p_direction


def test_a_direction_that_cannot_be_judged_is_left_out() -> None:
    """By `rare`, by its skewness, by its kurtosis, or since nothing ever moved along it."""
    along = 0.1 + skewed(2)  # 6 standard errors from 0
    alone = pytest.approx(p_direction(along[:, :1], False), rel=1e-6)
    assert p_direction(along[:, :1], False) < 1e-6
    assert p_direction(along, False, True) == alone
    assert p_direction(np.concatenate([along[:, :1], np.zeros((len(along), 1))], 1), False, False) == alone
    assert p_direction(0.5 + along[:100], False, False) == 1.0  # skewness 2 / sqrt 100
    heavy = np.random.default_rng(0).normal(size=(4_000, 1)) + 9.0
    heavy[:2] += [[80.0], [-80.0]]  # as likely to either side, but far
    assert p_direction(heavy, False) == 1.0
    constant = np.full((100, 1), 0.5)
    assert p_direction(constant, False) == 0.0  # the same each time: surely not 0
    assert sampling._judged(constant, 0.5, np.zeros(1, bool)) == (0.0, 1.0, 1.0, sampling.FALSE_ALARM)


def test_means_that_are_too_far_from_normal() -> None:
    """Skewness of either sign, or excess kurtosis, beyond .1; what is no number is no law."""
    skewness = np.array([0.1, 0.11, -0.11, 0.0, 0.0, np.nan, 0.0])
    kurtosis = np.array([0.1, 0.0, 0.0, 0.11, -0.5, 0.0, np.nan])
    assert _far(Shape(skewness, kurtosis)).tolist() == [False, True, True, True, False, True, True]


@pytest.mark.parametrize("stay", [0.5, 0.55, 0.6, 0.9])
def test_the_moments_of_a_sequence_weight_that_goes_on(stay: float) -> None:
    """Stay with probability b = 1/2, or end: E w^k = g_k / (1 - s_k) with s_k = b (pi / b)^k, inf where s_4 >= 1."""
    mdp = FiniteMDP.from_outcomes({("s", "stay"): [(1.0, "s", 0.0)], ("s", "go"): [(1.0, "e", 1.0)]}, gamma=0.9)
    b, policy = (SoftmaxPolicy(TabularPreferences(mdp)).double() for _ in range(2))
    with torch.no_grad():
        next(policy.parameters())[0, 0] = math.log(stay / (1 - stay))
    found = weights(b, policy, mdp)
    if stay >= 0.6:
        assert [*found] == [math.inf, math.inf]
        assert rare(b, policy, mdp, np.eye(4)[:, :1], 10**12).all()
        return
    m1, m2, m3, m4 = ((0.5 * (2 - 2 * stay) ** k) / (1 - 0.5 * (2 * stay) ** k) for k in (1, 2, 3, 4))
    assert m1 == pytest.approx(1.0)
    if stay == 0.5:
        assert [*found] == [0.0, 0.0]
        return
    variance = m2 - 1
    assert float(found.skewness) == pytest.approx((m3 - 3 * m2 + 2) / variance**1.5, rel=1e-9)
    assert float(found.kurtosis) == pytest.approx((m4 - 4 * m3 + 6 * m2 - 3) / variance**2 - 3, rel=1e-9)
    n = (float(found.skewness) / 0.1) ** 2  # of so many episodes the mean has skewness .1
    U = np.array([[1.0], [-1.0], [0.0], [0.0]]) / 2
    assert rare(b, policy, mdp, U, int(0.9 * n)).all()
    assert not rare(b, policy, mdp, U, int(1.1 * n)).any()
    assert not rare(b, b, mdp, U, int(1.1 * n)).any()
    assert rare(b, b, mdp, U, 10).all()


# ---- the catalogue ----


def test_what_the_catalogue_is_made_with() -> None:
    """The figures that no verdict tells: the policy that plays, the length, the demonstrations, each weight."""
    m = MDPS["tokens"]
    policy, other, reference = (tabular(m, seed) for seed in range(3))
    cases = {x.name: x for x in catalogue.catalogue(policy, m, other=other, reference=reference, length=5)}
    stale = [x for x in cases.values() if x.behaviour is not None]
    assert [x.name for x in stale] == [
        "stale, no weights", "stale, token weights", "stale, sequence weights", "SFT on demonstrations",
    ]  # fmt: skip
    assert all(x.behaviour is other for x in stale)
    assert {x.name for x in cases.values() if x.reference is reference} == {
        x.name for x in cases.values() if x.claims == "J - 0.1 KL"
    }
    assert audit(cases["Dr. GRPO"].loss, policy, m, group_size=2).scale == pytest.approx(1 / 2 / 5)
    v = torch.as_tensor(evaluate(m, policy.matrix(m).detach().numpy()).v)
    J = exact_objective(other, m).item()
    demonstrations = rollout(other, m, 20, generator=seeded())
    batch = Batch.of(policy, rollout(policy, m, 30, group_size=2, generator=seeded(1)), reference=reference)
    same: dict[str, Loss] = {
        "GAE .5, v = v_pi": PolicyLoss(discounted(GAE(v.numpy(), 0.5))), "REINFORCE, b = v_pi": named.reinforce(v),
        "GAE 1, v = 0": PolicyLoss(discounted(GAE(0.0, 1.0))), "PPO, v = v_pi": named.ppo(v.numpy()),
        "ReST, G_0 >= threshold": supervised.rest(J), "stale, token weights": named.off_policy_reinforce("token"),
        "ReST + demonstrations": supervised.WithDemonstrations(supervised.rest(J), policy, demonstrations),
        "RLOO, k1 in reward": named.rloo(0.1), "k1 in loss": PolicyLoss(whole_return, kl=KL(0.1, "k1")),
        "k2 in loss": PolicyLoss(whole_return, kl=KL(0.1, "k2")),
        "k3 with ratio in loss": PolicyLoss(whole_return, kl=KL(0.1, "k3", with_ratio=True)),
        "entropy in loss": PolicyLoss(whole_return, entropy=0.1),
    }  # fmt: skip
    for name, loss in same.items():
        assert cases[name].loss(batch).item() == pytest.approx(loss(batch).item(), rel=1e-12), name
    claims = {x.claims: x.objective for x in cases.values()}
    for claim, value in {
        "J - 0.1 KL": regularised_objective(policy, m, kl=0.1, reference=reference),
        "J + 0.1 H": regularised_objective(policy, m, entropy=0.1),
        "log-likelihood": likelihood(policy, m, demonstrator=other),
    }.items():
        objective = claims.pop(claim)
        assert objective is not None
        assert objective(policy, m).item() == value.item()
    assert claims == {"J": None}


@pytest.mark.parametrize("samples", [None, 100])
def test_a_case_is_audited_against_its_claim_and_against_j(
    samples: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed batches once, drawn ones for each; everything that was asked for is handed on."""
    m = MDPS["tokens"]
    policy, other = tabular(m), tabular(m, 1)
    spy = Mock(wraps=audit)
    monkeypatch.setattr(catalogue, "audit", spy)
    claim = partial(regularised_objective, kl=0.1, reference=other)
    shape = {"group_size": 2, "groups": 1, "samples": samples, "seed": 7}
    case = catalogue.Case("mine", named.rloo(0.1), "J - 0.1 KL", claim, behaviour=policy, reference=other)
    found = catalogue.audited(case, policy, m, **shape)  # type: ignore[arg-type]
    handed = shape | {"name": "mine", "behaviour": policy, "reference": other}
    assert [call.args for call in spy.call_args_list] == [(case.loss, policy, m)] * (1 if samples is None else 2)
    assert [call.kwargs for call in spy.call_args_list] == [handed | {"objective": claim}, handed][: spy.call_count]
    assert found.case is case
    torch.testing.assert_close(found.of_J.exact, exact_gradient(policy, m))
    assert (found.claimed.exact - found.of_J.exact).norm() > 1e-3
    plain = catalogue.audited(case._replace(objective=None), policy, m, **shape)  # type: ignore[arg-type]
    assert plain.claimed is plain.of_J
