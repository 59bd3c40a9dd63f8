"""Every planted mistake on some random MDPs, every correct loss on 200."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.audits.audit import audit
from agents.audits.catalogue import Case
from agents.selftest.correct import GROUP, correct
from agents.selftest.mistakes import MISTAKES, Mistake
from agents.selftest.worlds import World, random_world

WORLDS, WORLDS_OF_MISTAKES = 200, 10
PRECISION = 1e-10  # relative: of a scale, and of a correct loss


class Outcome(NamedTuple):
    """A loss on all its worlds: in how many the verdict was what it must be; the first world in which it was not."""

    name: str
    expected: str
    right: int
    worlds: int
    first_wrong: int | None

    @property
    def passed(self) -> bool:
        return self.right == self.worlds


class SelfTest(NamedTuple):
    """Outcomes of the mistakes and of the correct losses."""

    mistakes: list[Outcome]
    correct: list[Outcome]

    @property
    def passed(self) -> bool:
        return all(outcome.passed for outcome in (*self.mistakes, *self.correct))


def self_test(*, worlds: int = WORLDS, progress: Callable[[int, int], None] | None = None) -> SelfTest:
    """All mistakes on 10 random MDPs at gamma < 1, all correct losses on `worlds`. progress(audits done, audits)."""
    seeds = [seed for seed in range(4 * WORLDS_OF_MISTAKES) if seed % 4][:WORLDS_OF_MISTAKES]
    count = len(correct(random_world(0), np.random.default_rng(0)))
    total, done = len(MISTAKES) * len(seeds) + count * worlds, 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    wrong = {mistake.name: [_caught(mistake, random_world(seed), tick) for seed in seeds] for mistake in MISTAKES}
    right: dict[str, list[bool]] = {}
    verdicts: dict[str, str] = {}
    for seed in range(worlds):
        world = random_world(seed)
        for case, scale in correct(world, np.random.default_rng(seed)):
            right.setdefault(case.name, []).append(_accepted(case, scale, world, tick))
            verdicts[case.name] = _named("exact" if scale == 1 else "scaled", scale)
    return SelfTest(
        [_outcome(m.name, _named(m.verdict, m.scale), wrong[m.name], seeds) for m in MISTAKES],
        [_outcome(name, verdicts[name], found, range(worlds)) for name, found in right.items()],
    )


def _caught(mistake: Mistake, world: World, tick: Callable[[], None]) -> bool:
    """The audit says what it must say of this mistake."""
    tick()
    behaviour = None if mistake.plays is None else mistake.plays(world)
    objective = None if mistake.claims is None else mistake.claims(world)
    try:
        found = audit(
            mistake.loss, world.policy, world.mdp, group_size=GROUP, objective=objective, behaviour=behaviour,
            reference=world.reference,
        )  # fmt: skip
    except ValueError:
        return mistake.verdict == "refused"
    scaled = mistake.verdict != "scaled" or abs(found.scale - mistake.scale) <= PRECISION * mistake.scale
    return found.verdict == mistake.verdict and scaled


def _accepted(case: Case, scale: float, world: World, tick: Callable[[], None]) -> bool:
    """The expected gradient is `scale` times the true one, to 1e-10."""
    tick()
    found = audit(
        case.loss, world.policy, world.mdp, group_size=GROUP, objective=case.objective, behaviour=case.behaviour,
        reference=case.reference, tolerance=PRECISION,
    )  # fmt: skip
    if scale == 1:
        return found.verdict == "exact"
    return found.verdict == "scaled" and abs(found.scale - scale) <= PRECISION * scale


def _named(verdict: str, scale: float) -> str:
    return f"scaled by {scale:.3g}" if verdict == "scaled" else verdict


def _outcome(name: str, expected: str, found: list[bool], seeds: range | list[int]) -> Outcome:
    wrong = [seed for seed, fine in zip(seeds, found, strict=True) if not fine]
    return Outcome(name, expected, sum(found), len(found), wrong[0] if wrong else None)
