"""Which task a text belongs to, from statistics of what a frozen model makes of the training texts."""

from lori_cl.routing.router import Router
from lori_cl.routing.statistics import TaskStatistics

__all__ = ["Router", "TaskStatistics"]
