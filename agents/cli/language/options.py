"""The options of `exactrl train --model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from agents.cli.language.losses import LOSSES
from agents.cli.options import MOST

Model = Annotated[Path | None, Option(help="A folder of transformers, in place of ENV: what is trained.")]
TaskName = Annotated[str, Option(help="addition, digits, or a JSONL file of prompts and answers.")]
Reward = Annotated[
    str | None, Option(help="module:function of (prompt, completion, answer), for a JSONL file.")
]
Loss = Annotated[str, Option(help=f"One of {', '.join(LOSSES)}.")]
Beta = Annotated[float, Option(help="Weight of the KL to the model as it was, inside the reward.")]
Groups = Annotated[int, Option(min=1, max=MOST, help="Prompts of one update.")]
GroupSize = Annotated[int, Option(min=1, max=MOST, help="Completions of each.")]
MaxTokens = Annotated[int, Option(min=1, max=MOST, help="The most tokens of a completion.")]
Temperature = Annotated[float, Option(help="Of the policy itself: of what is sampled and what is scored.")]
TopK = Annotated[int | None, Option(max=MOST, help="Of the policy itself.")]
TopP = Annotated[float | None, Option(help="Of the policy itself.")]
Pieces = Annotated[
    int, Option(min=1, max=MOST, help="Gradient accumulation: the parts in which an update is worked through.")
]
Every = Annotated[
    int | None,
    Option("--checkpoint-every", min=1, max=MOST,
           help="Updates from one checkpoint to the next; by default 10, with an ENV there are none."),
]  # fmt: skip
Resume = Annotated[bool, Option("--resume", help="Go on from the last checkpoint in --out.")]
Sharded = Annotated[bool, Option("--sharded", help="FSDP2 in place of DDP, under torchrun.")]
