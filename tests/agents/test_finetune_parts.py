"""What a run that trains a language model is made of, and what it leaves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from agents import LanguageModelPolicy, load_model, load_tokenizer, random_model, rollout
from agents.cli.language import commands
from agents.cli.language.train import Run, Settings, _digest
from agents.learning import History
from agents.learning.checkpoints import generator_of
from agents.learning.processes import Alone
from tests.agents.models import save, small_policy
from tests.agents.process_worker import SETTINGS
from tests.agents.test_finetune import rows, trained
from tests.agents.updates import Member, history

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("_in_a_folder_with_a_model")

# ---- what it is made of ----


def made(processes: Alone | None = None, pieces: int = 1, **changes: Any) -> Run:
    settings = Settings(**({"model": "model"} | SETTINGS | changes))
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


def test_a_model_without_a_longest_context() -> None:
    """Bloom's attention falls off with the distance, however far it is."""
    folder = save(Path("model of any length"))
    random_model("bloom", vocab_size=23, hidden_size=16, n_layer=2, n_head=2, eos_token_id=2).save_pretrained(folder)
    assert made(model=str(folder), tokens=5000).problem.horizon == 5000


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
    monkeypatch.setattr("agents.cli.app.console.quiet", False)  # and as it was after this test
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
