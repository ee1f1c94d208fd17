"""Sweeps give the same exit status whoever launches their runs, in this process or in another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from igbench.__main__ import main

cloudpickle = pytest.importorskip("cloudpickle", reason="launchers of Hydra use cloudpickle")

WORDS = [
    "-m", "experiment=digits_resnet", "limit=1", "convergence=0", "keep_maps=0", "batch_size=4",
    "method=[random]", "metric=[completeness]",
]  # fmt: skip
RUN = "import pickle, sys; task, config = pickle.load(sys.stdin.buffer); task(config)"


def elsewhere(
    launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> Sequence[JobReturn]:
    """Send the function of each run, by its code, to a process of its own."""
    found = []
    for overrides in job_overrides:
        loader = launcher.hydra_context.config_loader
        whole = loader.load_sweep_config(launcher.config, list(overrides))
        plain = OmegaConf.to_container(whole, resolve=False)
        config = OmegaConf.create({k: v for k, v in plain.items() if k != "hydra"})
        sent = cloudpickle.dumps((launcher.task_function, config))
        subprocess.run([sys.executable, "-c", RUN], input=sent, check=True)
        found.append(JobReturn(_return_value=None, status=JobStatus.COMPLETED))
    return found


pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("launch", [None, pytest.param(elsewhere, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("seeds", "status"), [("0,1", 0), ("-1,0", 2)])
def test_every_run_is_made_and_the_worst_status_is_told(
    tmp_path, monkeypatch, launch, seeds, status
):
    launched = []
    if launch is not None:
        name = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
        known = Plugins.instance().class_name_to_class[name]  # not the class that is imported
        monkeypatch.setattr(known, "launch", lambda *a, **k: launched.append(1) or launch(*a, **k))
    assert main([*WORDS, f"seed={seeds}", f"results_dir={tmp_path}"]) == status
    runs = [p for p in (tmp_path / "digits_resnet").iterdir() if p.name[0] != "."]
    assert len(runs) == (2 if status == 0 else 1), "a run that fails does not stop the others"
    assert not list(tmp_path.glob(".sweeps/*.exit"))
    assert bool(launched) == (launch is not None)
