"""A batch in pieces: whatever the loss, the gradient is that of the batch in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from agents import Batch, LanguageModelPolicy, Reinforce, ReinforceLoss, SoftmaxPolicy, rollout
from agents.cli.language.losses import LOSSES, loss_of
from agents.exact.objective import flat_gradient
from agents.learning import pieces as learning_pieces
from agents.learning.pieces import Pieces, checked, close
from agents.learning.processes import Alone
from agents.losses import PolicyLoss, named
from agents.losses.advantages import leave_one_out, reward_to_go, whitened
from mdp import Episodes
from mdp.sampling.episodes import joined
from tests.agents.models import small_policy, writing
from tests.agents.problems import MDPS, only, seeded, tabular

pytest.importorskip("transformers")
Loss = Callable[[Batch], Tensor]
VOCABULARY, HORIZON = 5, 6
ROUNDING = 1e-12  # relative, of a gradient in float64


def of_users(batch: Batch) -> Tensor:
    """Nonlinear in log pi, and every episode meets every other."""
    whole = batch.log_probs.sum(1)
    return (batch.rewards.sum(1) * whole**2).mean() + torch.logsumexp(whole, 0) * batch.log_probs.exp().sum().sqrt()


CASES: dict[str, Loss] = {
    **{f"{name}, beta {beta}": loss_of(name, HORIZON, beta) for name in LOSSES for beta in (0.0, 0.1)},
    "REINFORCE": ReinforceLoss(baseline=0.5),
    "k3 in the loss": named.grpo(0.1),
    "entropy": PolicyLoss(leave_one_out, entropy=0.1),
    "whitened": PolicyLoss(whitened(reward_to_go)),
    "of users": of_users,
    "entropy alone": lambda batch: (batch.entropies.sum(1) ** 2).mean(),
}


def writer(seed: int = 0, kind: str = "llama", **decoding: Any) -> LanguageModelPolicy:
    """So hot that completions differ."""
    return small_policy(kind, VOCABULARY, seed=seed, **({"temperature": 4.0} | decoding))


def written(policy: LanguageModelPolicy) -> Episodes:
    """Two groups of 4, each from one of the two prompts."""
    return rollout(policy, writing(VOCABULARY, HORIZON).vector_env(8), 8, group_size=4, generator=seeded(2))


@cache
def episodes(seed: int = 0) -> Episodes:
    """Those of the writer with that seed."""
    return written(writer(seed))


def in_one(policy: SoftmaxPolicy, loss: Loss, played: Episodes, reference: SoftmaxPolicy | None) -> Tensor:
    """The gradient, by autograd through the whole batch."""
    return flat_gradient(policy, loss(Batch.of(policy, played, reference=reference)))


def in_pieces(
    policy: SoftmaxPolicy, loss: Loss, played: Episodes, reference: SoftmaxPolicy | None, pieces: int
) -> Tensor:
    policy.zero_grad()
    Pieces(policy, loss, reference=reference, pieces=pieces).backward(played)
    return torch.cat([p.grad.reshape(-1) for p in policy.parameters() if p.grad is not None])


def off(actual: Tensor, expected: Tensor) -> float:
    assert float(expected.norm()) > 1e-3
    return float((actual - expected).norm() / expected.norm())


def test_the_episodes_here_can_tell_a_mistake() -> None:
    """Groups that are cut apart, lengths that differ, rewards that differ."""
    played = episodes()
    assert played.group.tolist() == [0] * 4 + [1] * 4
    assert len(set(played.lengths[:4])) > 1
    assert len(set(played.lengths[4:])) > 1
    assert len(set(played.rewards.sum(1))) > 3
    assert len({tuple(x) for x in played.observations[:, 0].tolist()}) == 2


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_one_piece(case: str) -> None:
    """8 pieces of one episode each, and 3 + 3 + 2."""
    policy, reference = writer(), writer(5)
    expected = in_one(policy, CASES[case], episodes(), reference)
    for pieces in (3, 8):
        assert off(in_pieces(policy, CASES[case], episodes(), reference, pieces), expected) < ROUNDING


@pytest.mark.parametrize("case", ["rloo, beta 0.1", "gspo, beta 0.0", "entropy", "of users"])
@pytest.mark.parametrize("decoding", [{}, {"temperature": 0.7, "top_k": 3}], ids=str)
def test_other_models_and_decodings(case: str, decoding: dict[str, Any]) -> None:
    """GPT-2, which does not go the fast path; episodes are sampled and scored by the same shaped policy."""
    policy, reference = writer(kind="gpt2", **decoding), writer(5, "gpt2")
    played = written(policy)
    expected = in_one(policy, CASES[case], played, reference)
    assert off(in_pieces(policy, CASES[case], played, reference, 8), expected) < ROUNDING


@pytest.mark.parametrize("case", [*(f"{name}, beta 0.1" for name in LOSSES), "entropy", "of users"])
def test_episodes_of_another_policy(case: str) -> None:
    """Behaviour and policy differ, so that ratios are not 1 and clips bite."""
    policy, reference, stale = writer(), writer(5), episodes(9)
    expected = in_one(policy, CASES[case], stale, reference)
    assert off(in_pieces(policy, CASES[case], stale, reference, 8), expected) < ROUNDING


def test_sequence_ratios_of_another_policy() -> None:
    policy, stale, loss = writer(), episodes(9), named.off_policy_reinforce()
    expected = in_one(policy, loss, stale, None)
    assert off(in_pieces(policy, loss, stale, None, 8), expected) < ROUNDING
    unweighted = in_one(policy, named.stale_reinforce(), stale, None)
    assert off(unweighted, expected) > 0.1  # what a table of the behaviour's log-probabilities would give


def test_episodes_without_behaviour_are_scored() -> None:
    policy, reference = writer(), writer(5)
    unknown = replace(episodes(), behaviour_log_probs=None)
    expected = in_one(policy, CASES["rloo, beta 0.1"], unknown, reference)
    assert off(in_pieces(policy, CASES["rloo, beta 0.1"], unknown, reference, 8), expected) < ROUNDING


def test_gradients_are_added() -> None:
    policy, loss = writer(), CASES["rloo, beta 0.0"]
    expected = 2 * in_one(policy, loss, episodes(), None)
    in_pieces(policy, loss, episodes(), None, 3)
    Pieces(policy, loss, pieces=8).backward(episodes())
    twice = torch.cat([p.grad.reshape(-1) for p in policy.parameters() if p.grad is not None])
    assert off(twice, expected) < ROUNDING


# ---- how often the model is asked ----


def counted(policy: SoftmaxPolicy, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The episodes of each call of policy.log_prob or policy.entropies."""
    calls: list[int] = []
    asked = getattr(policy, name)

    def counts(played: Episodes) -> Any:
        calls.append(len(played))
        return asked(played)

    monkeypatch.setattr(policy, name, counts)
    return calls


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_own_episodes_are_scored_once(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece goes through the policy for its gradient, and for nothing else."""
    policy = writer()
    calls = counted(policy, "log_prob", monkeypatch)
    in_pieces(policy, CASES["rloo, beta 0.0"], episodes(), None, pieces)
    assert len(calls) == pieces
    assert sum(calls) == 8


def test_own_samples_need_no_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fast path what was multiplied while sampling is there, for each piece: the layers run for no text."""
    policy = writer()
    played = written(policy)
    fast = policy._fast
    assert fast is not None
    calls: list[int] = []
    layers = fast._layers

    def counts(*arguments: Any, **options: Any) -> Tensor:
        calls.append(1)
        return layers(*arguments, **options)

    monkeypatch.setattr(fast, "_layers", counts)
    expected = in_one(policy, CASES["rloo, beta 0.0"], played, None)
    assert off(in_pieces(policy, CASES["rloo, beta 0.0"], played, None, 4), expected) < ROUNDING
    assert not calls
    in_pieces(policy, CASES["rloo, beta 0.0"], episodes(9), None, 4)
    assert calls


@pytest.mark.parametrize(("seed", "behaviour"), [(9, True), (0, False)])
def test_other_episodes_are_scored_anew(seed: int, behaviour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as numbers, once for the gradient; the first piece's forward pass serves for the second."""
    policy = writer()
    calls = counted(policy, "log_prob", monkeypatch)
    played = episodes(seed) if behaviour else replace(episodes(seed), behaviour_log_probs=None)
    in_pieces(policy, CASES["rloo, beta 0.0"], played, None, 8)
    assert len(calls) == 16


def test_entropies_are_computed_where_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = writer()
    calls = counted(policy, "entropies", monkeypatch)
    in_pieces(policy, CASES["rloo, beta 0.0"], episodes(), None, 8)
    assert not calls
    in_pieces(policy, CASES["entropy"], episodes(), None, 8)
    assert len(calls) == 16


def test_the_reference_is_asked_once_for_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, reference = writer(), writer(5)
    calls = counted(reference, "log_prob", monkeypatch)
    in_pieces(policy, CASES["rloo, beta 0.1"], episodes(), reference, 8)
    assert calls == [1] * 8
    assert all(p.grad is None for p in reference.parameters())


# ---- tables, the agent, and what is refused ----


@pytest.mark.parametrize("m", ["tokens", "grid", "random"])
def test_a_table(m: str) -> None:
    """Episodes of a FiniteMDP, with states that a critic reads and actions that are not admissible."""
    mdp = MDPS[m]
    policy, reference = tabular(mdp), tabular(mdp, 1)
    played = rollout(policy, mdp, 12, group_size=4, generator=seeded())
    critic = torch.linspace(-1, 1, mdp.n_states, dtype=torch.float64).numpy()
    for loss in (CASES["rloo, beta 0.1"], CASES["entropy"], named.ppo(critic, entropy=0.1), named.reinforce(critic)):
        expected = in_one(policy, loss, played, reference)
        for pieces in (5, 12):
            assert off(in_pieces(policy, loss, played, reference, pieces), expected) < ROUNDING


def test_more_pieces_than_episodes() -> None:
    policy = writer()
    expected = in_one(policy, CASES["rloo, beta 0.0"], episodes(), None)
    assert off(in_pieces(policy, CASES["rloo, beta 0.0"], episodes(), None, 100), expected) < ROUNDING


def test_an_update_is_the_same_in_pieces() -> None:
    """Parameters and metrics of the agent, after two updates."""
    found = []
    for pieces in (1, 8):
        policy, reference = writer(), writer(5)
        agent = Reinforce(policy, loss=CASES["rloo, beta 0.1"], reference=reference, pieces=pieces)
        metrics = [agent.update(played) for played in (episodes(), episodes(9))][-1]
        found.append((torch.nn.utils.parameters_to_vector(policy.parameters()).detach(), metrics))
    (one, noted), (many, noted_in_pieces) = found
    torch.testing.assert_close(many, one, rtol=1e-9, atol=1e-12)
    assert noted.keys() == noted_in_pieces.keys()
    assert {"loss", "kl", "entropy", "sampled_return", "gradient_norm"} <= noted.keys()
    for name in noted:
        if not name.endswith("_s"):
            assert noted_in_pieces[name] == pytest.approx(noted[name], rel=1e-9), name


def test_a_loss_without_gradient_moves_nothing() -> None:
    policy = writer()
    _, _, loss, _ = Pieces(policy, lambda batch: batch.rewards.sum(), pieces=8).backward(episodes())
    assert float(loss) == pytest.approx(episodes().rewards.sum())
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


def test_no_pieces_are_refused() -> None:
    for pieces in (0, -1):
        with pytest.raises(ValueError, match=f"pieces must be at least 1, not {pieces}"):
            Reinforce(tabular(MDPS["grid"]), pieces=pieces)


@pytest.mark.parametrize("pieces", [1, 8])
@pytest.mark.parametrize("loss", [lambda b: b.log_probs.sum(1), lambda b: b.log_probs.sum() * float("nan")])
def test_a_loss_that_is_no_finite_scalar_is_refused_before_the_step(loss: Loss, pieces: int) -> None:
    policy = writer()
    before = [p.detach().clone() for p in policy.parameters()]
    with pytest.raises(ValueError, match="must be a finite scalar"):
        Reinforce(policy, loss=loss, pieces=pieces).update(episodes())
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(policy.parameters(), before, strict=True))


@pytest.mark.parametrize("case", ["gspo, beta 0.1", "entropy", "of users", "sequence ratios"])
def test_episodes_of_two_policies(case: str) -> None:
    """The first piece is the policy's own, the rest is not: no piece may vouch for another."""
    policy, reference = writer(), writer(5)
    loss = CASES[case] if case in CASES else named.off_policy_reinforce()
    mixed = joined([episodes(), episodes(9)])
    expected = in_one(policy, loss, mixed, reference)
    assert off(in_pieces(policy, loss, mixed, reference, 4), expected) < ROUNDING


@pytest.mark.parametrize(("options", "forwards"), [({}, 1), ({"pieces": 1}, 1), ({"pieces": 2}, 2), ({"pieces": 4}, 4)])
def test_a_batch_is_scored_whole_unless_pieces_are_asked_for(options: dict[str, Any], forwards: int) -> None:
    """Of episodes that were sampled elsewhere, so that each piece takes a forward pass of its own."""
    policy = writer()
    with mock.patch.object(policy, "log_prob", wraps=policy.log_prob) as scored:
        Reinforce(policy, loss=named.rloo(), **options).update(written(writer()))
    assert min(len(call.args[0]) for call in scored.call_args_list) == 8 // forwards


# ---- what processes are told ----


class Observed(Alone):
    """One process: what it is told of each piece."""

    def __init__(self) -> None:
        self.last: list[bool] = []
        self.modules: list[Any] = []

    def wrapped(self, scores: Any) -> Any:
        self.modules.append(scores)
        return scores

    @contextmanager
    def piece(self, scores: Any, *, last: bool) -> Iterator[None]:
        self.last.append(last)
        self.modules.append(scores)
        yield


@pytest.mark.parametrize(
    ("case", "pieces", "expected"),
    [
        ("rloo, beta 0.0", 1, [True, True]), ("rloo, beta 0.0", 2, [False, False, True]),
        ("rloo, beta 0.0", 3, [False, False, False, True]), ("entropy", 2, [False, False, True]),
    ],
)  # fmt: skip
def test_the_last_piece_is_told(case: str, pieces: int, expected: list[bool]) -> None:
    """After which gradients meet: of the forward pass that shows whose the episodes are, and of each going backward."""
    policy, observed = writer(), Observed()
    found = Pieces(policy, CASES[case], pieces=pieces, processes=observed)
    assert found.scores.policy is policy
    found.backward(episodes())
    assert observed.last == expected
    assert all(x is found.scores for x in observed.modules)


def test_shards_need_one_number_of_pieces() -> None:
    class Sharded(Observed):
        sharded, others = True, 2

        def said(self, x: Any) -> list[Any]:
            return [x, self.others] if isinstance(x, int) and not isinstance(x, bool) else [x]

    policy, among = writer(), Sharded()
    Pieces(policy, CASES["rloo, beta 0.0"], pieces=2, processes=among).backward(episodes())
    says = "the processes have episodes for different numbers of pieces: shards need one number"
    with pytest.raises(ValueError, match=only(says)):
        Pieces(policy, CASES["rloo, beta 0.0"], pieces=3, processes=among).backward(episodes())


def test_what_pieces_give_beside_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All episodes, their batch with a reference, the loss, and the time before going backward."""
    policy, reference = writer(), writer(5)
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(learning_pieces, "perf_counter", lambda: next(clock))
    played, batch, loss, seconds = Pieces(
        policy, CASES["k3 in the loss"], reference=reference, pieces=3
    ).backward(episodes())  # fmt: skip
    expected = Batch.of(policy, episodes(), reference=reference)
    assert played is episodes()
    assert seconds == 2.5
    assert float(loss) == pytest.approx(float(CASES["k3 in the loss"](expected).detach()), rel=1e-12)
    assert not loss.requires_grad
    torch.testing.assert_close(batch.log_probs.detach(), expected.log_probs.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(batch.reference_log_probs, expected.reference_log_probs, rtol=0, atol=1e-12)
    torch.testing.assert_close(batch.entropies.detach(), expected.entropies.detach(), rtol=0, atol=1e-12)
    assert Pieces(policy, CASES["rloo, beta 0.0"]).pieces == 1


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 2e-13), (torch.float32, 1e-4)])
def test_what_counts_as_rounding(dtype: torch.dtype, rounding: float) -> None:
    """1,000 times the eps of the numbers themselves: 2.2e-13 and 1.2e-4."""
    x = torch.zeros(3, 2, dtype=dtype)
    for off, expected in ((0.0, True), (rounding, True), (-rounding, True), (1.3 * rounding, False), (-9.0, False)):
        y = x.clone()
        y[2, 1] = off
        assert close(x, y) == expected
        assert close(y, x) == expected


@pytest.mark.parametrize("number", [[0.0], [[0.0, 1.0]], float("nan"), float("inf")])
def test_a_loss_is_a_finite_scalar(number: Any) -> None:
    loss = torch.tensor(number)
    with pytest.raises(ValueError, match=only(f"the loss must be a finite scalar, not {loss}")):
        checked(loss)
    right = torch.tensor(1.5)
    assert checked(right) is right
