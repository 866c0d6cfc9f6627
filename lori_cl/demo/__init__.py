"""Complete runs without downloads: small tasks, their data, and a base model with 2.2 M parameters."""

from lori_cl.demo.demo import DEMOS, run_demo

__all__ = ["DEMOS", "run_demo"]
