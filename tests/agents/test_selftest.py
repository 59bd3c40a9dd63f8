"""The self-test: all mistakes are rejected, correct losses accepted; and it notices when that is not so."""

from __future__ import annotations

import pytest

from agents import ReinforceLoss, audit
from agents.audits.catalogue import Case
from agents.losses.advantages import discounted, reward_to_go, whitened
from agents.losses.composed import PolicyLoss
from agents.selftest import MISTAKES, Mistake, run, self_test
from agents.selftest.worlds import random_world
from mdp import count_trajectories


def test_no_mistake_passes_and_no_correct_loss_fails() -> None:
    """200 worlds, seeds 0 .. 199: 3,000 audits of correct losses, no false alarm."""
    found = self_test()
    assert [x for x in (*found.mistakes, *found.correct) if not x.passed] == []
    assert len(found.mistakes) >= 20
    assert all(x.worlds == 200 for x in found.correct)
    assert found.passed


def test_it_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A correct loss among the mistakes, a wrong factor, and a refusal that does not come."""
    planted = (
        Mistake("no mistake", ReinforceLoss()),
        Mistake("another factor", lambda batch: 2 * ReinforceLoss()(batch), "scaled", 3.0),
        Mistake("not refused", ReinforceLoss(), "refused"),
        MISTAKES[0],
    )
    monkeypatch.setattr(run, "MISTAKES", planted)
    wrong = Case("wrong", PolicyLoss(discounted(whitened(reward_to_go))))
    monkeypatch.setattr(run, "correct", lambda *_: [(wrong, 1.0)])
    calls: list[tuple[int, int]] = []
    found = self_test(worlds=3, progress=lambda done, total: calls.append((done, total)))
    assert [x.right for x in found.mistakes] == [0, 0, 0, 10]
    assert [(x.right, x.first_wrong) for x in found.correct] == [(0, 0)]
    assert not found.passed
    assert calls[-1] == (43, 43)


@pytest.mark.parametrize("seed", range(12))
def test_worlds_are_small_and_various(seed: int) -> None:
    world = random_world(seed)
    pi = world.policy.matrix(world.mdp).detach().numpy()
    assert 5 <= count_trajectories(world.mdp, pi) <= 500
    assert (world.mdp.gamma == 1) == (seed % 4 == 0)
    assert (len(set(world.mdp.observations.tolist())) == world.mdp.n_states - 1) == bool(seed % 2)
    assert audit(ReinforceLoss(), world.policy, world.mdp).verdict == "exact"
