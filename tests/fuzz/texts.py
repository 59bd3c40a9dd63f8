"""Prompts in JSONL files, and checkpoints: of one process, with and without what a run on an ENV adds to them."""

from __future__ import annotations

import json
import math
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from agents import SoftmaxPolicy, TabularPreferences
from agents.cli.language.lines import Lines
from agents.learning import History
from agents.learning.believing import STATE
from agents.learning.checkpoints import Checkpoints, tensors
from agents.learning.processes import Alone
from agents.learning.training import COLUMNS, TIMES
from tests.fuzz.checks import FOLDER, demand, refused
from tests.fuzz.draw import Draw
from tests.fuzz.kept import CHANGED, RAW, TEXTS, TWO

LINES = ['{"prompt": "1+1=", "answer": 2}', '{"prompt": [{"role": "user", "content": "ü \\ud83d\\ude00"}]}',
         '{"prompt": "b", "answer": [1.5, null]}']  # fmt: skip
PROMPTS = [RAW + "\n".join(LINES).encode(), RAW + LINES[1].encode()]
PROMPTS += [CHANGED + bytes([k, 5 * k % 256, k, 2, 9, k]) for k in range(0, 250, 5)]


def jsonl(data: bytes) -> None:
    d = Draw(data)
    if d.below(2) == 0:
        content = d.rest()
    else:
        lines = [d.of(LINES) for _ in range(1 + d.below(4))]
        k = d.below(len(lines))
        new = d.of([*TEXTS, '"again"', '[{"role": 1, "content": "x"}]', '[{"role": "user"}]'])
        lines[k] = lines[k].replace(d.of(['"b"', "2", '"user"', '"1+1="', "1.5", '"prompt"', "null"]), new)
        content = d.of([b"\n", b"\r\n", b"\n\n", b"\x85", b"\0"]).join(x.encode() for x in lines) + d.of([b"", b"\n"])
    path = FOLDER / "given.jsonl"
    path.write_bytes(content)
    try:
        found = Lines(path)
    except ValueError as error:
        demand(str(path) in str(error), f"the file is not named: {error}")
        return
    texts = [x.prompt if isinstance(x.prompt, str) else json.dumps(x.prompt) for x in found]
    demand(found and all(texts) and len(set(texts)) == len(texts), "prompts are missing, or stand twice")
    json.dumps([x.prompt for x in found], ensure_ascii=False).encode()


# ---- checkpoints ----

RUN = {"task": "digits", "model": {"size": 2}}
ROW = dict.fromkeys(COLUMNS + TIMES, 0.5) | {"loss": math.nan}


def _agent() -> tuple[SoftmaxPolicy, torch.optim.Optimizer]:
    policy = SoftmaxPolicy(TabularPreferences(TWO)).double()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    torch.stack([(p**2 + p).sum() for p in policy.parameters()]).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return policy, optimizer


def _more() -> dict[str, torch.Tensor]:
    """As `exactrl train ENV` has it."""
    return {"baseline": torch.ones(3).double(), "generator": torch.Generator().manual_seed(8).get_state()}


def _saved(more: dict[str, torch.Tensor]) -> dict[str, bytes]:
    folder = FOLDER / f"checkpoint-seed-{len(more)}"
    policy, optimizer = _agent()
    path = Checkpoints(folder, RUN, Alone()).save(policy, optimizer, History([dict(ROW), dict(ROW)]), more)
    return {x.name: x.read_bytes() for x in path.iterdir()}


SAVED = _saved({}), _saved(_more())
SHAPE = next(_agent()[0].parameters()).shape
WEIGHTS = next(name for name in SAVED[0] if name.endswith(".safetensors"))
PLACES = ('"F64"', "[0,", "16]", "[1,2]", "[2,2]", '"shape"', '"optimizer', '"parameters', "[[0", "0, 0]", "offsets",
          '"__metadata__"', "DCP_SHARDING_INFO", "exp_avg", '"generator"', '"baseline"', '"U8"', "5056]",
          "[3]")  # fmt: skip
