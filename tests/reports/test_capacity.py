from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lori_cl.registry import Run
from lori_cl.reports import capacity_of, print_capacity
from lori_cl.reports.phrases import capacity_line

from .conftest import Recorder, Rendered

TWO_STAGES = ((0.6, None, None), (0.8, 0.5, None))


def test_cells_are_counted_exactly(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert capacity
    assert (capacity.cells, capacity.free) == ((8 + 4) * 4, 48 - 10)
    assert capacity.by_task == {"sst2": 5, "agnews": 5}
    assert capacity.by_site["layer.0.query"].by_task == {"sst2": 3, "agnews": 3}
    assert capacity.by_site["layer.0.query"].free == 32 - 6


def test_remaining_tasks_are_the_free_cells_divided_by_cells_per_task(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert capacity
    assert (capacity.cells_per_task, capacity.more_tasks) == (5, 7)  # 38 free cells


def test_capacity_record_has_the_documented_keys(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert capacity
    record = capacity.to_record()
    assert (record["cells"], record["free"], record["by_task"]) == (48, 38, {"sst2": 5, "agnews": 5})
    assert record["more_tasks"] == 7


def test_all_cells_of_an_untrained_run_are_free(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=[])))
    assert capacity
    assert capacity.free == capacity.cells == 48


def test_all_cells_are_free_if_masks_may_overlap(recorder: Recorder) -> None:
    plain = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    masks = {**plain.curriculum["masks"], "overlap": "allow"}
    run = replace(plain, curriculum={**plain.curriculum, "masks": masks})
    capacity = capacity_of(run)
    assert capacity
    assert capacity.free == run.free_cells == 48
    assert {site.free for site in capacity.by_site.values()} == {32, 16}


def test_cells_per_task_are_a_share_of_the_initial_adapter(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    last = run.stages[-1]
    assert last.mask is not None
    grown = replace(run, stages=(*run.stages[:-1], replace(last, mask=replace(last.mask, rank=40))))
    capacity = capacity_of(grown)
    assert capacity
    assert (capacity.cells, capacity.free) == (480, 470)
    assert (capacity.cells_per_task, capacity.more_tasks) == (5, 94)


def test_capacity_line_names_the_retired_task(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    retired = replace(run, stages=(*run.stages[:-1], replace(run.stages[-1], retired_after=2)))
    assert "43 of 48 cells are free (89.6 %), since agnews is retired; 8 more" in capacity_line(
        retired, capacity_of(retired)
    )


def with_projection_kind(
    run: Run, kind: str, taken: Mapping[str, int] | None = None, **null_space: int
) -> Run:
    """Return the run with projections of another kind and of rank 1; the sites have 8 and 4 inputs."""
    assert run.projection is not None
    widths = zip(run.projection.sites.items(), (8, 4), strict=True)
    sites = {site: (out, width) for (site, (out, _)), width in widths}
    masks = [replace(stage.mask, directions=taken, rank=1) for stage in run.stages if stage.mask is not None]
    return replace(
        run,
        projection=replace(run.projection, kind=kind, sites=sites, rank=1),
        stages=tuple(replace(stage, mask=mask) for stage, mask in zip(run.stages, masks, strict=True)),
        curriculum={**run.curriculum, "adapter": {"null_space": null_space}},
    )


def test_free_directions_limit_the_remaining_tasks_with_orthogonal_projections(recorder: Recorder) -> None:
    run = with_projection_kind(recorder.registry.run(recorder.run(rows=TWO_STAGES)), "orthogonal")
    capacity = capacity_of(run)
    assert capacity is not None
    assert [site.inputs_free for site in capacity.by_site.values()] == [6, 2]
    sparse = {**run.curriculum, "masks": {**run.curriculum["masks"], "density": 0.1}}
    capacity = capacity_of(replace(run, curriculum=sparse))
    assert capacity is not None
    assert (capacity.free, capacity.cells_per_task, capacity.more_tasks) == (2, 1, 2)
    line = capacity_line(run, replace(capacity, cells_per_task=2))
    assert "1 more task of density 0.1 fits (2 cells each); each needs 1 free input directions" in line


def test_no_task_fits_if_a_site_has_fewer_free_directions_than_required(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    sites = list(run.projection.sites) if run.projection else []
    taken = dict.fromkeys(sites, 1)
    enough, too_few = (
        capacity_of(with_projection_kind(run, "null-space", taken, min_free=free)) for free in (2, 3)
    )
    assert enough is not None is not too_few
    assert (enough.more_tasks, too_few.more_tasks) == (2, 0)
    assert "if the input directions suffice: each needs 2 free ones" in capacity_line(run, enough)
    assert "0 more tasks of density 0.1 fit" in capacity_line(run, too_few)


def test_site_without_recorded_directions_has_all_its_inputs_free(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    first, second = list(run.projection.sites) if run.projection else []
    capacity = capacity_of(with_projection_kind(run, "null-space", {first: 1}))
    assert capacity is not None
    assert capacity.by_site[first].inputs_free == 6
    assert capacity.by_site[second].inputs_free == capacity.by_site[second].inputs == 4


def test_number_of_remaining_tasks_is_unlimited_if_masks_may_overlap(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    masks = {**run.curriculum["masks"], "overlap": "allow"}
    capacity = capacity_of(replace(run, curriculum={**run.curriculum, "masks": masks}))
    assert capacity is not None
    assert capacity.to_record()["more_tasks"] is None
    assert "tasks of density 0.1 may share cells, so cells never run out" in capacity_line(run, capacity)


def test_a_method_without_masks_has_no_capacity(recorder: Recorder) -> None:
    assert capacity_of(recorder.registry.run(recorder.run(method="sequential-lora"))) is None


def test_terminal_shows_each_site_and_each_task(recorder: Recorder, rendered: Rendered) -> None:
    text = rendered(print_capacity, recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert re.search(r"layer\.0\.query +3 +3 +26 +32", text)
    assert re.search(r"agnews +5 +10\.4 %", text)
    assert "38 of 48 cells are free (79.2 %); 7 more tasks of density 0.1 fit" in text


def test_terminal_explains_why_a_method_has_no_capacity(recorder: Recorder, rendered: Rendered) -> None:
    text = rendered(print_capacity, recorder.registry.run(recorder.run(method="sequential-lora")))
    assert "Every stage overwrites the whole adapter" in text


def test_even_budget_divides_the_free_cells_among_the_planned_tasks(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    even = {**run.curriculum, "masks": {**run.curriculum["masks"], "budget": "even"}}
    one_left = capacity_of(replace(run, curriculum=even, stages=run.stages[:1], tasks=run.tasks[:2]))
    none_left = capacity_of(replace(run, curriculum=even, tasks=run.tasks[:2]))
    assert one_left is not None
    assert none_left is not None
    assert (one_left.cells_per_task, one_left.more_tasks) == (43, 1)
    assert none_left.cells_per_task == 0
    assert "every planned task has its cells" in capacity_line(run, none_left)
