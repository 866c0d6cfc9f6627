"""Reports on runs: gathered from the registry, rendered in the terminal or as a file."""

from lori_cl.reports.capacity import Capacity, SiteCapacity, capacity_of
from lori_cl.reports.capacity_table import print_capacity
from lori_cl.reports.formats import FORMATS
from lori_cl.reports.gather import gather
from lori_cl.reports.listings import (
    print_lineage,
    print_run,
    print_runs,
    print_task,
    print_tasks,
    print_unused_files,
)
from lori_cl.reports.plan_table import plan_record, print_plan
from lori_cl.reports.record import run_record, run_summary, task_record, to_record, to_records
from lori_cl.reports.report import Change, Entry, Row, RunReport, ViewReport
from lori_cl.reports.routing import RoutedTask, Routing, gather_routing
from lori_cl.reports.routing_table import print_routing
from lori_cl.reports.seed_statistics import GroupComparison, SeedGroup, SeedStatistics, seed_statistics
from lori_cl.reports.terminal import print_outcome, print_report

__all__ = [
    "FORMATS",
    "Capacity",
    "Change",
    "Entry",
    "GroupComparison",
    "RoutedTask",
    "Routing",
    "Row",
    "RunReport",
    "SeedGroup",
    "SeedStatistics",
    "SiteCapacity",
    "ViewReport",
    "capacity_of",
    "gather",
    "gather_routing",
    "plan_record",
    "print_capacity",
    "print_lineage",
    "print_outcome",
    "print_plan",
    "print_report",
    "print_routing",
    "print_run",
    "print_runs",
    "print_task",
    "print_tasks",
    "print_unused_files",
    "run_record",
    "run_summary",
    "seed_statistics",
    "task_record",
    "to_record",
    "to_records",
]
