"""Jinja templates with resource limits: prompt templates of tasks and chat templates of models."""

from lori_cl.tasks.templates.prompt import SANDBOX, fill, fill_list

__all__ = ["SANDBOX", "fill", "fill_list"]
