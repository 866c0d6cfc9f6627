"""Evaluation: load the model of a run, and score tasks in each view."""

from lori_cl.evaluation.loaded_run import LoadedRun, load_run

__all__ = ["LoadedRun", "load_run"]
