"""`exactrl train --model`: the files it leaves, what it refuses, and that a stop of any kind changes no bit."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from agents import LanguageModelPolicy, load_model, load_tokenizer, rollout
from agents.cli.language import commands
from agents.cli.language import record as recording
from agents.cli.language.losses import LOSSES
from agents.cli.language.plot import draw_training
from agents.cli.language.record import Record, seconds
from agents.cli.language.train import Run, Settings, _digest, summary
from agents.learning import History, TrainingStopped
from agents.learning.checkpoints import Checkpoints, generator_of
from agents.learning.processes import Alone, ProcessLost
from agents.learning.training import COLUMNS, TIMES
from tests.agents.models import save, small, small_policy
from tests.agents.problems import MDPS, seeded, tabular
from tests.agents.process_worker import ONE_THREAD, SETTINGS, SMALL, exactrl, exactrl_in_a_process

pytest.importorskip("transformers")
TRAIN = ("train", "--model", "model", *SMALL)
KILLED = -signal.SIGKILL
OWN = '{"prompt": "12", "answer": 3}\n{"prompt": [{"role": "user", "content": "345"}], "answer": "e"}\n'


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    Path("model").symlink_to(model)


def trained(*arguments: str) -> str:
    """A run in this process that ends well, without its figure, which takes longer than the rest; what it prints."""
    with mock.patch("agents.cli.language.train.draw_training"):
        code, out, error = exactrl(*TRAIN, *arguments)
    assert (code, error) == (0, "")
    return out


@pytest.fixture(scope="session")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a run of so many updates that nothing has interrupted."""

    @cache
    def run(n: int) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        trained("--model", str(model), "--updates", str(n), "--out", str(folder))
        return folder

    return run


def refused(*arguments: str) -> str:
    """Its one line on stderr."""
    code, _, error = exactrl(*arguments)
    assert code == 2, error
    assert error.startswith("exactrl: ")
    assert error.count("\n") == 1
    return error


def rows(folder: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def updates(folder: Path) -> list[str]:
    """The checkpoints, with what is left of others."""
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder).state_dict())


def assert_same_bits(folder: Path, expected: Path) -> None:
    """The model, and every number of the metrics."""
    assert (folder / "model/model.safetensors").read_bytes() == (expected / "model/model.safetensors").read_bytes()
    assert rows(folder) == rows(expected)


# ---- what a run leaves ----


