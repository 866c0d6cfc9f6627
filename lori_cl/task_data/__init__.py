"""The data of tasks: register and preview tasks, prepare eval tasks and training sets for a base model."""

from lori_cl.task_data.registration import RegisteredTask, register_tasks

__all__ = ["RegisteredTask", "register_tasks"]
