"""Conversion between rows and records by the names of their fields."""

from dataclasses import fields

import pytest

from lori_cl.registry.records import (
    Evaluation,
    MaskRecord,
    Projection,
    RunStart,
    Stage,
    StatisticsRecord,
)
from lori_cl.registry.rows import row_of
from lori_cl.registry.tables import (
    Base,
    EvaluationRow,
    MaskRow,
    ProjectionRow,
    RunRow,
    StageRow,
    TaskStatisticsRow,
)

from .registry_records import MASK, sha


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (Evaluation, EvaluationRow),
        (MaskRecord, MaskRow),
        (Projection, ProjectionRow),
        (RunStart, RunRow),
        (Stage, StageRow),
        (StatisticsRecord, TaskStatisticsRow),
    ],
)
def test_every_field_of_a_stored_record_has_a_column_or_a_relationship(record: type, row: type[Base]) -> None:
    assert {field.name for field in fields(record)} <= set(row.__mapper__.attrs.keys())


def test_row_of_takes_given_values_instead_of_those_of_the_record() -> None:
    row = row_of(MaskRow, MASK, stage_id=3, cells=11)
    assert (row.stage_id, row.cells, row.digest, row.by_site) == (3, 11, sha("mask"), MASK.by_site)