def test_files() -> None:
    code, printed, error = exactrl(*TRAIN, "--updates", "3", "--out", "a/b")
    assert (code, error) == (0, "")
    folder = Path("a/b")
    names = {"checkpoints", "manifest.json", "metrics.csv", "model", "tensorboard", "times.csv", "training.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert "model on digits by rloo, KL 0.05: 2 prompts x 4 completions of at most 5 tokens" in printed
    assert "mean reward of the first 1 updates 0." in printed
    assert "wrote a/b/metrics.csv and a/b/training.png and a/b/checkpoints and a/b/model" in printed
    assert (folder / "training.png").read_bytes()[:4] == b"\x89PNG"
    assert updates(folder) == ["update-000003"]


def test_metrics_and_tensorboard() -> None:
    """One row for each update; TensorBoard has the same numbers in float32."""
    trained("--updates", "3", "--out", "a")
    noted, times = rows(Path("a")), rows(Path("a"), "times.csv")
    assert tuple(noted[0]) == COLUMNS
    assert tuple(times[0]) == ("update", *TIMES)
    assert [int(row["update"]) for row in noted] == [0, 1, 2, 3]
    assert [int(row["episodes"]) for row in noted] == [0, 8, 16, 24]
    for row, took in zip(noted[1:], times[1:], strict=True):
        assert 0 <= float(row["sampled_return"]) <= 1
        assert float(row["entropy"]) > 0
        assert float(row["gradient_norm"]) > 0
        assert all(float(took[name]) > 0 for name in TIMES)
    assert abs(float(noted[1]["kl"])) < 1e-6
    assert float(noted[3]["kl"]) > 1e-3
    board = EventAccumulator("a/tensorboard").Reload()
    every = [row | took for row, took in zip(noted[1:], times[1:], strict=True)]
    assert set(board.Tags()["scalars"]) == set(every[0]) - {"update", "J"}
    for name in set(every[0]) - {"update", "J"}:
        events = board.Scalars(name)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx([float(row[name]) for row in every], rel=1e-6)


def test_the_model_that_is_written_is_the_one_that_was_trained() -> None:
    trained("--updates", "3", "--out", "a")
    run = Run(Settings("model", **SETTINGS), Path("a"), Alone(), pieces=1)  # type: ignore[arg-type]
    played = rollout(run.policy, run.problem.vector_env(8), 8, group_size=4, generator=seeded())
    start = run.policy.log_prob(played).detach()
    run.checkpoints.load(run.policy, run.optimizer)
    written = LanguageModelPolicy(load_model("a/model"), load_tokenizer("a/model"))
    assert torch.equal(written.log_prob(played), run.policy.log_prob(played))
    assert float((written.log_prob(played) - start).detach().abs().max()) > 0.01


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_moves_the_model(loss: str) -> None:
    before = parameters(Path("model"))
    trained("--updates", "1", "--out", "a", "--loss", loss)
    after = parameters(Path("a/model"))
    assert all(torch.isfinite(x).all() for x in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert float(rows(Path("a"))[1]["gradient_norm"]) > 0


def test_the_seed_is_the_run() -> None:
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        trained("--updates", "2", "--out", out, "--seed", seed)
    assert_same_bits(Path("b"), Path("a"))
    assert rows(Path("c")) != rows(Path("a"))


def test_pieces_change_rounding_only() -> None:
    for pieces in ("1", "3"):
        trained("--updates", "1", "--out", pieces, "--pieces", pieces)
    (one, three), exact = (rows(Path(x))[1] for x in "13"), ("episodes", "sampled_return", "mean_length")
    assert [one[name] for name in exact] == [three[name] for name in exact]
    for name in ("loss", "gradient_norm", "entropy"):
        assert float(three[name]) == pytest.approx(float(one[name]), rel=1e-4, abs=1e-6), name


def test_temperature_and_top_k_are_the_policys() -> None:
    """With one token to choose from nothing is learned, and the reward has no spread."""
    trained("--updates", "1", "--out", "a", "--top-k", "1", "--loss", "reinforce", "--beta", "0")
    row = rows(Path("a"))[1]
    assert float(row["entropy"]) == pytest.approx(0, abs=1e-6)
    assert float(row["gradient_norm"]) == pytest.approx(0, abs=1e-6)
    assert row["kl"] == "nan"


# ---- a task and a reward of the user's ----


def test_a_reward_of_the_users() -> None:
    """It is given prompt, completion and answer of the line, as text; what it pays is what is noted."""
    Path("task.jsonl").write_text(OWN)
    Path("noting.py").write_text(
        "seen = []\ndef f(prompt, completion, answer):\n"
        "    seen.append((prompt, completion, answer))\n    return len(seen) % 3\n"
    )
    trained("--updates", "3", "--out", "a", "--task", "task.jsonl", "--reward", "noting:f")
    seen = sys.modules["noting"].seen
    assert len(seen) == 24
    assert {(prompt.replace(" ", ""), answer) for prompt, _, answer in seen} == {("12", 3), ("345=", "e")}
    assert all(isinstance(x, str) and "</s>" not in x for _, x, _ in seen)
    for k, row in enumerate(rows(Path("a"))[1:]):
        paid = [n % 3 for n in range(8 * k + 1, 8 * k + 9)]
        assert float(row["sampled_return"]) == pytest.approx(np.mean(paid))


@pytest.mark.parametrize(
    ("fault", "says", "at"),
    [("raise KeyError('judge')", "KeyError: 'judge' (faulty", 1), ("x = nan", "it is nan, not finite", 12),
     ("x = None", "NoneType", 9)],
)  # fmt: skip
def test_a_reward_that_fails_can_be_mended(fault: str, says: str, at: int) -> None:
    """At its first call, before anything was learned, and in the second update."""
    name = f"faulty_{at}_{len(fault)}"
    Path("task.jsonl").write_text(OWN)
    Path(f"{name}.py").write_text(
        f"calls, nan = 0, float('nan')\ndef f(prompt, completion, answer):\n    global calls\n    calls += 1\n"
        f"    x = len(completion) / 9\n    if calls == {at}:\n        {fault}\n    return x\n"
    )
    run = (*TRAIN, "--updates", "3", "--task", "task.jsonl", "--reward", f"{name}:f")
    code, printed, error = exactrl(*run, "--out", "a")
    assert code == 2
    assert error.count("\n") == 1
    assert f"after {at // 8} updates: the reward of prompt" in error
    assert says in error
    assert "; prompt '" in error
    assert ", completion '" in error
    assert updates(Path("a")) == [f"update-{at // 8:06d}"]
    assert re.search(r"a/checkpoints/update-00000\d is whole: --resume goes on from it", printed)
    with mock.patch("agents.cli.language.train.draw_training"):
        assert exactrl(*run, "--out", "a", "--resume")[0] == 0  # it fails at one call only
        assert exactrl(*run, "--out", "b")[0] == 0
    assert_same_bits(Path("a"), Path("b"))


def test_brackets_in_a_name_are_no_markup() -> None:
    """Of the folder of the model, and of the checkpoints that are kept."""
    Path("[bold]").symlink_to(Path("model").resolve())
    with mock.patch("agents.cli.language.train.draw_training"):
        _, printed, _ = exactrl("train", "--model", "[bold]", *SMALL, "--updates", "1")
        code, printed_too, error = exactrl(*TRAIN, "--updates", "2", "--lr", "1e30", "--out", "[red]")
    assert "[bold] on digits by rloo" in printed
    assert (code, "[red]" in error + printed_too) == (2, True)


def test_parameters_that_are_not_finite_are_not_saved() -> None:
    error = refused(*TRAIN, "--updates", "5", "--lr", "1e300", "--out", "a")
    assert "after 1 updates: row 0 of the preferences is not finite" in error
    assert not Path("a/checkpoints").exists()


# ---- what is refused ----


def test_another_version_of_transformers_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("--updates", "1", "--out", "a")
    monkeypatch.setattr("transformers.configuration_utils.__version__", "99.0.0")
    trained("--updates", "2", "--out", "a", "--resume")
    assert rows(Path("a"))[-1]["update"] == "2"


def _tasks() -> None:
    ok = '{"prompt": "12"}\n'
    for name, text in {
        "good": ok, "gap": f"{ok}\n{ok}", "broken": f"{ok}{ok[:-3]}\n", "twice": f'{ok}{{"prompt": "3"}}\n{ok}',
        "none": f'{ok}{{"answer": 3}}\n', "number": "3\n", "no_text": '{"prompt": ""}\n', "void": "",
        "chat": '{"prompt": [{"role": "user"}]}\n', "long": json.dumps({"prompt": "1" * 60}) + "\n",
        "alike": ok + '{"prompt": "1é"}\n{"prompt": "1ü"}\n',
    }.items():  # fmt: skip
        Path(f"{name}.jsonl").write_text(text)
    Path("latin.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    Path("mine.py").write_text("def f(prompt, completion, answer):\n    return 0\n")


def _models(model: Path) -> None:
    for name in ("mute", "fewer", "empty"):
        shutil.copytree(model, name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        Path("mute", file).unlink()
    small("llama", 10).save_pretrained("fewer")
    Path("empty/model.safetensors").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nowhere"), "nowhere is no model: config.json is missing"),
        (("--model", "mute"), "mute holds no tokenizer"),
        (("--model", "empty"), "empty holds no causal language model"),
        (("--model", "fewer"), "the tokenizer has 23 tokens, the model 10: they do not match"),
        (("--max-tokens", "60"), "the prompt of 'Phone number: ' has 14 tokens: with 60 to come that is more than"),
        (("--task", "long.jsonl"), "the prompt of long.jsonl, line 1 has 60 tokens: with 5 to come that is more than"),
        (("--task", "gap.jsonl"), "gap.jsonl, line 2 is empty"),
        (("--task", "broken.jsonl"), "broken.jsonl, line 2 is not JSON"),
        (("--task", "twice.jsonl"), "twice.jsonl, line 3 has the prompt of line 1"),
        (("--task", "none.jsonl"), 'none.jsonl, line 2 has no "prompt"'),
        (("--task", "number.jsonl"), 'number.jsonl, line 1 has no "prompt"'),
        (("--task", "no_text.jsonl"), 'no_text.jsonl, line 1 has no "prompt"'),
        (("--task", "chat.jsonl"), 'chat.jsonl, line 1 has no "prompt"'),
        (("--task", "void.jsonl"), "void.jsonl is empty"),
        (("--task", "alike.jsonl"), "two prompts of alike.jsonl have the same tokens"),
        (("--task", "latin.jsonl"), "latin.jsonl, line 1 is not UTF-8"),
        (("--task", "poetry"), "--task takes addition, digits or a JSONL file, not 'poetry'"),
        (("--task", "missing.jsonl"), "not 'missing.jsonl'"),
        (("--reward", "mine:f", "--task", "digits"), "the task digits has its own reward"),
        (("--reward", "mine:g"), "'mine' has no function 'g' for --reward"),
        (("--reward", "nowhere:f"), "cannot import 'nowhere' for --reward"),
        (("--loss", "magic"), "--loss takes reinforce, rloo, grpo"),
        (("--beta", "-1"), "--beta must be finite and at least 0, not -1"),
        (("--lr", "-1"), "learning rate: -1"),
        (("--temperature", "0"), "temperature must be positive and finite, not 0"),
        (("--groups", "0"), "--groups"),
        (("--group-size", "1"), "groups of at least 2"),
        (("--pieces", "0"), "--pieces"),
        (("--resume",), "there is no checkpoint in a/checkpoints to resume"),
        (("--gamma", "0.9"), "--gamma has no meaning with --model"),
        (("--episodes", "5", "--optimizer", "adamw"), "--episodes, --optimizer has no meaning with --model"),
        (("--sharded",), "start with torchrun"),
        (("FrozenLake-v1",), "train takes an ENV, or --model PATH with a --task: one of the two"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str, model: Path) -> None:
    _tasks()
    _models(model)
    own = () if arguments[0] in ("--max-tokens", "--sharded") else ("--task", "good.jsonl", "--reward", "mine:f")
    assert message in refused(*TRAIN, *own, "--out", "a", *arguments)
    assert not Path("a/model").exists()


def test_a_task_of_ones_own_needs_a_reward() -> None:
    _tasks()
    assert "needs --reward module:function" in refused(*TRAIN, "--task", "good.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("FrozenLake-v1", "--loss", "grpo"), "--loss has no meaning with an ENV"),
        (("FrozenLake-v1", "--beta", "0.1", "--sharded"), "--beta, --sharded has no meaning with an ENV"),
        ((), "train takes an ENV, or --model PATH with a --task: one of the two"),
    ],
)
def test_options_of_models_are_refused_with_an_env(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("train", *arguments)


# ---- checkpoints ----


def test_a_checkpoint_is_kept_for_its_own_run(model: Path, whole: Callable[[int], Path]) -> None:
    """A second run into its folder, and a resumption of another one: what differs is named, and nothing is changed."""
    trained("--updates", "2", "--out", "a")
    before = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    at = (*TRAIN, "--updates", "2", "--out", "a")
    assert "a/checkpoints has a checkpoint: --resume goes on, another --out begins anew" in refused(*at)
    again = (*at, "--resume")
    assert 'its loss was "rloo", now it is "grpo"' in refused(*again, "--loss", "grpo")
    assert "its seed was 0, now it is 3" in refused(*again, "--seed", "3")
    assert "its beta was 0.05, now it is 0.0" in refused(*again, "--beta", "0")
    assert "its lr was 0.01, now it is 0.1" in refused(*again, "--lr", "0.1")
    assert "its tokens was 5, now it is 6" in refused(*again, "--max-tokens", "6")
    assert "has 2 updates, more than 1" in refused(*again, "--updates", "1")
    save(Path("other"), seed=1)
    assert "its model.weights was " in refused(*again, "--model", "other")
    small("llama", 23, num_hidden_layers=1).save_pretrained("other")
    assert "its model.config.num_hidden_layers was 2, now it is 1" in refused(*again, "--model", "other")
    assert {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()} == before
    shutil.copytree(model, "elsewhere")
    trained("--updates", "3", "--out", "a", "--resume", "--model", "elsewhere")
    assert_same_bits(Path("a"), whole(3))


def test_a_run_that_is_done_is_resumed_to_the_same(whole: Callable[[int], Path]) -> None:
    shutil.copytree(whole(3), "a")
    shutil.rmtree("a/model")
    trained("--updates", "3", "--out", "a", "--resume")
    assert_same_bits(Path("a"), whole(3))
    assert updates(Path("a")) == ["update-000003"]


@pytest.mark.parametrize("every", ["1", "3"])
def test_a_run_in_two_parts_is_the_run(every: str, whole: Callable[[int], Path]) -> None:
    trained("--updates", "2", "--out", "a", "--checkpoint-every", every)
    assert updates(Path("a")) == ["update-000002"]
    trained("--updates", "4", "--out", "a", "--checkpoint-every", every, "--resume")
    assert updates(Path("a")) == ["update-000004"]
    assert_same_bits(Path("a"), whole(4))


def test_what_was_noted_after_the_checkpoint_is_void(whole: Callable[[int], Path]) -> None:
    """A run that went on after its last checkpoint, and was killed: TensorBoard and CSV have every update once."""
    shutil.copytree(whole(3), "a")
    shutil.copytree("a/checkpoints", "kept")
    trained("--updates", "5", "--out", "a", "--resume")
    shutil.rmtree("a/checkpoints")
    shutil.copytree("kept", "a/checkpoints")
    time.sleep(1.1)  # TensorBoard tells its files apart by the second
    trained("--updates", "4", "--out", "a", "--resume")
    assert rows(Path("a")) == rows(whole(4))
    events = EventAccumulator("a/tensorboard").Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert [event.value for event in events] == pytest.approx([float(row["loss"]) for row in rows(Path("a"))[1:]])


@pytest.mark.parametrize("kind", ["ascent", "momentum", "AdamW", "AMSGrad"])
def test_optimisers_go_on_where_they_stopped(kind: str) -> None:
    """Two steps, a checkpoint, two steps: the bits of four."""

    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        policy = tabular(MDPS["corridor"])
        kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "ascent": torch.optim.SGD, "momentum": partial(torch.optim.SGD, momentum=0.9),
            "AdamW": torch.optim.AdamW, "AMSGrad": partial(torch.optim.Adam, amsgrad=True),
        }  # fmt: skip
        return policy, kinds[kind](policy.parameters(), lr=0.1)

    def step(policy: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        torch.stack([(p**2).sum() + p.sum() for p in policy.parameters()]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def checkpoints() -> Checkpoints:
        return Checkpoints(Path("checkpoints"), {"run": 1}, Alone())

    whole, first, second = made(), made(), made()
    for _ in range(4):
        step(*whole)
    for _ in range(2):
        step(*first)
    row = dict.fromkeys(COLUMNS + TIMES, 0.0) | {"J": math.nan, "loss": 1 / 3}
    checkpoints().save(*first, History([row, row]))
    for p in second[0].parameters():
        torch.nn.init.zeros_(p)
    assert repr(checkpoints().load(*second).rows) == repr([row, row])
    for _ in range(2):
        step(*second)
    for p, q in zip(whole[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(p, q)


def test_random_numbers_of_an_update() -> None:
    """They depend on seed, update and rank; no two of 4 x 4 x 4 are alike."""
    drawn = {
        key: float(torch.rand((), generator=generator_of(*key), dtype=torch.float64)) for key in np.ndindex(4, 4, 4)
    }
    assert len(set(drawn.values())) == 64
    assert drawn[1, 2, 3] == float(torch.rand((), generator=generator_of(1, 2, 3), dtype=torch.float64))
    generator_of(2**62, 10**6)


# ---- a stop of any kind ----


@pytest.fixture(scope="session")
def ready() -> ForkServerContext:
    """Processes that start with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.agents.process_worker", "transformers.models.llama.modeling_llama", "torch.utils.tensorboard",
         "torch.distributed.checkpoint.hf_storage", "transformers.tokenization_utils_tokenizers"]
    )  # fmt: skip
    return context


def started(ready: ForkServerContext, *arguments: str, point: str = "", at: int = 0) -> ForkServerProcess:
    process = ready.Process(target=exactrl_in_a_process, args=(Path.cwd(), (*TRAIN, *arguments), point, at))
    process.start()
    return process


def ended(process: ForkServerProcess) -> int:
    process.join(60)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("it did not end within a minute")
    return process.exitcode


def last(folder: Path) -> int:
    """The update of the last whole checkpoint, 0 where there is none."""
    found = Checkpoints(folder / "checkpoints", {}, Alone()).latest()
    return 0 if found is None else int(found.name.removeprefix("update-"))


def wait_for(folder: Path, update: int, process: ForkServerProcess) -> None:
    """Until that checkpoint is there, or the process has ended."""
    until = time.monotonic() + 60
    while last(folder) < update and process.is_alive():
        assert time.monotonic() < until, "no checkpoint came within a minute"
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("point", "found", "leftovers"),
    [
        ("half written", 2, ["update-000003.part"]),
        ("before it is renamed", 2, ["update-000003.part"]),
        ("after it is renamed", 3, ["update-000002"]),
        ("amid the removal of the old one", 3, ["update-000002"]),
    ],
)
def test_a_kill_while_a_checkpoint_is_written(
    point: str, found: int, leftovers: list[str], ready: ForkServerContext, whole: Callable[[int], Path]
) -> None:
    """At the third checkpoint: the last whole one is found, the rest is ignored, and cleaned by the next."""
    once = ("--updates", "4", "--checkpoint-every", "1")
    assert ended(started(ready, *once, "--out", "a", point=point, at=3)) == KILLED
    assert updates(Path("a")) == sorted([f"update-{found:06d}", *leftovers])
    assert last(Path("a")) == found
    trained(*once, "--out", "a", "--resume")
    assert updates(Path("a")) == ["update-000004"]
    assert_same_bits(Path("a"), whole(4))


def test_a_kill_before_the_first_checkpoint(ready: ForkServerContext, whole: Callable[[int], Path]) -> None:
    """There is nothing to resume, and the run may begin anew in its folder."""
    once = ("--updates", "3", "--checkpoint-every", "1")
    assert ended(started(ready, *once, "--out", "a", point="half written", at=1)) == KILLED
    assert updates(Path("a")) == ["update-000001.part"]
    assert "there is no checkpoint in a/checkpoints to resume" in refused(*TRAIN, *once, "--out", "a", "--resume")
    trained(*once, "--out", "a")
    assert updates(Path("a")) == ["update-000003"]
    assert_same_bits(Path("a"), whole(3))


def test_kills_at_random_moments_change_no_bit(ready: ForkServerContext, whole: Callable[[int], Path]) -> None:
    """Killed again and again up to 60 ms after a checkpoint: an update and its checkpoint take about that."""
    once, rng, folder = ("--updates", "40", "--checkpoint-every", "1"), np.random.default_rng(0), Path("a")
    kills = 0
    for _ in range(4):
        process = started(ready, *once, "--out", "a", *(["--resume"] if last(folder) else []))
        wait_for(folder, last(folder) + 2, process)
        time.sleep(rng.uniform(0, 0.06))
        process.kill()
        kills += ended(process) == KILLED
    assert kills >= 2
    assert last(folder) < 40
    trained(*once, "--out", "a", "--resume")
    assert updates(folder) == ["update-000040"]
    assert_same_bits(folder, whole(40))


def test_ctrl_c(ready: ForkServerContext, whole: Callable[[int], Path]) -> None:
    """Exit code 130, one line; a checkpoint of the last whole update, which --resume goes on from."""
    once, folder = ("--updates", "40"), Path("a")
    process = started(ready, *once, "--out", "a")
    wait_for(folder, 10, process)  # the first, by default
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == 130
    stopped = last(folder)
    assert 10 <= stopped < 40
    assert len(rows(folder)) == stopped + 1
    log = Path("log.txt").read_text()
    assert log.endswith("exactrl: interrupted\n")
    assert "wrote a/metrics.csv and a/training.png and a/checkpoints and a/manifest.json\n" in log
    assert not (folder / "model").exists()
    trained(*once, "--out", "a", "--resume")
    assert_same_bits(folder, whole(40))


@pytest.mark.parametrize(("signals", "expected"), [(1, ["update-000001"]), (2, [])])
def test_ctrl_c_in_the_first_update(signals: int, expected: list[str]) -> None:
    """Once: the update is finished and kept. Twice: it stops at once, and says that there is nothing."""
    Path("task.jsonl").write_text(OWN)
    Path(f"stopping{signals}.py").write_text(
        "import os, signal\ncalls = 0\ndef f(prompt, completion, answer):\n    global calls\n    calls += 1\n"
        f"    for _ in range({signals} if calls == 3 else 0):\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return calls % 2\n"
    )
    run = (*TRAIN, "--updates", "3", "--task", "task.jsonl", "--reward", f"stopping{signals}:f", "--out", "a")
    before = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, error = exactrl(*run)
    assert (code, error) == (130, "exactrl: interrupted\n")
    assert (updates(Path("a")) if Path("a/checkpoints").exists() else []) == expected
    assert "nan" not in out
    assert signal.getsignal(signal.SIGINT) is before
    for path in out.partition("wrote ")[2].split(" and "):
        assert not path or Path(path.strip()).exists()


# ---- what it is made of ----


def made(processes: Alone | None = None, pieces: int = 1, **changes: Any) -> Run:
    settings = Settings("model", **(SETTINGS | changes))
    return Run(settings, Path("a"), Alone() if processes is None else processes, pieces=pieces)


def test_every_setting_reaches_its_place() -> None:
    """The reference is a frozen copy of the policy, shaped like it; AdamW has no weight decay."""
    run = made(pieces=3, tokens=6, lr=0.25, temperature=0.7, top_k=3, top_p=0.9)
    policy, reference = run.policy, run.agent.reference
    assert isinstance(reference, LanguageModelPolicy)
    for of in (policy, reference):
        assert (of.temperature, of.top_k, of.top_p) == (0.7, 3, 0.9)
    assert policy.tokenizer.get_vocab() == load_tokenizer("model").get_vocab()
    for p, q in zip(policy.parameters(), reference.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.data_ptr() != q.data_ptr()
        assert (p.requires_grad, q.requires_grad) == (True, False)
    assert isinstance(run.optimizer, torch.optim.AdamW)
    (group,) = run.optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in policy.parameters()]
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.25, 0, True)
    agent = run.agent
    assert (agent.policy, agent.optimizer, agent.processes) == (policy, run.optimizer, run.processes)
    assert agent._pieces.pieces == 3
    assert (run.problem.horizon, len(run.problem.vocabulary), run.problem.eos) == (6, 23, 2)
    assert run.checkpoints.folder == Path("a/checkpoints")
    assert run.checkpoints.processes is run.processes
    assert run.manifest.seed == 0
    assert list(run.manifest.inputs) == ["model"]
    assert made(beta=0.0).agent.reference is None


def test_the_context_of_the_model_is_its_own() -> None:
    """64 tokens: a prompt of 14 leaves 50."""
    assert made(tokens=50).problem.horizon == 50
    with pytest.raises(ValueError, match="with 51 to come that is more than the model's context of 64"):
        made(tokens=51)


def test_what_a_checkpoint_must_agree_with() -> None:
    """The settings, the model's config and weights, the tokens and the prompts; not where they came from."""
    run = made()
    described = dict(run.checkpoints.run)
    model, tokenizer, prompts = (described.pop(name) for name in ("model", "tokenizer", "prompts"))
    assert {"model": "model"} | described == {"model": "model"} | SETTINGS
    config = model["config"]
    assert config["num_hidden_layers"] == 2
    assert not {"_name_or_path", "transformers_version"} & config.keys()
    weights = hashlib.sha256(Path("model/model.safetensors").read_bytes()).hexdigest()
    assert model == {"config": config, "weights": _digest({"model.safetensors": weights})}
    assert tokenizer == _digest(load_tokenizer("model").get_vocab())
    assert prompts == _digest([list(x) for x in run.problem.prompts])
    assert len({prompts, tokenizer, model["weights"], _digest(None)}) == 4


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert _digest({"b": 1, "a": [2]}) == _digest({"a": [2], "b": 1})
    assert _digest({"a": [2], "b": 1}) == hashlib.sha256(b'{"a": [2], "b": 1}').hexdigest()


def test_the_title_and_the_room_that_is_needed() -> None:
    run = made()
    title = "model on digits by rloo, KL 0.05: 2 prompts x 4 completions of at most 5 tokens"
    assert run.title == title
    assert run.path == "on the fast path for Llama"
    assert run.size == 8 * sum(x.nbytes for x in load_model("model").parameters())
    for world, sharded, among in ((2, False, ", 2 processes"), (3, True, ", 3 processes with shards")):
        run.processes = mock.Mock(world=world, sharded=sharded)
        assert run.title == title + among
    run.policy = small_policy("gpt2")
    assert run.path == f"by transformers' own forward pass: {run.policy.unfit}"
    assert run.size == 8 * sum(x.nbytes for x in run.policy.parameters())  # float64


@pytest.mark.parametrize(("updates", "interrupted"), [(0, True), (1, False), (1, True)])
def test_what_there_is_at_the_end(updates: int, interrupted: bool) -> None:
    """A figure of what was learned, and of all files those that are there; the model of a run that came to its end."""
    run = made()
    drawn: list[Any] = []
    for name in ("metrics.csv", "checkpoints/x", "model/x"):
        Path("a", name).parent.mkdir(parents=True, exist_ok=True)
        Path("a", name).touch()

    def draws(history: History, path: Path, title: str) -> None:
        drawn.append((len(history.rows) - 1, path, title))
        path.touch()

    noted = history(updates)
    noted.interrupted = interrupted
    with mock.patch("agents.cli.language.train.draw_training", draws):
        written = run.write(noted)
    assert drawn == [(1, Path("a/training.png"), run.title)] * updates
    expected = ["metrics.csv", *["training.png"] * updates, "checkpoints", *["model"] * (not interrupted)]
    assert written == [Path("a", name) for name in expected]


class Member(Alone):
    """One of two processes that needs nothing of the other."""

    world = 2

    def __init__(self, rank: int) -> None:
        self.rank, self.closed = rank, 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It plays its share, with random numbers of its own; what is noted counts all; the first one speaks and writes."""
    played: list[Any] = []

    def plays(*arguments: Any, **options: Any) -> Any:
        played.append((arguments[2], options["group_size"], options["generator"].initial_seed()))
        return rollout(*arguments, **options)

    member = Member(rank)
    begun = mock.Mock(return_value=member)
    monkeypatch.setattr(commands, "processes", begun)
    monkeypatch.setattr("agents.cli.language.train.rollout", plays)
    printed = trained("--updates", "3", "--out", "a", "--seed", "5", "--groups", "4", "--group-size", "2")
    assert played == [(4, 2, generator_of(5, k, rank).initial_seed()) for k in (1, 2, 3)]
    begun.assert_called_once_with(sharded=False)
    assert member.closed == 1
    if rank == 0:
        assert printed.startswith("model on digits by rloo, KL 0.05: 4 prompts x 2 completions")
        assert ", 2 processes, on the fast path" in printed
        assert [int(row["episodes"]) for row in rows(Path("a"))] == [0, 8, 16, 24]
        assert Path("a/model").is_dir()
    else:
        assert (printed, [*Path("a").rglob("*")]) == ("", [])


# ---- what is said ----


class Told:
    """In place of a run: what it was called with, and what it does then."""

    title, path, out, manifest = "[bold] of 3 'words'", "by {1: 2}", Path("a"), "its manifest"

    def __init__(self, history: History | None, rank: int = 0) -> None:
        self.history, self.processes = history, SimpleNamespace(rank=rank)
        self.checkpoints = SimpleNamespace(kept="a/[7] is whole: --resume goes on from it")

    def __call__(self, **options: Any) -> History:
        self.options = options
        if self.history is None:
            raise TrainingStopped(ValueError("no judge"), History())
        return self.history

    def write(self, history: History) -> list[Path]:
        return [Path(f"{len(history.rows)} rows")]


def narrow() -> Console:
    """Of a terminal with colours."""
    return Console(file=io.StringIO(), width=12, force_terminal=True, color_system="standard")


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_line_is_a_line_without_colours(interrupted: bool, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    noted, wrote = history(8), mock.Mock()
    noted.interrupted = interrupted
    run, console = Told(noted, rank), narrow()
    monkeypatch.setattr(commands, "wrote", wrote)
    stopped = commands._trained(run, console, updates=9, every=4, resume=True)  # type: ignore[arg-type]
    assert stopped == interrupted
    assert run.options == {"updates": 9, "every": 4, "resume": True, "console": console}
    if rank > 0:
        assert text_of(console) == ""
        wrote.assert_not_called()
        return
    assert text_of(console) == f"[bold] of 3 'words', by {{1: 2}}\n{summary(noted)}\n"
    files = [Path("9 rows")]
    wrote.assert_called_once_with(console, files, "its manifest", Path("a/manifest.json"), whole=not interrupted)


def test_a_stop_says_what_is_kept() -> None:
    console = narrow()
    with pytest.raises(TrainingStopped):
        commands._trained(Told(None), console, updates=9, every=4, resume=True)  # type: ignore[arg-type]
    assert text_of(console) == "[bold] of 3 'words', by {1: 2}\na/[7] is whole: --resume goes on from it\n"


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ProcessLost("process 1 of 2 lost another one (gloo)"), "process 1 of 2 lost another one (gloo)"),
        (OSError(28, "No space left on device"), "cannot write to a: No space left on device"),
    ],
)
def test_a_run_that_cannot_go_on_says_what_is_kept(
    error: Exception, says: str, checkpoint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And parts from the other processes."""
    if checkpoint:
        Path("a/checkpoints/update-000003").mkdir(parents=True)
    member = Member(1)
    begun, made, fails = mock.Mock(return_value=member), mock.Mock(), mock.Mock(side_effect=error)
    monkeypatch.setattr(commands, "processes", begun)
    monkeypatch.setattr("agents.cli.language.train.Run", made)
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    monkeypatch.setattr(commands, "_trained", fails)
    settings, console = Settings("model", **SETTINGS), narrow()  # type: ignore[arg-type]
    with pytest.raises(type(error)) as raised:
        commands.train_model(settings, Path("a"), console, updates=9, every=4, pieces=3, resume=True, sharded=True)
    kept = "a/checkpoints/update-000003 is whole: --resume goes on from it"
    assert str(raised.value) == f"{says}; {kept if checkpoint else 'there is no checkpoint yet'}"
    begun.assert_called_once_with(sharded=True)
    made.assert_called_once_with(settings, Path("a"), member, pieces=3)
    fails.assert_called_once_with(made.return_value, console, updates=9, every=4, resume=True)
    assert member.closed == 1


# ---- what is shown ----


def history(updates: int, **changes: float) -> History:
    numbers = {"sampled_return": 0.5, "standard_error": 0.1, "kl": 0.01, "entropy": 2.0, "mean_length": 3.0}
    noted = dict.fromkeys(COLUMNS + TIMES, 0.25) | numbers | changes
    return History([noted | {"update": k, "episodes": 8 * k} for k in range(updates + 1)])


@pytest.mark.parametrize(
    ("updates", "changes"), [(1, {}), (5, {}), (5, {"kl": math.nan}), (2, {"standard_error": math.nan})]
)
def test_draw(updates: int, changes: dict[str, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_training(history(updates, **changes), Path("a.png"), "a [title] with $signs")
    assert Path("a.png").read_bytes()[:4] == b"\x89PNG"


def test_summary() -> None:
    """The first and the last quarter; the median times of the updates after the first."""
    noted = history(8)
    for k, row in enumerate(noted.rows):
        row |= {"sampled_return": float(k), "sampling_s": 100.0 if k == 1 else k / 10}
    assert "first 2 updates 1.5000, of the last 2 7.5000" in summary(noted)
    assert seconds(noted) == "sampling 0.50 s, scoring 0.25 s, backward 0.25 s, optimizer 0.25 s"


@pytest.mark.parametrize(
    ("updates", "says"),
    [
        (1, "mean reward of the first 1 updates 1.0000, of the last 1 1.0000"),
        (3, "mean reward of the first 1 updates 1.0000, of the last 1 3.0000"),
        (7, "mean reward of the first 1 updates 1.0000, of the last 1 7.0000"),
        (8, "mean reward of the first 2 updates 1.5000, of the last 2 7.5000"),
        (12, "mean reward of the first 3 updates 2.0000, of the last 3 11.0000"),
    ],
)
def test_summary_to_the_letter(updates: int, says: str) -> None:
    """The first update, which takes longer, is left out of the times, unless there is no other."""
    noted = history(updates, sampling_s=0.5, scoring_s=1.25, backward_s=2.0, optimizer_s=0.125)
    for k, row in enumerate(noted.rows):
        row["sampled_return"] = float(k)
    noted.rows[0] |= dict.fromkeys(TIMES, math.nan)
    noted.rows[1]["sampling_s"] = 100.0
    took = 100 if updates == 1 else 0.5
    assert summary(noted) == (
        f"{says}\nan update: sampling {took:.2f} s, scoring 1.25 s, backward 2.00 s, optimizer 0.12 s"
    )
    assert summary(History(noted.rows[:1])) == "no update was made"


class Board:
    """In place of TensorBoard's writer."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self.folder, self.first, self.flushed, self.closed = folder, purge_step, 0, 0
        self.told: list[Any] = []

    def add_scalar(self, name: str, x: float, k: int) -> None:
        self.told.append((name, x, k))

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1


def test_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar, the board and the tables have every update once; its speed is all tokens since the update before."""
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Board)
    clock = iter([10.0, 14.0, 14.5, 16.5, 17.0])
    monkeypatch.setattr(recording, "perf_counter", lambda: next(clock))
    noted, console = history(2, kl=math.nan), Console(file=io.StringIO(), force_terminal=True)
    record = Record(Path(), noted, 7, console, shown=True)
    (task,) = record.bar.tasks
    assert (record.bar.console, record.bar.live.transient, record.bar.disable) == (console, True, False)
    assert (task.description, task.total, task.completed) == ("", 7, 2)
    assert task.fields.keys() == {"reward", "kl", "entropy", "speed"}
    assert all(math.isnan(x) for x in task.fields.values())
    board = record.board
    assert (board.folder, board.first) == (Path("tensorboard"), 3)
    with record:
        for k, speed in ((3, 3.0 * 8 / 4.0), (4, 3.0 * 8 / 2.0)):
            row = history(k, sampled_return=k / 10, kl=k / 100, entropy=float(k), J=math.nan).rows[-1]
            noted.rows.append(row)
            record.note(row)
            assert row["tokens_per_s"] == speed
            assert task.fields == {"reward": k / 10, "kl": k / 100, "entropy": float(k), "speed": speed}
            assert task.completed == k
            assert board.told == [(name, x, k) for name, x in row.items() if name not in ("update", "J")]
            assert board.flushed == k - 2
            board.told.clear()
        assert board.closed == 0
    assert board.closed == 1
    noted.to_csv("expected.csv")
    noted.to_csv("times expected.csv", ("update", *TIMES))
    assert Path("metrics.csv").read_bytes() == Path("expected.csv").read_bytes()
    assert Path("times.csv").read_bytes() == Path("times expected.csv").read_bytes()


@pytest.mark.parametrize(("updates", "first"), [(None, 1), (0, 1), (1, 2)])
def test_a_record_begins_where_the_history_ends(
    updates: int | None, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Board)
    noted = History() if updates is None else history(updates)
    record = Record(Path("a"), noted, 7, Console(file=io.StringIO()), shown=True)
    assert (record.board.folder, record.board.first) == (Path("a/tensorboard"), first)
    assert record.bar.tasks[0].completed == first - 1


def test_a_record_that_is_not_shown_writes_nothing() -> None:
    noted = history(1)
    with Record(Path(), noted, 7, Console(file=io.StringIO()), shown=False) as record:
        noted.rows.append(history(2).rows[-1])
        record.note(noted.rows[-1])
    assert (record.board, record.bar.disable, record.bar.tasks[0].completed) == (None, True, 1)
    assert noted.rows[-1]["tokens_per_s"] > 0
    assert [x.name for x in Path().iterdir()] == ["model"]
