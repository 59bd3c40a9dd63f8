"""SmolLM2-135M-Instruct, where `make model` has put it: exact checks on a real language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents import LanguageModelPolicy, ReinforceLoss, load_model, load_tokenizer, rollout
from agents.checks.projected import Directions, exact_routes, leave_one_out_variance, reinforce_variance, scored_by
from agents.checks.routes import gradient_of
from agents.cli.language.tasks import DIGITS, encoded, load_task, problem
from agents.cli.language.verify import drawn_by
from agents.losses import named
from envs import TokenMDP
from envs.rewards import digit_fraction, on_text

FOLDER = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct"
pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="`make model` has not been run"),
    pytest.mark.xdist_group("SmolLM2"),  # one worker: a gigabyte of weights stands in memory once
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(FOLDER, dtype=torch.float64)


@pytest.fixture(scope="module")
def policy(model: Any, tokenizer: Any) -> LanguageModelPolicy:
    return LanguageModelPolicy(model, tokenizer)


def writing(tokenizer: Any, horizon: int, prompts: tuple[str, ...] = DIGITS) -> TokenMDP:
    reward = on_text(digit_fraction, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
    return TokenMDP(49_152, horizon, reward, prompts=[encoded(tokenizer, x) for x in prompts])


def test_the_model_is_what_it_should_be(model: Any, tokenizer: Any) -> None:
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)) == (2, 2, 49_152)
    assert [len(encoded(tokenizer, x)) for x in DIGITS] == [4, 4, 4, 4]
    assert tokenizer.decode(encoded(tokenizer, "12  3 µ")) == "12  3 µ"
    ids = torch.tensor([encoded(tokenizer, "The capital of France is")])
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"


def test_the_whole_vocabulary_in_one_step(policy: LanguageModelPolicy, tokenizer: Any) -> None:
    """Exact routes to 1e-10; REINFORCE and leave-one-out within 5.5 exact standard errors: false alarm 2e-7."""
    m = writing(tokenizer, 1).finite()
    exact = exact_routes(policy, m)
    assert exact.autograd < 1e-10
    along = Directions.of(policy, m, exact.gradient, 1, seed=0)
    pi = policy.matrix(m).detach().numpy()
    n, G = 16_384, 16
    variances = {1: reinforce_variance(m, pi, along.U), G: G * leave_one_out_variance(m, pi, along.U, G)}
    for group_size, loss in ((1, ReinforceLoss()), (G, named.rloo())):
        generator = torch.Generator().manual_seed(group_size)
        played = rollout(policy, m, n, group_size=group_size, generator=generator)
        off = along.of_estimate(torch.as_tensor(gradient_of(policy, loss, played))) - along.truth
        assert (np.abs(off) < 5.5 * np.sqrt(variances[group_size] / n)).all()


def test_the_tree_of_four_tokens(policy: LanguageModelPolicy, model: Any, tokenizer: Any) -> None:
    narrow, written = LanguageModelPolicy(model, tokenizer, top_k=4), writing(tokenizer, 2, DIGITS[:1])
    m = written.finite(tokens=drawn_by(narrow, written))
    assert m.n_states == 1 + 4 + 1
    exact = exact_routes(narrow, m)
    assert exact.autograd < 1e-10
    wrong = scored_by(policy, narrow, m)
    assert float((wrong - exact.gradient).norm() / exact.gradient.norm()) > 0.1
    assert float((scored_by(narrow, narrow, m) - exact.gradient).norm() / exact.gradient.norm()) < 1e-10


def test_sampled_is_scored_by_all_paths(model: Any, policy: LanguageModelPolicy, tokenizer: Any) -> None:
    """In float64: the cache, the kept products, one forward of transformers."""
    played = rollout(policy, writing(tokenizer, 6).vector_env(8), 8, group_size=2, generator=torch.Generator())
    general = LanguageModelPolicy(model, fast=False)
    assert played.behaviour_log_probs is not None
    with torch.no_grad():
        for scorer in (policy, general):
            np.testing.assert_allclose(scorer.log_prob(played).numpy(), played.behaviour_log_probs, atol=1e-10)


def test_the_tasks_are_problems_of_this_tokenizer(tokenizer: Any) -> None:
    for name in ("digits", "addition"):
        made = problem(load_task(name, None), tokenizer, vocabulary=49_152, context=8_192, horizon=8)
        assert made.eos == 2
    prompt = made.prompts[0]
    assert tokenizer.decode(prompt).endswith("1 + 1 =")
    right, wrong = ((*tokenizer(x).input_ids, 2) for x in (" 2", " 3"))
    assert (made.checked_reward(prompt, right), made.checked_reward(prompt, wrong)) == (1.0, 0.0)
