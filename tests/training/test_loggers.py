"""Each training job is a run of its own in a tracker."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from lori_cl.training.loggers import own_tracker_run


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a stand-in of wandb, with its open run."""
    module = SimpleNamespace(run=None)
    module.finish = lambda: setattr(module, "run", None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_run_of_wandb_that_a_job_began_ends_with_the_job(wandb: SimpleNamespace) -> None:
    for loggers in (["wandb"], ["tensorboard", "wandb"]):
        with own_tracker_run(loggers):
            wandb.run = "begun by the job"
        assert wandb.run is None


def test_run_of_wandb_ends_if_the_job_fails(wandb: SimpleNamespace) -> None:
    def fail() -> None:
        with own_tracker_run(["wandb"]):
            wandb.run = "begun by the job"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert wandb.run is None


def test_run_of_wandb_that_the_caller_began_stays_open(wandb: SimpleNamespace) -> None:
    wandb.run = "begun by the caller"
    for loggers in (["wandb"], []):
        with own_tracker_run(loggers):
            pass
        assert wandb.run == "begun by the caller"
