"""Stages in sequence: train, score everything again, commit."""

from lori_cl.training.enrolment import Enrolled, enrol
from lori_cl.training.gate import Gate
from lori_cl.training.imported import Imported
from lori_cl.training.loading import LoadedRun, load_run
from lori_cl.training.observer import Observer, SilentObserver
from lori_cl.training.sequence import RunOptions, import_adapter, run_curriculum

__all__ = [
    "Enrolled",
    "Gate",
    "Imported",
    "LoadedRun",
    "Observer",
    "RunOptions",
    "SilentObserver",
    "enrol",
    "import_adapter",
    "load_run",
    "run_curriculum",
]
