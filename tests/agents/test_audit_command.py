"""`exactrl audit`: the problem, the policies and the losses that its options name, and what becomes of each loss."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest
import torch

import envs
from agents.audits.catalogue import Case
from agents.cli import audit as auditing
from agents.cli.problems import starting_policy
from agents.cli.user import user_function, what
from mdp import FiniteMDP, unroll

CORRIDOR = "exactrl/ShortCorridor-v0"


def setting(
    env: str | None = None, gamma: float | None = None, horizon: int | None = None, library: str | None = None
) -> Any:
    return auditing.setting(env, gamma, horizon, 4, 5, 99, 7, library)


@pytest.mark.parametrize(
    ("env", "gamma", "name", "found"),
    [(None, None, "Tokens", 0.9), (None, 1.0, "Tokens", 1.0), (CORRIDOR, None, "ShortCorridor", 1.0),
     (CORRIDOR, 0.5, "ShortCorridor", 0.5), ("FrozenLake-v1", None, "FrozenLake-v1", 0.9)],
)  # fmt: skip
@pytest.mark.parametrize("library", [None, "trl"])
def test_the_problem_of_an_audit(
    env: str | None, gamma: float | None, name: str, found: float, library: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens at gamma .9 by default, for a library's losses a small language model at gamma 1."""
    models = Mock(return_value=list("abc"))
    monkeypatch.setattr(auditing, "_small_language_models", models)
    at = setting(env, gamma, library=library)
    small = library is not None and env is None
    if small:
        name, found = "SmallLlama", gamma or 1.0
        assert (at.policy, at.other, at.reference) == ("a", "b", "c")
    assert models.mock_calls == [call("trl")] * small
    assert at.title == f"{name}, gamma {found:g}; a batch is 5 groups of 4; 99 of them drawn"
    assert at.mdp.gamma == found
    assert at[5:] == (4, 5, 99, 7)


def test_a_time_limit_is_a_part_of_the_problem() -> None:
    at = setting(CORRIDOR, horizon=5)
    assert at.title.startswith("ShortCorridor, gamma 1, 5 steps at most; ")
    assert at.mdp.states == unroll(envs.short_corridor(), 5).states
    assert auditing._longest(at) == 5
    assert auditing._longest(setting(CORRIDOR)) == 100  # it may return to a state
    assert auditing._longest(setting()) == 3


def test_three_tables_one_after_another() -> None:
    """The policy, one that plays or demonstrates, and a reference: drawn by one generator."""
    at = setting(CORRIDOR)
    generator = torch.Generator().manual_seed(7)
    for policy in (at.policy, at.other, at.reference):
        expected = starting_policy(at.mdp, generator)
        assert policy.matrix(at.mdp).equal(expected.matrix(at.mdp))


def test_small_languages_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Mock(return_value=SimpleNamespace(tiny_llama=lambda seed: f"llama {seed}"))
    monkeypatch.setattr(auditing, "_library", library)
    found: Any = auditing._small_language_models("trl")
    assert found == ["llama 0", "llama 2", "llama 1"]
    assert library.mock_calls == [call("instance", "trl")]


def test_the_small_text() -> None:
    """R = (number of 1s) / 2 + 1 if the last token is 2, less 0.2 for each; 2 ends a completion, as the third token."""
    problem = auditing.small_text(0.5)
    assert (problem.name, problem.mdp.gamma, problem.mdp.actions) == ("SmallLlama", 0.5, (0, 1, 2))
    found = {}
    for tokens in product(range(3), repeat=3):
        written: tuple[int, ...] = ()
        for token in tokens:
            ((p, after, reward),) = problem.mdp.outcomes(((0,), written), token)
            written = (*written, token)
            assert p == 1
            if after == "end":
                found[written] = reward
                break
            assert (after, reward) == (((0,), written), 0)
    assert len(found) == 1 + 2 + 4 * 3
    by_hand = {(2,): 0.8, (0, 2): 0.6, (1, 2): 1.1, (1, 1, 1): 0.9, (1, 1, 2): 1.4, (0, 0, 0): -0.6, (0, 1, 0): -0.1}
    assert {x: found[x] for x in by_hand} == pytest.approx(by_hand)


