"""`exactrl train --model`: the files it leaves, what it refuses, and that a stop of any kind changes no bit."""

from __future__ import annotations

import csv
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
from unittest import mock

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from agents import LanguageModelPolicy, load_model, load_tokenizer, rollout
from agents.cli.language.losses import LOSSES
from agents.cli.language.train import Run, Settings
from agents.learning import History
from agents.learning.checkpoints import Checkpoints, generator_of
from agents.learning.processes import Alone
from agents.learning.training import COLUMNS, TIMES
from tests.agents.models import save, small
from tests.agents.problems import MDPS, seeded, tabular
from tests.agents.process_worker import SETTINGS, SMALL, exactrl, exactrl_in_a_process

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("_in_a_folder_with_a_model")
TRAIN = ("train", "--model", "model", *SMALL)
KILLED = -signal.SIGKILL
OWN = '{"prompt": "12", "answer": 3}\n{"prompt": [{"role": "user", "content": "345"}], "answer": "e"}\n'


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