INSTEAD = ('"F32"', '"I64"', '"F8_E4M3"', "[1,", "99999999999]", "[-1,2]", "[2,1]", "[1000000000000,2]", "[]", "{}",
           "x", "[[1", "1, 0]", "null", "", '"BF16"')  # fmt: skip
STATES = ('"groups"', '"lr": 0.1', '"exp_avg": null', '"step": 1.0', "rows", "0.0", "null", '"state"',
          '"betas": [0.9, ', '"run"', '"digits"', "{", "[", '"optimizer"', "false")  # fmt: skip
CHECKPOINTS = [bytes([k % 4, k, 3 * k % 256, k // 3, 7 * k % 256, k, 1, k]) for k in range(0, 250, 3)]


def checkpoint(data: bytes) -> None:
    """A checkpoint whose state, whose header or whose numbers are changed."""
    d = Draw(data)
    more = d.below(2)
    files, kind = dict(SAVED[more]), d.below(5)
    length = struct.unpack("<Q", files[WEIGHTS][:8])[0]
    header, numbers = files[WEIGHTS][8 : 8 + length].decode(), files[WEIGHTS][8 + length :]
    if kind == 0:
        text = files[STATE].decode()
        for _ in range(1 + d.below(3)):
            text = text.replace(d.of(STATES), d.of(TEXTS) if d.below(2) else d.text(), 1 + d.below(2))
        files[STATE] = text.encode(errors="surrogatepass")
    elif kind == 1:
        for _ in range(1 + d.below(3)):
            header = header.replace(d.of(PLACES), d.of(INSTEAD) if d.below(2) else d.text(), 1 + d.below(2))
        told = d.of([len(header.encode()), 0, 2**40, 2**63, 10**9])
        files[WEIGHTS] = struct.pack("<Q", told) + header.encode() + numbers
    elif kind == 2:
        raw = bytearray(numbers)
        for _ in range(8):
            raw[d.below(len(raw))] = d.below(256)
        files[WEIGHTS] = files[WEIGHTS][: 8 + length] + bytes(raw)
    elif kind == 3:
        name = d.of(sorted(files))
        at = d.below(len(files[name]) + 1)
        files[name] = files[name][:at] + d.rest()
    else:
        name = d.of(sorted(files))
        content = files.pop(name)
        if d.below(2):
            files[d.of(["x.safetensors", "state.json.part", "y"])] = content
    _loaded(files, _more() if more else {})


def _loaded(files: dict[str, bytes], more: dict[str, torch.Tensor]) -> None:
    folder = FOLDER / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "update-000001").mkdir(parents=True)
    for name, content in files.items():
        (folder / "update-000001" / name).write_bytes(content)
    policy, optimizer = _agent()
    try:
        history = Checkpoints(folder, RUN, Alone()).load(policy, optimizer, more)
    except ValueError as error:
        refused(error)
        return
    demand(all(bool(torch.isfinite(x).all()) for x in more.values()), "what else was loaded is not finite")
    if more:
        check_draws(more["generator"])
    check_goes_on(policy, optimizer, history, folder)


def check_draws(state: torch.Tensor) -> None:
    """A generator refuses a state, or draws from it."""
    generator = torch.Generator()
    with suppress(RuntimeError):
        generator.set_state(state)
    x = torch.rand(1000, generator=generator)
    demand(bool(((x >= 0) & (x < 1)).all()), "the generator draws what is not in [0, 1)")


def check_goes_on(policy: SoftmaxPolicy, optimizer: torch.optim.Optimizer, history: History, folder: Path) -> None:
    """What was loaded is finite, can be saved and loaded the same, and trained."""
    state = tensors(policy, optimizer)
    demand(all(bool(torch.isfinite(x).all()) for x in state.values()), "loaded numbers are not finite")
    demand(all(x.shape == SHAPE for x in state.values()), "loaded numbers have another shape")
    again: Any = _agent()
    after = Checkpoints(folder / "again", RUN, Alone())
    after.save(policy, optimizer, history)
    read = after.load(*again)
    demand(str(read.rows) == str(history.rows), "the history is another")
    demand(all(x.equal(state[name]) for name, x in tensors(*again).items()), "loaded it is another")
    optimizer.step()
