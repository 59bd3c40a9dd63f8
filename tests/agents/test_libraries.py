"""Losses of TRL and torchrl on a language model of which every completion is listed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import envs
from agents import Audit, PolicyLoss, SoftmaxPolicy, audit, exact_objective, regularised_objective
from agents.audits.audit import Objective
from agents.audits.catalogue import Case
from agents.audits.gradients import Loss
from agents.cli.app import app
from agents.losses import Batch, named
from agents.losses.advantages import group_standardised, leave_one_out, penalised
from agents.losses.aggregation import Aggregation, Constant, episode_mean, step_mean
from agents.losses.kl import KL
from agents.losses.ratios import ClippedRatio, WeightedScore, clipped, importance
from mdp import FiniteMDP

pytest.importorskip("transformers")

LENGTH = 3


@cache
def completions() -> FiniteMDP:
    """15 completions of the prompt [0]: at most three of the tokens 0, 1, 2, token 2 ends one."""

    def reward(_: tuple[int, ...], s: tuple[int, ...]) -> float:
        return s.count(1) / 2 + (s[-1] == 2) - 0.2 * len(s)

    return envs.TokenMDP(3, LENGTH, reward, prompts=[(0,)], eos=2).finite()


@cache
def llama(seed: int = 0) -> SoftmaxPolicy:
    from agents.libraries.instance import tiny_llama

    return tiny_llama(seed)


@cache
def trl(name: str) -> Loss:
    pytest.importorskip("trl")
    from agents.libraries.trl import losses

    return losses(LENGTH)[name]


@cache
def torchrl(name: str) -> Loss:
    pytest.importorskip("torchrl")
    from agents.libraries.torchrl import losses

    return losses()[name]


def audited(loss: Loss, *, group_size: int = 2, **given: Any) -> Audit:
    return audit(loss, llama(), completions(), group_size=group_size, reference=llama(1), **given)


def regularised(kl: float, reward: bool = True) -> Objective:
    """J (or 0) less kl times the expected KL to the reference."""

    def objective(policy: SoftmaxPolicy, mdp: FiniteMDP) -> Tensor:
        J = regularised_objective(policy, mdp, kl=kl, reference=llama(1))
        return J if reward else J - exact_objective(policy, mdp)

    return objective


# ---- the model ----


def test_preferences_are_the_logits_after_the_last_token() -> None:
    policy, mdp = llama(), completions()
    live = torch.as_tensor(mdp.observations[~mdp.terminal])
    h = policy.preferences(live)
    model: Any = policy.preferences.model
    for o, row in zip(live, h, strict=True):
        torch.testing.assert_close(model(input_ids=o[o >= 0][None]).logits[0, -1], row, rtol=1e-6, atol=1e-6)
    assert h.dtype == torch.float64
    assert not model.training


def test_every_embedding_learns() -> None:
    policy = llama()
    embedding: Any = policy.preferences.model.get_input_embeddings()  # type: ignore[union-attr, operator]
    h = policy.log_probabilities(torch.tensor([[0, 2, 1, -1]]))
    (gradient,) = torch.autograd.grad(h[0, 0], embedding.weight)
    assert (gradient.abs().sum(1) > 0).all()


def test_the_model_has_a_variance() -> None:
    """What needs derivatives in forward mode."""
    assert audited(named.rloo()).covariance_trace > 0


def test_the_model_is_always_the_same() -> None:
    from agents.libraries.instance import tiny_llama

    assert all(torch.equal(*pair) for pair in zip(tiny_llama().parameters(), llama().parameters(), strict=True))


# ---- TRL ----


TRL: dict[str, dict[str, Any]] = {
    "trl rloo": {"beta": 0.0},
    "trl rloo, beta .05": {},
    "trl grpo": {"loss_type": "grpo"},
    "trl dr_grpo, no std": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "trl dr_grpo, group std": {"loss_type": "dr_grpo"},
    "trl dapo": {"loss_type": "dapo"},
    "trl bnpo": {"loss_type": "bnpo"},
    "trl cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "trl gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    "trl luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    "trl sapo": {"loss_type": "sapo"},
    "trl vespo": {"loss_type": "vespo"},
    "trl KL term": {"loss_type": "dr_grpo", "beta": 1.0, "use_bias_correction_kl": False},
    "trl KL term, corrected": {"loss_type": "dr_grpo", "beta": 1.0, "use_bias_correction_kl": True},
}


def test_trl_has_its_own_defaults_but_for_what_a_name_says() -> None:
    pytest.importorskip("trl")
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    from agents.libraries.trl import losses

    found: Any = losses(LENGTH)
    assert list(found) == list(TRL)
    for name, given in TRL.items():
        config, trainer = found[name].trainer.args, found[name].trainer
        kind = RLOOConfig if "rloo" in name else GRPOConfig
        default = kind(bf16=False, **({} if "rloo" in name else {"max_completion_length": LENGTH}))
        for field in ("loss_type", "beta", "epsilon", "epsilon_high", "scale_rewards", "importance_sampling_level",
                      "use_bias_correction_kl", "max_completion_length", "bf16"):  # fmt: skip
            assert getattr(config, field, None) == given.get(field, getattr(default, field, None)), (name, field)
        assert type(config) is kind
        assert type(trainer) is (RLOOTrainer if "rloo" in name else GRPOTrainer)
        assert trainer.epsilon_low == config.epsilon
        assert trainer.epsilon_high == given.get("epsilon_high", config.epsilon)


def test_what_the_losses_of_trl_claim() -> None:
    pytest.importorskip("trl")
    from agents.libraries.trl import cases

    claims = {"trl rloo, beta .05": ("J - 0.05 KL", regularised(0.05)),
              "trl KL term": ("- KL", regularised(1.0, reward=False)),
              "trl KL term, corrected": ("- KL", regularised(1.0, reward=False))}  # fmt: skip
    check_claims(cases(LENGTH, llama(1)), list(TRL), claims)


def test_what_the_losses_of_torchrl_claim() -> None:
    pytest.importorskip("torchrl")
    from agents.libraries.torchrl import cases

    names = ["grpo", "grpo + entropy", "grpo, prompt mean", "dapo", "cispo", "KL term"]
    claims: dict[str, tuple[str, Objective]]
    claims = {"torchrl grpo + entropy": ("J + 0.01 H", partial(regularised_objective, entropy=0.01)),
              "torchrl KL term": ("- KL", regularised(1.0, reward=False))}  # fmt: skip
    check_claims(cases(LENGTH, llama(1)), [f"torchrl {name}" for name in names], claims)


def check_claims(cases: list[Case], names: list[str], claims: dict[str, tuple[str, Objective]]) -> None:
    """J, but for `claims`: a name, and an objective of this value."""
    assert [case.name for case in cases] == names
    for case in cases:
        assert case.reference is llama(1)
        assert case.behaviour is None
        if case.name not in claims:
            assert (case.claims, case.objective) == ("J", None)
            continue
        claim, objective = claims[case.name]
        assert (case.claims, case.objective is None) == (claim, False)
        value = case.objective(llama(), completions())  # type: ignore[misc]
        torch.testing.assert_close(value, objective(llama(), completions()), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "cosine"),
    [
        ("trl rloo", 1.0),
        ("trl dr_grpo, no std", 1.0),
        ("trl dr_grpo, group std", 0.9947),
        ("trl grpo", 0.9976),
        ("trl dapo", 0.9913),
    ],
)
def test_what_trl_does_to_the_gradient(name: str, cosine: float) -> None:
    found = audited(trl(name))
    assert found.cosine == pytest.approx(cosine, abs=5e-5 if cosine < 1 else 1e-6)
    assert found.verdict == {"trl rloo": "exact", "trl dr_grpo, no std": "scaled"}.get(name, "biased")


@pytest.mark.parametrize("group_size", [2, 3])
def test_dr_grpo_without_std_is_scaled(group_size: int) -> None:
    found = audited(trl("trl dr_grpo, no std"), group_size=group_size)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx((group_size - 1) / group_size / LENGTH, rel=1e-6)


@pytest.mark.parametrize(("name", "cosine"), [("trl KL term, corrected", 0.6966), ("trl KL term", 0.6364)])
def test_the_kl_term_of_trl_is_not_the_gradient_of_the_kl(name: str, cosine: float) -> None:
    """The truth: grad of -E[sum over t of KL(pi || reference)(S_t)], in which the visits count too."""
    found = audited(trl(name), objective=regularised(1.0, reward=False))
    assert found.cosine == pytest.approx(cosine, abs=5e-5)
    assert found.verdict == "biased"


def test_the_kl_inside_the_reward_of_trl_is_exact() -> None:
    assert audited(trl("trl rloo, beta .05"), objective=regularised(0.05)).verdict == "exact"


# ---- beside our own ----


def kl_alone(with_ratio: bool = False, aggregation: Aggregation | None = None) -> PolicyLoss:
    def nothing(batch: Batch) -> Tensor:
        return torch.zeros_like(batch.rewards)

    return PolicyLoss(nothing, aggregation=aggregation or Constant(LENGTH), kl=KL(1.0, "k3", with_ratio))


def over_padding(x: Tensor, batch: Batch, denominator: float | None = None) -> Tensor:
    """The sum over steps, divided by the size of the batch up to its longest completion."""
    return x.sum() / (len(batch.lengths) * batch.lengths.max() if denominator is None else denominator)


def by_std(batch: Batch) -> Tensor:
    """torchrl has no eps: a std of 0 becomes 1e-6, which is the same for advantages of 0."""
    return group_standardised(batch, eps=1e-9)


def penalised_as_played(batch: Batch) -> Tensor:
    """The KL of the policy that played inside the reward: on policy, that of the policy."""
    assert batch.behaviour_log_probs is not None
    return penalised(leave_one_out, 0.05)(replace(batch, log_probs=batch.behaviour_log_probs))


def clipped_weight(batch: Batch, A: Tensor) -> Tensor:
    """clip(w) A: no gradient where w is clipped."""
    return clipped(importance(batch, "token"), 0.2, 0.2) * A


CLIPPED = ClippedRatio("token", 0.2, 0.2)
WHOLE = ClippedRatio("sequence", 0.2, 0.2)  # with episode_mean: once for each episode
OURS: dict[str, Loss] = {
    "trl rloo": PolicyLoss(leave_one_out, WHOLE, episode_mean),
    "trl rloo, beta .05": PolicyLoss(penalised_as_played, WHOLE, episode_mean),
    "trl grpo": named.grpo(),
    "trl dr_grpo, no std": named.dr_grpo(LENGTH),
    "trl dr_grpo, group std": replace(named.dr_grpo(LENGTH), advantage=group_standardised),
    "trl dapo": named.dapo(high=0.2),
    "trl bnpo": named.bnpo(),
    "trl cispo": named.cispo(high=4.0),
    "trl gspo": named.gspo(),
    "trl KL term": kl_alone(),
    "trl KL term, corrected": kl_alone(with_ratio=True),
    "torchrl grpo": PolicyLoss(by_std, CLIPPED, step_mean),
    "torchrl grpo + entropy": PolicyLoss(by_std, CLIPPED, step_mean, entropy=0.01),
    "torchrl grpo, prompt mean": PolicyLoss(by_std, CLIPPED, episode_mean),
    "torchrl dapo": replace(named.dapo(), advantage=by_std),
    "torchrl cispo": PolicyLoss(by_std, clipped_weight, step_mean),
    "torchrl KL term": kl_alone(aggregation=over_padding),
}


def theirs(name: str) -> Loss:
    return torchrl(name) if name.startswith("torchrl") else trl(name)


def difference(a: Loss, b: Loss, **given: Any) -> float:
    """Of the expected gradients, relative to b's."""
    x, y = (audited(loss, **given).expected for loss in (a, b))
    return float((x - y).norm() / y.norm())


