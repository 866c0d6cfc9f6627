"""Jinja templates with limits: those of a task's prompts, and those of a model's chat format."""

from lori_cl.tasks.templates.prompt import SANDBOX, fill, fill_list

__all__ = ["SANDBOX", "fill", "fill_list"]
