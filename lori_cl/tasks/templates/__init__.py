"""Jinja templates with limits: those of a task's prompts, and those of a model's chat format."""

from lori_cl.tasks.templates.prompt import SANDBOX, fill

__all__ = ["SANDBOX", "fill"]
