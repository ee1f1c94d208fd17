"""The script for sbatch is the one that was read by people, and says what was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from igbench.__main__ import COMMANDS, USAGE, main
from igbench.cli import slurm
from igbench.errors import InputError
from igbench.run.executors.ray import Ray

GOLDEN = Path(__file__).parent / "igbench.sbatch"
WORDS = [
    "slurm.nodes=4", "slurm.cpus=16", "slurm.gpus=4", "slurm.time=1-12:00:00",
    "slurm.memory=128G", "slurm.partition=gpu", "slurm.account=vision",
    "slurm.setup=source .venv/bin/activate", "experiment=imagenet_resnet", "data=imagenet",
    "data.root='/data/image net'", "method=[ig,occlusion]", "limit=1000", "precision=bf16",
]  # fmt: skip

STUB = """\
#!{python}
import json, sys
with open({log!r}, "a") as file:
    file.write(json.dumps(sys.argv) + "\\n")
"""


def printed(*words: str) -> str:
    return slurm.script(list(words))


def test_the_script_is_the_one_that_was_read(capsys):
    """After a change on purpose: igbench slurm WORDS > tests/cli/igbench.sbatch, and read it."""
    assert main(["slurm", *WORDS]) == 0
    assert capsys.readouterr().out.encode() == GOLDEN.read_bytes()


@pytest.mark.parametrize("words", [[], WORDS, ["slurm.setup=module load cuda\nconda activate me"]])
def test_bash_can_read_it(words):
    done = subprocess.run(["bash", "-n"], input=slurm.script(words), text=True, check=False)
    assert done.returncode == 0


def test_what_is_not_asked_for_is_left_out():
    text = printed()
    for flag in ("--gpus-per-node", "--mem", "--partition", "--account"):
        assert flag not in text
    assert "--num-gpus 0" in text
    assert "#SBATCH --nodes=1\n" in text


def ran(text: str, tmp_path: Path) -> list[list[str]]:
    """What the script calls, in order, where srun runs its command here and Ray notes its words."""
    log = tmp_path / "calls"
    tools = {
        "srun": '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n',
        "ray": STUB.format(python=sys.executable, log=str(log)),
    }
    for name, content in tools.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    given = {"SLURM_JOB_ID": "123456789", "SLURM_JOB_NUM_NODES": "4", "RAY_ADDRESS": "other:1"}
    env = os.environ | given | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash"], input=text, text=True, env=env, check=False, cwd=tmp_path)
    assert done.returncode == 0
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="asks hostname as it is on Linux")
def test_ray_is_started_with_the_words_as_they_were_given(tmp_path):
    words = [*WORDS[8:], """name="it's; touch harmed $(touch harmed)\""""]
    (call,) = ran(printed("slurm.nodes=4", "slurm.cpus=3", *words), tmp_path)
    cut = call.index("--")
    options = dict(zip(call[2:cut:2], call[3:cut:2], strict=True))
    address = options.pop("--address")
    assert call[1] == "symmetric-run"
    assert options == {"--min-nodes": "4", "--num-cpus": "3", "--num-gpus": "0"}
    host, _, port = address.rpartition(":")
    assert host
    assert not host.startswith("127.")
    assert port == "26789", "from the number of the job"
    run = ["python", "-u", "-m", "igbench", *words, "executor=ray", "executor.address=auto"]
    assert call[cut + 1 :] == run
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("slurm.node=4", r"unknown key 'slurm\.node=4'.*Did you mean 'nodes'"),
        ("slurm.nodes=four", r"slurm\.nodes=four must be a whole number"),
        ("slurm.nodes=0", r"slurm\.nodes is 0; it must be above zero"),
        ("slurm.time=soon", r"slurm\.time='soon' is no time"),
        ("slurm.partition=gpu\n#SBATCH --uid=0", r"slurm\.partition=.*does not go into a script"),
        ("slurm.name=$(id)", r"slurm\.name=.*does not go into a script"),
        ("executor=serial", "which sets executor=ray and executor.address=auto"),
        ("engine=serial", "which sets executor=ray and executor.address=auto"),
        ("-m", "'-m' does not go into a script"),
        ("name=a\nrm -r x", "more than one line"),
        ("experiment=imagenet", "unknown experiment 'imagenet'"),
        ("limt=3", "unknown key 'limt'"),
    ],
)
def test_mistakes_are_one_line(word, message):
    with pytest.raises(InputError, match=message) as error:
        printed(word)
    assert "\n" not in str(error.value)


def test_the_command_is_in_the_help():
    assert "slurm" in COMMANDS
    assert "igbench slurm" in USAGE


def test_help_is_quick():
    """It loads nothing: a tenth of a second on a quiet machine, and half of one is allowed."""
    script = "import time; t = time.perf_counter(); from igbench.__main__ import main; main(['-h'])"
    script += "; import sys; sys.stderr.write(str(time.perf_counter() - t))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "igbench slurm" in done.stdout
    assert float(done.stderr) < 0.5


@pytest.mark.parametrize(
    ("address", "expected"),
    [("auto", {"address": "auto"}), (None, {"address": None, "num_cpus": 6})],
)
def test_the_executor_joins_the_cluster_that_it_is_told_of(monkeypatch, address, expected):
    """Ray refuses resources when it connects to a cluster that exists."""
    calls = []
    fake = types.ModuleType("ray")
    fake.is_initialized = lambda: False
    fake.init = lambda **given: calls.append(given)
    fake.shutdown = lambda: calls.append("shutdown")
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with Ray(workers=3, threads=2, address=address)._cluster():
        pass
    assert calls.pop() == "shutdown"
    (given,) = calls
    kept = {k: v for k, v in given.items() if k in ("address", "num_cpus")}
    assert kept == expected