@pytest.mark.parametrize("behaviour", [0, 2])
@pytest.mark.parametrize("name", OURS)
def test_expected_gradients_are_those_of_our_losses(name: str, behaviour: int) -> None:
    """On policy (0), and on the episodes of another policy, where ratios are clipped."""
    assert difference(theirs(name), OURS[name], behaviour=llama(behaviour)) <= 1e-6


@pytest.mark.parametrize("name", ["trl rloo", "trl grpo", "torchrl grpo", "torchrl cispo"])
def test_groups_are_kept_apart(name: str) -> None:
    draw = {"groups": 2, "samples": 64}
    assert difference(theirs(name), OURS[name], **draw) <= 1e-6


@pytest.mark.parametrize(
    ("name", "other"), [("sapo", "grpo"), ("gspo", "grpo"), ("vespo", "dapo"), ("cispo", "dapo"), ("bnpo", "dapo")]
)
def test_on_policy_these_are_one(name: str, other: str) -> None:
    assert difference(trl(f"trl {name}"), trl(f"trl {other}")) <= 1e-6


def test_cispo_of_torchrl_is_cispo_on_policy_only() -> None:
    """Its clipped tokens have no gradient; in CISPO they keep it."""
    cispo = PolicyLoss(by_std, WeightedScore("token", 0.2, 0.2), step_mean)
    assert difference(torchrl("torchrl cispo"), cispo) <= 1e-6
    assert difference(torchrl("torchrl cispo"), cispo, behaviour=llama(2)) > 0.1


@pytest.mark.parametrize(
    ("library", "expected"),
    [("trl", {"trl rloo": ("exact", 1.0), "trl dr_grpo, no std": ("scaled", 1 / 2 / LENGTH)}), ("torchrl", {})],
)
def test_the_command_line(library: str, expected: dict[str, tuple[str, float]], tmp_path: Path) -> None:
    """dr_grpo divides by the steps that an episode has at most, and leaves each of 2 in a group half its advantage."""
    pytest.importorskip(library)
    result = CliRunner().invoke(app, ["audit", "--library", library, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads((tmp_path / "exactrl-audit.json").read_text())["audits"]}
    assert len(rows) > 3
    assert all(name.startswith(library) for name in rows)
    for name, (verdict, scale) in expected.items():
        assert (rows[name]["verdict"], rows[name]["scale"]) == (verdict, pytest.approx(scale, rel=1e-9))
