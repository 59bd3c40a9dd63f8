"""What reads, by name: a function of bytes that returns where all is well, and bytes to begin with.

Not here: shards of several processes, and folders of a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.fuzz import commands, kept, simulated, tables, texts


class Target(NamedTuple):
    """share: of the inputs of a run of all, by what an input takes."""

    function: Callable[[bytes], None]
    seeds: Sequence[bytes]
    share: float


TARGETS = {
    "from_outcomes": Target(tables.outcomes, tables.SEEDS, 0.07),
    "from_arrays": Target(tables.dense, tables.SEEDS, 0.07),
    "from_arrays sparse": Target(tables.sparse_arrays, tables.SEEDS, 0.07),
    "from_pairs": Target(tables.pairs, tables.SEEDS, 0.07),
    "from_gymnasium": Target(tables.gymnasium, tables.SEEDS, 0.07),
    "from_function": Target(tables.function, tables.SEEDS, 0.07),
    "from_simulator": Target(simulated.simulator, tables.SEEDS, 0.01),
    "load json": Target(kept.json_file, kept.seeds(".json"), 0.24),
    "load npz": Target(kept.npz_file, kept.seeds(".npz"), 0.03),
    "prompts": Target(texts.jsonl, texts.PROMPTS, 0.286),
    "checkpoints": Target(texts.checkpoint, texts.CHECKPOINTS, 0.01),
    "command line": Target(commands.arguments_of_the_command_line, commands.SEEDS, 0.004),
}
