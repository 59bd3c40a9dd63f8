"""The options of `exactrl train --model`, with a panel of their own in --help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from agents.cli.language.losses import LOSSES

_option = partial(typer.Option, rich_help_panel="Language models")

Model = Annotated[Path | None, _option(help="A folder of transformers, in place of ENV: what is trained.")]
TaskName = Annotated[str, _option(help="addition, digits, or a JSONL file of prompts and answers.")]
Reward = Annotated[
    str | None, _option(help="module:function of (prompt, completion, answer), for a JSONL file.")
]
Loss = Annotated[str, _option(help=f"One of {', '.join(LOSSES)}.")]
Beta = Annotated[float, _option(help="Weight of the KL to the model as it was, inside the reward.")]
Groups = Annotated[int, _option(min=1, help="Prompts of one update.")]
GroupSize = Annotated[int, _option(min=1, help="Completions of each.")]
MaxTokens = Annotated[int, _option(min=1, help="The most tokens of a completion.")]
Temperature = Annotated[float, _option(help="Of the policy itself: of what is sampled and what is scored.")]
TopK = Annotated[int | None, _option(help="Of the policy itself.")]
TopP = Annotated[float | None, _option(help="Of the policy itself.")]
Pieces = Annotated[int, _option(min=1, help="Gradient accumulation: the parts in which an update is worked through.")]
Every = Annotated[int, _option("--checkpoint-every", min=1, help="Updates from one checkpoint to the next.")]
Resume = Annotated[bool, _option("--resume", help="Go on from the last checkpoint in --out.")]
Sharded = Annotated[bool, _option("--sharded", help="FSDP2 in place of DDP, under torchrun.")]
