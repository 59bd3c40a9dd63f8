"""save and load: round trips, and files that are not what they seem."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from envs import ZOO
from mdp import FiniteMDP
from tests.worlds import random_mdp

ENDINGS = pytest.mark.parametrize("ending", ["npz", "json"])


def assert_equal(first: FiniteMDP, second: FiniteMDP) -> None:
    """Bit for bit."""
    assert (first.states, first.actions, first.gamma) == (second.states, second.actions, second.gamma)
    assert [type(s) for s in first.states] == [type(s) for s in second.states]
    for x, y in zip((*first.table, first.start), (*second.table, second.start), strict=True):
        assert np.array_equal(x, y)
    assert np.array_equal(first.observations, second.observations)
    assert first.observations.dtype == second.observations.dtype


@ENDINGS
@pytest.mark.parametrize("name", ZOO)
def test_round_trip_of_the_zoo(tmp_path: Path, name: str, ending: str) -> None:
    m = ZOO[name].make()
    m.save(tmp_path / f"m.{ending}")
    assert_equal(FiniteMDP.load(tmp_path / f"m.{ending}"), m)
    assert [x.name for x in tmp_path.iterdir()] == [f"m.{ending}"]


@ENDINGS
@pytest.mark.parametrize("seed", range(3))
def test_round_trip_of_random_numbers(tmp_path: Path, seed: int, ending: str) -> None:
    m = random_mdp(seed, gamma=1 / 3)
    m.save(str(tmp_path / f"m.{ending}"))
    assert_equal(FiniteMDP.load(str(tmp_path / f"m.{ending}")), m)


LOOP = np.array([[[0.5, 0.5]], [[0, 1]]])
BUILT: dict[str, Callable[[], FiniteMDP]] = {
    "outcomes": lambda: FiniteMDP.from_outcomes({("s", "a"): [(0.1, "s", 1), (0.9, "e", 1 / 3)]}, gamma=0.9),
    "arrays": lambda: FiniteMDP.from_arrays(LOOP, [-1, 0], gamma=1),
    "sparse arrays": lambda: FiniteMDP.from_arrays([sparse.csr_array(LOOP[:, 0])], [-1, 0], gamma=1),
    "pairs": lambda: FiniteMDP.from_pairs(LOOP[:, 0], [-1, 0], [0, 1], [0, 0], gamma=1, observations=[[0.5], [1.5]]),
    "function": lambda: FiniteMDP.from_function(None, "a", lambda s, _: [(1, (s[0] + 1, "x"), 1)] if s[0] < 3 else (),
                                                gamma=1, start={(0, "x"): 1.0}),
    "Gymnasium": lambda: FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=0.9),
    "simulator": lambda: FiniteMDP.from_simulator("FrozenLake-v1", gamma=0.9, is_slippery=False),
}  # fmt: skip


@ENDINGS
@pytest.mark.parametrize("name", BUILT)
def test_round_trip_of_every_builder(tmp_path: Path, name: str, ending: str) -> None:
    m = BUILT[name]()
    m.save(tmp_path / f"m.{ending}")
    assert_equal(FiniteMDP.load(tmp_path / f"m.{ending}"), m)


@ENDINGS
def test_labels(tmp_path: Path, ending: str) -> None:
    labels: list[Any] = [None, True, 7, 2.5, "ü\n", (), (1, (2, "x"), None)]
    m = FiniteMDP.from_outcomes({(s, "go"): [(1, after, 0)] for s, after in pairwise(labels)}, gamma=0)
    m.save(tmp_path / f"m.{ending}")
    assert_equal(FiniteMDP.load(tmp_path / f"m.{ending}"), m)


@ENDINGS
def test_a_label_that_cannot_be_written(tmp_path: Path, ending: str) -> None:
    m = FiniteMDP.from_outcomes({(frozenset({1}), 0): [(1, "end", 0)]}, gamma=0)
    with pytest.raises(ValueError, match=r"the label frozenset\(\{1\}\) cannot be written"):
        m.save(tmp_path / f"m.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_other_endings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'m\.pkl': a FiniteMDP is kept in a \.npz or \.json file"):
        random_mdp(0).save(tmp_path / "m.pkl")
    with pytest.raises(ValueError, match=r"'m\.pkl'"):
        FiniteMDP.load(tmp_path / "m.pkl")


@ENDINGS
def test_a_missing_file(tmp_path: Path, ending: str) -> None:
    with pytest.raises(ValueError, match=rf"there is no file .*m\.{ending}"):
        FiniteMDP.load(tmp_path / f"m.{ending}")


@ENDINGS
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"hello", b"PK\x03\x04", b"[" * 100_000, b"\xff\xfe"])
def test_foreign_files(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"m.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"m\.{ending} is not a FiniteMDP that `save` wrote"):
        FiniteMDP.load(path)


def test_foreign_archives(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"m\.npz is not a FiniteMDP"):
        FiniteMDP.load(path)
    np.savez(path, head=np.array({"a": 1}, dtype=object))  # a pickle
    with pytest.raises(ValueError, match=r"m\.npz is not a FiniteMDP"):
        FiniteMDP.load(path)


@ENDINGS
def test_every_cut(tmp_path: Path, ending: str) -> None:
    """A file that was cut off anywhere is refused."""
    path = tmp_path / f"m.{ending}"
    random_mdp(0).save(path)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 41):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is not a FiniteMDP"):
            FiniteMDP.load(path)


@ENDINGS
def test_every_flipped_byte(tmp_path: Path, ending: str) -> None:
    """A changed byte is refused or leaves an MDP; nothing else is raised."""
    path = tmp_path / f"m.{ending}"
    random_mdp(0, states=2).save(path)
    whole = bytearray(path.read_bytes())
    refusals = []
    for k in range(0, len(whole), 7):
        changed = whole.copy()
        changed[k] ^= 0x15
        path.write_bytes(changed)
        try:
            FiniteMDP.load(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert all(f"m.{ending}" in message for message in refusals)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", "exactrl.FiniteMDP/9", "its format is not 'exactrl.FiniteMDP/1'"),
        ("gamma", 2, r"gamma must lie in \[0, 1\], not 2"),
        ("gamma", "1", "gamma must be a number"),
        ("p", [1.0], r"line 6: 'state' has \d+ entries, 'p' has 1: one for each outcome"),
        ("state", [0.5], r"line 6: entry 0 of 'state' is 0\.5; it must be an integer in 0 \.\. 3"),
        ("state", [0, True], r"line 6: entry 1 of 'state' is True; it must be an integer in 0 \.\. 3"),
        ("next", [3, 0, 99], r"line 8: entry 2 of 'next' is 99; it must be an integer in 0 \.\. 3"),
        ("next", [10**30], r"line 8: entry 0 of 'next' is 10+; it must be an integer in 0 \.\. 3"),
        ("action", [0, -1], r"line 7: entry 1 of 'action' is -1; it must be an integer in 0 \.\. 2"),
        ("action", [[0]], r"line 7: entry 0 of 'action' is \[0\]; it must be an integer"),
        ("reward", [0, 1, "much"], "line 9: entry 2 of 'reward' is 'much'; it must be a finite number"),
        ("reward", [0, None], "line 9: entry 1 of 'reward' is None; it must be a finite number"),
        ("reward", [0, float("inf")], "line 9: entry 1 of 'reward' is inf; it must be a finite number"),
        ("reward", [10**400], r"line 9: entry 0 of 'reward' is 1[0.]+; it must be a finite number"),
        ("p", [1, -0.5], r"line 10: entry 1 of 'p' is -0\.5; it must be a finite number >= 0"),
        ("start", [0.5, "x"], "line 11: entry 1 of 'start' is 'x'; it must be a finite number >= 0"),
        ("start", [1.0], r"start has shape \(1,\)"),
        ("start", None, "line 11: 'start' is None; it must be a list, each entry a finite number >= 0"),
        ("observations", None, "line 12: observations must be an array"),
        ("states", ["x"] * 4, "the state label 'x' stands twice"),
        ("states", "abcd", "line 4: 'states' is 'abcd', which is no list of labels"),
        ("states", ["x", [1, {}]], r"line 4: entry 1 of 'states' is \[1, {}\], which is no label"),
        ("observations", ["x"] * 4, "line 12: observations must be an array of finite numbers"),
        ("p", None, "line 10: 'p' is None; it must be a list"),
    ],
)
def test_damaged_fields(tmp_path: Path, field: str, value: Any, message: str) -> None:
    path = tmp_path / "m.json"
    random_mdp(0, states=2).save(path)
    lines = path.read_text().splitlines(keepends=True)
    k = next(k for k, line in enumerate(lines) if line.startswith(f'"{field}"'))
    lines[k] = f'"{field}": {json.dumps(value)},\n'
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=f"is not a FiniteMDP that `save` wrote: .*{message}"):
        FiniteMDP.load(path)


def test_a_line_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    random_mdp(0).save(path)
    path.write_text(path.read_text().replace('"next": [', '"next": [,'))
    with pytest.raises(ValueError, match=r"m\.json is not .*: Expecting value: line 8 column 10"):
        FiniteMDP.load(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("next", np.array([0, 99]), r"entry 1 of 'next' is 99; it must be an integer in 0 \.\. 3"),
        ("next", np.array([0.0, 1.0]), r"entry 0 of 'next' is 0\.0; it must be an integer in 0 \.\. 3"),
        ("p", np.array([[1.0]]), r"entry 0 of 'p' is \[1\.0\]; it must be a finite number >= 0"),
        ("reward", np.array([0.0, np.nan]), "entry 1 of 'reward' is nan; it must be a finite number"),
        ("start", np.array(1.0), r"'start' is 1\.0; it must be a list"),
    ],
)
def test_damaged_arrays(tmp_path: Path, field: str, value: Any, message: str) -> None:
    path = tmp_path / "m.npz"
    random_mdp(0, states=2).save(path)
    with np.load(path) as loaded:
        fields = dict(loaded)
    np.savez(path, **(fields | {field: value}))
    with pytest.raises(ValueError, match=rf"m\.npz is not a FiniteMDP that `save` wrote: {message}"):
        FiniteMDP.load(path)


@pytest.mark.parametrize("field", ["states", "gamma", "start", "p", "observations"])
def test_missing_fields(tmp_path: Path, field: str) -> None:
    path = tmp_path / "m.json"
    random_mdp(0).save(path)
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=f"it lacks '{field}'"):
        FiniteMDP.load(path)