def test_which_losses_are_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    """One's own, a library's, or every named one: each has what it needs."""
    library, catalogue = Mock(), Mock()
    monkeypatch.setattr(auditing, "_library", library)
    monkeypatch.setattr("agents.audits.catalogue.catalogue", catalogue)
    at = setting(CORRIDOR, horizon=5)
    (own,) = auditing.cases(at, "agents.losses.named:reinforce", None)
    assert (own.name, own.claims, own.objective, own.behaviour) == ("agents.losses.named:reinforce", "J", None, None)
    assert own.reference is at.reference
    assert auditing.cases(at, None, "trl") is library.return_value.cases.return_value
    assert library.mock_calls == [call("trl", "trl"), call().cases(5, at.reference)]
    assert auditing.cases(at, None, None) is catalogue.return_value
    assert catalogue.mock_calls == [call(at.policy, at.mdp, other=at.other, reference=at.reference, length=5)]


def test_ones_own_loss_sees_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value is taken as it is; a ValueError or TypeError of its own passes, all else is named."""
    monkeypatch.chdir(tmp_path)
    Path("mine_too.py").write_text("def f(batch):\n    raise batch\n\ndef g(batch):\n    return 2 * batch\n")
    assert auditing.user_loss("mine_too:g")(torch.tensor(21)) == 42
    f: Any = auditing.user_loss("mine_too:f")
    for error in (ValueError("x"), TypeError("y")):
        with pytest.raises(type(error)) as found:
            f(error)
        assert found.value is error
    with pytest.raises(ValueError, match=r"^--loss mine_too:f raised KeyError: 'z' \(mine_too.py, line 2\)$"):
        f(KeyError("z"))


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agents.libraries.torchrl", None)
    with pytest.raises(ValueError, match="needs the extras") as error:
        auditing._library("torchrl", "torchrl")
    assert str(error.value).startswith("--library torchrl needs the extras lm and bench of exactrl: ")
    assert "agents.libraries.torchrl" in str(error.value)
    module = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "agents.libraries.trl", module)
    assert auditing._library("trl", "trl") is module


def test_what_becomes_of_each_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audited with all of the setting, its variance computed at once; or refused, with the reason."""
    read: list[str] = []

    class Claimed:
        def __init__(self, name: str) -> None:
            self.name = name

        @property
        def covariance_trace(self) -> float:
            read.append(self.name)
            if self.name == "late":
                raise ValueError("too late")
            return 1.0

    asked: list[Any] = []

    def audited(case: Case, *args: Any, **options: Any) -> Any:
        asked.append((case.name, args, options))
        if case.name == "early":
            raise ValueError("too early")
        if case.name == "stop":
            raise KeyboardInterrupt
        return SimpleNamespace(claimed=Claimed(case.name))

    monkeypatch.setattr("agents.audits.catalogue.audited", audited)
    at = setting(CORRIDOR)
    a, early, late, stop = (Case(name, lambda batch: batch.rewards) for name in ("a", "early", "late", "stop"))
    found, refused, interrupted = auditing.run(at, [a, early, late])
    assert [x.claimed.name for x in found] == ["a"]  # type: ignore[attr-defined]
    assert (refused, interrupted) == ([("early", "too early"), ("late", "too late")], False)
    assert read == ["a", "late"]
    assert asked[0] == ("a", (at.policy, at.mdp), {"group_size": 4, "groups": 5, "samples": 99, "seed": 7})
    assert [len(x) if isinstance(x, list) else x for x in auditing.run(at, [a, early, stop, a])] == [1, 1, True]
    with pytest.raises(ValueError, match=r"^too late$"):
        auditing.run(at, [late, early])


def test_a_users_function_is_looked_for_here_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/first", *sys.path])
    Path("mine_here.py").write_text("import package_less as f\n\ndef g():\n    return 'x'\n")
    Path("package_less.py").write_text("")
    assert user_function("--reward", "mine_here:g")() == "x"
    assert sys.path[:2] == [str(tmp_path), "/first"]
    with pytest.raises(ValueError, match=r"^'mine_here' has no function 'f' for --reward$"):
        user_function("--reward", "mine_here:f")


def test_where_an_error_comes_from() -> None:
    """The innermost line; an error that was never raised has none."""

    def inner() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError) as found:
        inner()
    line = inner.__code__.co_firstlineno + 1
    assert what(found.value) == f"KeyError: 'x' ({Path(__file__).name}, line {line})"
    assert what(KeyError("x")) == "KeyError: 'x'"


def test_an_mdp_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    FiniteMDP.from_outcomes({("s", "a"): [(1.0, "end", 1.0)]}, gamma=0.5).save(path)
    assert setting(str(path)).title == "mine, gamma 0.5; a batch is 5 groups of 4; 99 of them drawn"
