"""Task routing: predict the task of a text from statistics of a frozen model's features."""

from lori_cl.routing.router import Router
from lori_cl.routing.statistics import StoredStatistics, TaskStatistics

__all__ = ["Router", "StoredStatistics", "TaskStatistics"]
