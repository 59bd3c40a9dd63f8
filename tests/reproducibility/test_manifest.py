"""A manifest beside every result: what it says, and that its command gives the same files again."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import envs
from agents.cli import app, manifest
from agents.cli.records import versions
from mdp.model.products import cores
from tests.agents.models import save

LOSS = "def loss(batch):\n    return -(batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()\n"
COMMANDS = {
    "exactrl-verify": "verify exactrl/RandomWalk-v0 --episodes 3000 --seed 3",
    "exactrl-solve-lake": "solve lake.npz --gamma 0.9",
    "exactrl-solve-FrozenLake-v1": "solve FrozenLake-v1",
    "exactrl-show-Gridworld4x4-v0": "show exactrl/Gridworld4x4-v0 --gamma 0.9 --state (0,1)",
    "exactrl-show-RandomWalk-v0.svg": "show exactrl/RandomWalk-v0 --format svg",
    "exactrl-audit": "audit exactrl/Bandit-v0 --loss mine:loss",
    "exactrl-variance-ShortCorridor-v0": "variance exactrl/ShortCorridor-v0",
    "exactrl-train-RandomWalk-v0": "train exactrl/RandomWalk-v0 --updates 3 --episodes 20",
    "exactrl-grades": "grade one.py two.py",
    "run/manifest.json": "train --model model --task lines.jsonl --reward rewards:length --updates 2 --groups 2 "
                         "--group-size 2 --max-tokens 3 --out run",
}  # fmt: skip
INPUTS = {
    "solve lake.npz --gamma 0.9": {"lake.npz"},
    "audit exactrl/Bandit-v0 --loss mine:loss": {"mine.py"},
    "grade one.py two.py": {"one.py", "two.py"},
    COMMANDS["run/manifest.json"]: {"lines.jsonl", "rewards.py", "config.json", "model.safetensors", "tokenizer.json",
                                    "generation_config.json", "tokenizer_config.json", "chat_template.jinja"},
}  # fmt: skip


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the commands read."""
    monkeypatch.chdir(tmp_path)
    envs.frozen_lake().save("lake.npz")
    Path("mine.py").write_text(LOSS)
    Path("rewards.py").write_text("def length(prompt, completion, answer):\n    return len(completion) / 3\n")
    Path("lines.jsonl").write_text('{"prompt": "1+2="}\n{"prompt": "3+4="}\n')
    for name in ("one.py", "two.py"):
        Path(name).write_text('"""Assignment 1: ..."""\n')
    save(Path("model"))
    for module in ("mine", "rewards"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def run(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/somebody/bin/exactrl", *shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code in (None, 0, 1)


def place(name: str) -> Path:
    return Path(name if name.endswith(".json") else f"{name}.manifest.json")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(place(name).read_text())
    return content


def checkpoint() -> list[Any]:
    """Every tensor of a run's checkpoint: where it is, and its bytes. What safetensors notes of a file has no order."""
    found = []
    for path in sorted(Path("run").glob("checkpoints/*/*.safetensors")):
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        head = json.loads(content[8:end])
        assert head.pop("__metadata__")
        found.append((head, content[end:]))
    return found


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_the_command_again_gives_the_same_files(name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After other work, all that the manifest names has the same sha256; of checkpoints, the same tensors."""
    run(monkeypatch, command)
    first = read(name)
    for path, found in first["files"].items():
        assert sha256((place(name).parent / path).read_bytes()).hexdigest() == found
    kept = checkpoint()
    for path in first["files"]:
        (place(name).parent / path).unlink()
    shutil.rmtree("run", ignore_errors=True)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    run(monkeypatch, first["command"].removeprefix("exactrl "))
    again = read(name)
    assert first["files"].keys() == again["files"].keys()
    assert [x for x, found in first["files"].items() if found != again["files"][x] and "checkpoints" not in x] == []
    assert kept == checkpoint()
    assert {x: first[x] for x in ("command", "seed", "inputs", "versions", "threads", "platform")} == {
        x: again[x] for x in ("command", "seed", "inputs", "versions", "threads", "platform")
    }
    assert first["command"] == shlex.join(["exactrl", *shlex.split(command)])


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_everything_written_is_named(name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was read, by its sha256. Times and TensorBoard's events are no results."""
    before = set(Path().rglob("*"))
    run(monkeypatch, command)
    written = {x for x in set(Path().rglob("*")) - before if x.is_file() and "__pycache__" not in x.parts}
    left_out = {x for x in written if "tensorboard" in x.parts or x.name == "times.csv"}
    found = read(name)
    assert {place(name).parent / x for x in found["files"]} == written - left_out - {place(name)}
    inputs = {file: digest for files in found["inputs"].values() for file, digest in files.items()}
    assert inputs.keys() == INPUTS.get(command, set())
    for file, digest in inputs.items():
        path = Path("model", file) if Path("model", file).exists() else Path(file)
        assert sha256(path.read_bytes()).hexdigest() == digest


@pytest.mark.usefixtures("_files")
def test_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run(monkeypatch, "verify exactrl/RandomWalk-v0 --episodes 1000 --seed 3")
    found = read("exactrl-verify")
    assert found["seed"] == 3
    assert {"python", "exactrl", "numpy", "scipy", "torch", "gymnasium", "matplotlib", "rich", "typer"} <= set(
        found["versions"]
    )
    assert found["versions"]["numpy"] == np.__version__
    asked = {name: os.environ[name] for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR", "WORLD_SIZE")
             if name in os.environ}  # fmt: skip
    assert found["threads"] == {"torch": 1, "cores": cores(), "OMP_NUM_THREADS": "1"} | asked
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    assert found["platform"] == {
        "system": platform.platform(), "instructions": torch.backends.cpu.get_cpu_capability(), "gpus": gpus,
    }  # fmt: skip
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=manifest.ROOT, capture_output=True, text=True, check=False)
    assert (found["git"] or {"commit": ""})["commit"] == head.stdout.strip()


@pytest.mark.usefixtures("_files")
def test_it_names_no_host_no_user_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "solve lake.npz --gamma 0.9")
    text = Path("exactrl-solve-lake.manifest.json").read_text()
    found = json.loads(text)
    words = {*re.findall(r"\w+", f"{found['command']} {platform.platform()}"), *found, *found["versions"]}
    private = {socket.gethostname(), str(Path.home()), str(Path.cwd()), "somebody"} - words  # a host may be called so
    assert [x for x in private if re.search(rf"(?<!\w){re.escape(x)}(?!\w)", text)] == []


def test_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit, and whether files of it are changed; None outside of a checkout, and without git."""

    def said(*arguments: str) -> str:
        of = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(tmp_path)]
        return subprocess.run([*of, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(manifest, "ROOT", tmp_path)
    assert manifest.git() is None
    said("init", "--quiet")
    assert manifest.git() is None  # there is no commit yet
    (tmp_path / "x.py").write_text("x = 1\n")
    said("add", "x.py")
    said("commit", "--quiet", "--message", "x")
    assert manifest.git() == {"commit": said("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "y.py").touch()  # git does not know it
    assert manifest.git() == {"commit": said("rev-parse", "HEAD"), "dirty": False}
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert manifest.git() == {"commit": said("--git-dir", str(tmp_path / ".git"), "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "x.py").write_text("x = 2\n")
    assert manifest.git() == {"commit": said("--git-dir", str(tmp_path / ".git"), "rev-parse", "HEAD"), "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert manifest.git() is None


@pytest.mark.usefixtures("_files")
def test_a_run_that_is_gone_on_with_keeps_its_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is there from the first moment; another --resume adds another."""
    command = COMMANDS["run/manifest.json"]
    run(monkeypatch, command)
    first = read("run/manifest.json")
    for k, updates in ((1, 3), (2, 4)):
        run(monkeypatch, f"{command.replace('--updates 2', f'--updates {updates}')} --resume")
        assert f"--updates {updates}" in read("run/manifest.json")["command"]
        assert Path(f"run/manifest-{k}.json").exists()
    assert json.loads(Path("run/manifest-1.json").read_text()) == first


def test_a_table_that_is_gone_on_with_keeps_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = f"{COMMANDS['exactrl-train-RandomWalk-v0']} --checkpoint-every 1"
    run(monkeypatch, command)
    first = read("exactrl-train-RandomWalk-v0")
    run(monkeypatch, f"{command.replace('--updates 3', '--updates 4')} --resume")
    assert "--updates 4" in read("exactrl-train-RandomWalk-v0")["command"]
    assert json.loads(Path("exactrl-train-RandomWalk-v0.manifest-1.json").read_text()) == first


def test_manifests_take_the_first_free_number(tmp_path: Path) -> None:
    for name in ("manifest.json", "manifest-2.json"):
        (tmp_path / name).write_text(name)
    manifest.begun(seed=1).begin(tmp_path)
    assert (tmp_path / "manifest-1.json").read_text() == "manifest.json"
    assert (tmp_path / "manifest-2.json").read_text() == "manifest-2.json"
    assert json.loads((tmp_path / "manifest.json").read_text())["whole"] is False


@pytest.mark.usefixtures("_files")
def test_a_run_that_is_refused_leaves_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, COMMANDS["run/manifest.json"])
    first = read("run/manifest.json")
    monkeypatch.setattr(sys, "argv", ["exactrl", *shlex.split(COMMANDS["run/manifest.json"])])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2  # there is a checkpoint
    assert read("run/manifest.json") == first


