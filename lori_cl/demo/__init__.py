"""A complete run without downloads: four small tasks, their data, and a base model with 2.2 M parameters."""

from lori_cl.demo.demo import LEARNING_RATES, run_demo

__all__ = ["LEARNING_RATES", "run_demo"]
