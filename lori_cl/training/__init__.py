"""Stages in sequence: train, score everything again, commit."""

from lori_cl.training.enrolment import Enrolled, enrol
from lori_cl.training.observer import Observer, SilentObserver
from lori_cl.training.sequence import RunOptions, run_curriculum

__all__ = ["Enrolled", "Observer", "RunOptions", "SilentObserver", "enrol", "run_curriculum"]
