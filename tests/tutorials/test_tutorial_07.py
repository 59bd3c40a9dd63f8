"""Tutorial 7: it runs as a script, is served, follows its controls, and says nothing that is not so."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import marimo
import numpy as np
import pytest

from envs import short_corridor
from mdp import enumerate_trajectories, evaluate, occupancy, unroll
from tests.worlds import assert_close, discounted_sum

ROOT = Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "tutorials" / "07_policy_gradient_theorem.py"


@pytest.fixture(scope="module")
def notebook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_07", NOTEBOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(notebook: ModuleType, **controls: Any) -> tuple[str, Any]:
    """All that the reader sees, and the values of all cells, at some settings of the controls."""
    outputs, values = notebook.app.run(defs={"x": 0.0, "gamma": 0.9, "episodes": 30} | controls)
    return "\n".join(out.text for out in outputs if isinstance(out, marimo.Html)), values


def run(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=ROOT, timeout=300)


# ---- the numbers ----


def test_what_is_shown_at_one_half_and_gamma_point_nine(notebook: ModuleType) -> None:
    text, values = shown(notebook)
    assert "0.4862286773" in text
    assert "1.0481736368" in text
    assert_close(values["by_theorem"], 0.4862286773)
    assert_close(values["by_autograd"], 0.4862286773)
    assert_close(values["product_rule"].sum(), 0.4862286773)
    assert_close(values["J"].item(), -6.1408152462)
    assert_close(list(values["mean"].values()), [0.4862286773, 1.0481736368])
    assert values["right"].verdict == "pass"
    assert values["wrong"].verdict == "FAIL"


def test_another_gamma_shows_other_numbers(notebook: ModuleType) -> None:
    text, values = shown(notebook, gamma=1.0)
    assert_close(values["J"].item(), -12)
    assert_close(values["by_theorem"], 2.0)
    assert_close(list(values["mean"].values()), [2.0, 2.0])
    assert "J = -12.0000000000" in text
    before, _ = shown(notebook)
    for number in ("J = -6.1408152462", "3.377448"):  # the second is eta(0)
        assert number in before
        assert number not in text


def test_another_theta_and_other_episodes(notebook: ModuleType) -> None:
    _, first = shown(notebook)
    _, more = shown(notebook, episodes=100)
    _, moved = shown(notebook, x=-1.0)
    assert more["by_theorem"] == first["by_theorem"] != moved["by_theorem"]
    for name, error in first["standard_error"].items():
        assert_close(error / more["standard_error"][name], np.sqrt(100 / 30))
        assert len(more["estimates"][name]) == 40


@pytest.mark.parametrize("x", [-2.0, 2.0])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_ends_of_the_sliders(notebook: ModuleType, x: float, gamma: float) -> None:
    _, values = shown(notebook, x=x, gamma=gamma, episodes=10)
    assert_close(values["by_theorem"], values["by_autograd"])


def test_gamma_to_the_t_before_the_whole_return_is_double_discounting(notebook: ModuleType) -> None:
    """Row 4 of section 5, term by term over all trajectories of the corridor with a time limit."""
    gamma = 0.9
    m = unroll(short_corridor(gamma), 7)
    pi = m.uniform_policy()
    left, right = m.action_index("left"), m.action_index("right")
    expected = 0.0
    for probability, played in enumerate_trajectories(m, pi):
        G_0 = discounted_sum(played.rewards, gamma)
        psi = [0.5 if a == right else -0.5 for a in played.actions]
        expected += probability * sum(gamma**t * G_0 * psi_t for t, psi_t in enumerate(psi))
    q = evaluate(m, pi).q
    inner = 0.25 * (q[:, right] - q[:, left])
    assert_close(expected, occupancy(m.with_gamma(gamma**2), pi) @ inner, 1e-12)
    assert abs(notebook.four_discounts(short_corridor(gamma), notebook.corridor_policy(0.0))[3][2] - 0.3134) < 5e-5


# ---- the ways to run it ----


def test_as_a_script() -> None:
    result = run(NOTEBOOK)
    assert result.returncode == 0, result.stderr
    assert "with gamma^t: pass" in result.stdout
    assert "without gamma^t: FAIL" in result.stdout
    assert "Warning" not in result.stderr


def test_a_cell_that_raises_is_noticed(tmp_path: Path) -> None:
    line = "    by_theorem = float("
    text = NOTEBOOK.read_text()
    assert text.count(line) == 1
    broken = tmp_path / "broken.py"
    broken.write_text(text.replace(line, f"    raise ArithmeticError('on purpose')\n{line}"))
    result = run(broken)
    assert result.returncode != 0
    assert "on purpose" in result.stderr


def test_it_is_served() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "marimo", "run", str(NOTEBOOK), "--headless", "--no-token"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert answer(server, f"http://127.0.0.1:{port}/", seconds=120) == 200
    finally:
        server.terminate()
        server.wait(30)


def answer(server: subprocess.Popen[bytes], address: str, seconds: float) -> int:
    """The HTTP status of the first answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended with exit code {server.returncode}"
        try:
            with urllib.request.urlopen(address, timeout=10) as page:
                return int(page.status)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"no answer within {seconds} s")