def test_when_a_command_was_begun() -> None:
    """In UTC, to the second."""
    before = datetime.now(UTC).replace(microsecond=0)
    text = manifest.begun().date
    found = datetime.fromisoformat(text)
    assert re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\+00:00", text)
    assert timedelta(0) <= found - before < timedelta(minutes=1)


def test_inputs_that_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a folder of transformers without the folders in it, the module of a function; no other name."""
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_text("x")
    for name in ("config.json", "b.txt", "a.txt", "deep/c.txt"):
        for folder in ("model", "other"):
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    Path("other/config.json").unlink()
    module = ModuleType("loss_of_mine")
    monkeypatch.setitem(sys.modules, "loss_of_mine", module)
    assert manifest.begun("loss_of_mine:f", "sys:path").inputs == {}
    module.__file__ = str(tmp_path / "x.json")
    given = ("x.json", None, Path("model"), "other", "loss_of_mine:f", "FrozenLake-v1", "nothing:f")
    found = manifest.begun(*given, seed=5)
    x = sha256(b"x").hexdigest()
    files = {name: sha256(name.encode()).hexdigest() for name in ("a.txt", "b.txt", "config.json")}
    assert found.inputs == {"x.json": {"x.json": x}, "model": files, "loss_of_mine:f": {"x.json": x}}
    assert list(found.inputs["model"]) == list(files)
    assert found.seed == 5


def test_what_it_says_of_files(tmp_path: Path) -> None:
    """All that is in a folder, by where it is from the manifest; a run is whole where nothing else is said."""
    for name in ("b.csv", "a/deep/y", "a/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    made, place = manifest.begun(seed=1), tmp_path / "manifest.json"
    assert made.write([tmp_path / "b.csv", tmp_path / "a"], place) == place
    content = json.loads(place.read_text())
    assert " ".join(content) == "command seed date git inputs whole versions threads platform files"
    assert content["whole"] is True
    files = {name: sha256(name.encode()).hexdigest() for name in ("a/deep/y", "a/x", "b.csv")}
    assert list(content["files"].items()) == list(files.items())
    assert place.read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("files", "name"),
    [(["x.y.png", "z.json"], "x.y.manifest.json"), (["x.y.svg", "z.svg"], "x.y.svg.manifest.json"),
     (["x.csv"], "x.manifest.json")],
)  # fmt: skip
def test_the_name_of_a_manifest(files: list[str], name: str) -> None:
    assert manifest.beside([Path("a", file) for file in files]) == Path("a", name)


def test_a_manifest_of_before_gets_the_first_number(tmp_path: Path) -> None:
    place = tmp_path / "x.manifest.json"
    manifest.retire(place)  # there is none
    for k in (1, 2):
        place.write_text(str(k))
        manifest.retire(place)
        assert (tmp_path / f"x.manifest-{k}.json").read_text() == str(k)
    assert not place.exists()


def test_versions_of_what_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every distribution that something was imported from, a package or a part of one, in the order of the alphabet."""
    packages = {"json": ["b", "A"], "only_a_part": ["C", "a2"], "never_imported": ["d"]}
    monkeypatch.setitem(sys.modules, "only_a_part.of.it", ModuleType("x"))
    monkeypatch.setattr(manifest, "packages_distributions", lambda: packages)
    monkeypatch.setattr(manifest, "version", lambda name: f"version of {name}")
    python = ("python", platform.python_version())
    names = [(name, f"version of {name}") for name in ("A", "a2", "b", "C")]
    assert list(manifest.versions_in_use().items()) == [python, *names]


def test_versions_that_numbers_depend_on() -> None:
    names = ("exactrl", "numpy", "scipy", "torch", "gymnasium", "rich")
    assert versions("rich") == {"python": platform.python_version()} | {name: version(name) for name in names}
    assert "rich" not in versions()
