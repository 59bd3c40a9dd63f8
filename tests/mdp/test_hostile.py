"""Files and tables that were made to do harm: refused with words, before any memory is taken for them."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from scipy import sparse

from mdp import FiniteMDP
from mdp.files.archive import ROOM, TIMES
from mdp.files.strict import parsed
from tests.worlds import random_mdp

MB = 1 << 20


def peak(refuse: Callable[[], Any]) -> int:
    """Bytes that were taken on the way."""
    tracemalloc.start()
    try:
        refuse()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def archive(path: Path, **members: bytes) -> None:
    """random_mdp(0), with other members."""
    random_mdp(0).save(path)
    with zipfile.ZipFile(path) as packed:
        content = {name.removesuffix(".npy"): packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in (content | members).items():
            packed.writestr(f"{name}.npy", data)


def array(x: Any, shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """An array that claims a shape and a kind."""
    out = io.BytesIO()
    npy.write_array_header_1_0(out, {"descr": kind, "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(x)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"p": array(b"", (10**12,))}, r"'p' claims to have the shape \(1000000000000,\)"),
        ({"p": array(b"12345678", (-1,))}, r"'p' claims to have the shape \(-1,\)"),
        ({"p": array(bytes(8), (-1, -1))}, r"'p' claims to have the shape \(-1, -1\)"),
        ({"p": array(b"", (2**62, 2**62))}, "'p' claims to have the shape"),
        ({"p": array(bytes(8), (1,), "|O")}, "'p' holds object, not numbers"),
        ({"p": array(bytes(9), (1,), "|S9")}, r"'p' holds \|S9, not numbers"),
        ({"head": array(bytes(8), (1,))}, "'head' holds float64, not text"),
        ({"head": array(b"", (), "<U9999999")}, "'head' claims to have the shape"),
        ({"p": b"\x93NUMPY\2\0" + bytes(100)}, "'p' is no array that numpy wrote: it is not of version 1.0"),
        ({"p": b"\x93NUMPY\1\0\xff\xff" + b"(" * 65535}, "'p' is no array that numpy wrote"),
        ({"p": bytes(200 * MB)}, "it claims to hold 209,[0-9,]+ bytes in a file of"),
        ({"p": array(bytes(100 * MB), (100 * MB // 8,))}, "it claims to hold 104,[0-9,]+ bytes in a file of"),
    ],
)
def test_archives_that_claim_too_much(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    path = tmp_path / "m.npz"
    archive(path, **members)

    def refuse() -> None:
        with pytest.raises(ValueError, match=rf"m\.npz is not a FiniteMDP that `save` wrote: {message}"):
            FiniteMDP.load(path)

    assert peak(refuse) < 4 * MB


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack(tmp_path: Path, method: int) -> None:
    """They unpack a few bytes into gigabytes at once."""
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("head.npy", b"x" * 1000)
    with pytest.raises(ValueError, match="'head' is packed in another way than numpy packs"):
        FiniteMDP.load(path)


def test_an_archive_of_many_members(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as packed:
        for k in range(20_000):
            packed.writestr(f"{k}", b"")

    def refuse() -> None:
        with pytest.raises(ValueError, match="it holds more than the arrays of a FiniteMDP"):
            FiniteMDP.load(path)

    assert peak(refuse) < MB


def test_what_packs_too_well_is_saved_as_it_is(tmp_path: Path) -> None:
    n = 1 + ROOM // 40
    P = sparse.csr_array((np.ones(n), (np.arange(n), np.zeros(n, int))), shape=(n, n))
    m = FiniteMDP.from_arrays(P, -np.ones(n), gamma=0.9)
    m.save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_size * TIMES > ROOM
    assert FiniteMDP.load(tmp_path / "m.npz").table.p.sum() == n


def test_labels_that_make_too_many_pairs(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    random_mdp(0).save(path)
    fields = json.loads(path.read_text()) | {"states": list(range(50_000)), "actions": list(range(50_000))}
    path.write_text(json.dumps(fields))

    def refuse() -> None:
        with pytest.raises(ValueError, match="50,000 states and 50,000 actions are 2,500,000,000 pairs"):
            FiniteMDP.load(path)

    assert peak(refuse) < 10 * path.stat().st_size + MB


def test_one_long_text_among_the_numbers(tmp_path: Path) -> None:
    """numpy would make each of 100,000 entries as long as the longest."""
    path = tmp_path / "m.json"
    random_mdp(0).save(path)
    fields = json.loads(path.read_text()) | {"observations": ["x" * 100_000] + ["y"] * 100_000}
    path.write_text(json.dumps(fields))

    def refuse() -> None:
        with pytest.raises(ValueError, match="line 1: observations must be an array of finite numbers"):
            FiniteMDP.load(path)

    assert peak(refuse) < 10 * path.stat().st_size


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("gamma", "NaN", r"gamma must lie in \[0, 1\], not nan"),
        ("gamma", "9" * 5000, "an integer has more than 4300 digits: line 3 column 10 .*, in 'gamma'"),
        ("states", '["\\ud800", 1, 2, 3]', r"'\\ud800' is half of a character: line 4 column 13 .*, in 'states'"),
        ("states", "[" * 100_000 + "]" * 100_000, "it is nested too deeply: line 4 column .*, in 'states'"),
        ("states", "[1e999, 1, 2, 3]", "line 4: entry 0 of 'states' is inf, which is no label"),
        ("states", "[0, 1, 2, NaN]", "line 4: entry 3 of 'states' is nan, which is no label"),
        ("start", "[1e999]", "line 11: entry 0 of 'start' is inf; it must be a finite number >= 0"),
        ("reward", "[1" + "0" * 400 + "]", r"line 9: entry 0 of 'reward' is 1[0.]+; it must be a finite number"),
        ("observations", "[[0, 1], [2], [3], [4]]", "line 12: observations must be an array of finite numbers: "),
        ("observations", "[1e999, 0, 0, 0]", "line 12: observations must be an array of finite numbers of the"),
        ("seen_as", '"|O"', r"line 13: 'seen_as' is '\|O', which is no kind of number"),
        ("seen_as", '"<U1000000"', "line 13: 'seen_as' is '<U1000000', which is no kind of number"),
        ("seen_as", '"int8"', "line 12: observations must be an array of finite numbers of the kind int8"),
        ("gamma", '0.5,\n"gamma": 0.9', "'gamma' stands twice: line 4 column 1"),
    ],
)
def test_json_that_python_reads_and_nobody_should(tmp_path: Path, field: str, text: str, message: str) -> None:
    path = tmp_path / "m.json"
    m = random_mdp(0, states=2)
    FiniteMDP(m.table, states=m.states, actions=m.actions, gamma=0.9, observations=[0, 1, 2, 300]).save(path)
    lines = path.read_text().splitlines()
    k = next(k for k, line in enumerate(lines) if line.startswith(f'"{field}"'))
    lines[k] = f'"{field}": {text}' + "," * (k < len(lines) - 2)
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"is not a FiniteMDP that `save` wrote: {message}"):
        FiniteMDP.load(path)


@pytest.mark.parametrize("text", [b"NaN", b"[-Infinity]", b'{"a": 1, "a": 1}', b"[" * 5000, b'"\\udc00"', b"1" * 4301,
                                  b"\xff", b""])  # fmt: skip
def test_strict_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parsed(text)


@pytest.mark.parametrize("entry", ["[]", "{}", "[1]", '"ab"'])
def test_json_of_little_but_brackets(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"p": [' + ",".join([entry] * 400_000) + "]}")

    def refuse() -> None:
        with pytest.raises(ValueError, match="bytes of little but brackets, quotes and signs"):
            FiniteMDP.load(path)

    assert peak(refuse) < 10 * path.stat().st_size


def test_json_with_whole_characters() -> None:
    assert parsed(b'["\\ud83d\\ude00", "\\\\ud800", {"a": 1}, 1e5]') == ["\U0001f600", "\\ud800", {"a": 1}, 1e5]


@pytest.mark.parametrize("label", [float("nan"), float("inf"), "\ud800", (1, "\udfff")])
def test_labels_that_no_file_can_hold(tmp_path: Path, label: Any) -> None:
    m = FiniteMDP.from_outcomes({(label, 0): [(1, "end", 0)]}, gamma=0)
    for ending in ("npz", "json"):
        with pytest.raises(ValueError, match="cannot be written"):
            m.save(tmp_path / f"m.{ending}")
    assert list(tmp_path.iterdir()) == []


# ---- constructors ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FiniteMDP.from_pairs([[1.0]], [0], [0], [10**9], gamma=0.5), "nearly all are not admissible"),
        (lambda: FiniteMDP.from_pairs(sparse.csr_array((1, 10**9)), [0], [0], [10], gamma=0.5), "nearly all are not"),
        (lambda: FiniteMDP.from_outcomes({(k, k): [(1, 0, 0)] for k in range(1500)}, gamma=0.5), "nearly all are not"),
        (lambda: FiniteMDP.from_pairs([[1.0]], [10**400], [0], [0], gamma=0.5), "R is no array of real numbers"),
        (lambda: FiniteMDP.from_arrays([[[1j]]], [0], gamma=0.5), "P is no array of real numbers: it holds complex128"),
        (lambda: FiniteMDP.from_arrays([sparse.csr_array([[1j]])], [0], gamma=0.5), "a sparse matrix holds complex128"),
        (lambda: FiniteMDP.from_outcomes({(0, 0): [(1, 1, 0)]}, gamma=0.5, start=[10**400, 0]), "start is no array"),
        (lambda: FiniteMDP.from_outcomes({(0, 0): [(1, 1, 0)]}, gamma=0.5, start={0: 10**400}), "start gives 0 the"),
        (lambda: FiniteMDP.from_outcomes({(0, 0): [(1, 1, 0)]}, gamma=10**400), r"gamma must lie in .* not 1000"),
    ],
)
def test_tables_beyond_all_measure(make: Callable[[], Any], message: str) -> None:
    def refuse() -> None:
        with pytest.raises(ValueError, match=message):
            make()

    assert peak(refuse) < 4 * MB


WEIGHTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=5)


@st.composite
def outcomes(draw: st.DrawFn) -> dict[tuple[int, int], list[tuple[float, int, float]]]:
    """A table that is right: weights over their sum, states that are there, rewards of any size."""
    rewards = st.floats(-1e9, 1e9) | st.sampled_from([1e-300, -1e12, 0.0, -0.0])
    found = {}
    for s, weights in enumerate(draw(WEIGHTS)):
        after = draw(st.lists(st.integers(0, 5), min_size=len(weights), max_size=len(weights)))
        found[s, s % 2] = [(w / sum(weights), x, draw(rewards)) for w, x in zip(weights, after, strict=True)]
    return found


@settings(max_examples=100, derandomize=True, deadline=None)
@given(outcomes(), st.floats(0, 1))
def test_what_is_right_is_accepted(table: dict[Any, Any], gamma: float) -> None:
    m = FiniteMDP.from_outcomes(table, gamma=gamma)
    for (s, a), listed in table.items():
        for _, after, r in listed:
            expected = sum(p for p, x, paid in listed if x == after and paid == r)
            assert m.p(after, r, s, a) == pytest.approx(expected, abs=1e-15)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(outcomes(), st.data(), st.floats(1e-8, 1e3) | st.floats(-1e3, -1e-8))
def test_what_is_off_by_more_than_rounding_is_refused(table: dict[Any, Any], data: st.DataObject, off: float) -> None:
    pair = data.draw(st.sampled_from(sorted(table)))
    p, after, r = table[pair][0]
    table[pair][0] = (p + off, after, r)
    with pytest.raises(ValueError, match=rf"p\(\.\|s={pair[0]}, a={pair[1]}\)"):
        FiniteMDP.from_outcomes(table, gamma=0.5)
