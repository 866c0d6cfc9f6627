from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lori_cl.registry import Run
from lori_cl.reports import capacity_of, print_capacity
from lori_cl.reports.wording import capacity_line

from .conftest import Recorder, Shown

TWO_STAGES = ((0.6, None, None), (0.8, 0.5, None))


def test_cells_are_counted_exactly(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert capacity
    assert (capacity.cells, capacity.free) == ((8 + 4) * 4, 48 - 10)
    assert capacity.by_task == {"sst2": 5, "agnews": 5}
    assert capacity.by_site["layer.0.query"].by_task == {"sst2": 3, "agnews": 3}
    assert capacity.by_site["layer.0.query"].free == 32 - 6


def test_as_many_more_tasks_fit_as_whole_masks_are_free(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert capacity
    assert (capacity.cells_per_task, capacity.more_tasks) == (5, 7)  # 38 free cells


def test_the_record_has_the_documented_keys(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert capacity
    record = capacity.to_record()
    assert (record["cells"], record["free"], record["by_task"]) == (48, 38, {"sst2": 5, "agnews": 5})
    assert record["more_tasks"] == 7


def test_a_run_that_has_not_learned_yet_is_all_free(recorder: Recorder) -> None:
    capacity = capacity_of(recorder.registry.run(recorder.run(rows=[])))
    assert capacity
    assert capacity.free == capacity.cells == 48


def test_cells_that_may_overlap_are_all_free_for_the_next_task(recorder: Recorder) -> None:
    plain = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    masks = {**plain.curriculum["masks"], "overlap": "allow"}
    run = replace(plain, curriculum={**plain.curriculum, "masks": masks})
    capacity = capacity_of(run)
    assert capacity
    assert capacity.free == run.free_cells == 48
    assert {site.free for site in capacity.by_site.values()} == {32, 16}


def test_a_task_claims_its_share_of_the_cells_that_the_adapter_began_with(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    last = run.stages[-1]
    assert last.mask is not None
    grown = replace(run, stages=(*run.stages[:-1], replace(last, mask=replace(last.mask, rank=40))))
    capacity = capacity_of(grown)
    assert capacity
    assert (capacity.cells, capacity.free) == (480, 470)
    assert (capacity.cells_per_task, capacity.more_tasks) == (5, 94)


def test_a_retired_task_is_named_beside_the_cells_that_it_left(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    retired = replace(run, stages=(*run.stages[:-1], replace(run.stages[-1], retired_after=2)))
    assert "43 of 48 cells are free (89.6 %), as agnews is retired; 8 more" in capacity_line(
        capacity_of(retired)
    )


def under(run: Run, kind: str, taken: Mapping[str, int] | None = None, **null_space: int) -> Run:
    """The run under A's of rank 1 and another kind; sites read 8 and 4 directions."""
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


def test_no_more_tasks_fit_than_their_orthogonal_as_find_directions(recorder: Recorder) -> None:
    run = under(recorder.registry.run(recorder.run(rows=TWO_STAGES)), "orthogonal")
    capacity = capacity_of(run)
    assert capacity is not None
    assert [site.inputs_free for site in capacity.by_site.values()] == [6, 2]
    sparse = {**run.curriculum, "masks": {**run.curriculum["masks"], "density": 0.1}}
    capacity = capacity_of(replace(run, curriculum=sparse))
    assert capacity is not None
    assert (capacity.free, capacity.cells_per_task, capacity.more_tasks) == (2, 1, 2)
    line = capacity_line(replace(capacity, cells_per_task=2))
    assert "1 more task of density 0.1 fits (2 cells each); each needs 1 free input directions" in line


def test_no_more_tasks_fit_where_a_site_has_too_few_directions_left(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    sites = list(run.projection.sites) if run.projection else []
    taken = dict.fromkeys(sites, 1)
    enough, too_few = (capacity_of(under(run, "null-space", taken, min_free=free)) for free in (2, 3))
    assert enough is not None is not too_few
    assert (enough.more_tasks, too_few.more_tasks) == (2, 0)
    assert "as far as input directions last: each needs 2 free ones" in capacity_line(enough)
    assert "0 more tasks of density 0.1 fit" in capacity_line(too_few)


def test_a_site_that_no_input_of_a_task_reached_is_counted_as_untouched(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    first, second = list(run.projection.sites) if run.projection else []
    capacity = capacity_of(under(run, "null-space", {first: 1}))
    assert capacity is not None
    assert capacity.by_site[first].inputs_free == 6
    assert capacity.by_site[second].inputs_free == capacity.by_site[second].inputs == 4


def test_where_cells_may_be_claimed_again_nothing_runs_out(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    masks = {**run.curriculum["masks"], "overlap": "allow"}
    capacity = capacity_of(replace(run, curriculum={**run.curriculum, "masks": masks}))
    assert capacity is not None
    assert capacity.to_record()["more_tasks"] is None
    assert "tasks of density 0.1 may own the same ones, so they never run out" in capacity_line(capacity)


def test_a_method_without_masks_has_no_capacity(recorder: Recorder) -> None:
    assert capacity_of(recorder.registry.run(recorder.run(method="sequential-lora"))) is None


def test_the_terminal_shows_each_site_and_each_task(recorder: Recorder, shown: Shown) -> None:
    text = shown(print_capacity, recorder.registry.run(recorder.run(rows=TWO_STAGES)))
    assert re.search(r"layer\.0\.query +3 +3 +26 +32", text)
    assert re.search(r"agnews +5 +10\.4 %", text)
    assert "38 of 48 cells are free (79.2 %); 7 more tasks of density 0.1 fit" in text


def test_the_terminal_says_why_there_is_no_capacity(recorder: Recorder, shown: Shown) -> None:
    text = shown(print_capacity, recorder.registry.run(recorder.run(method="sequential-lora")))
    assert "Every stage overwrites the whole adapter" in text


def test_an_even_budget_divides_what_is_free_among_the_planned_tasks(recorder: Recorder) -> None:
    run = recorder.registry.run(recorder.run(rows=TWO_STAGES))
    even = {**run.curriculum, "masks": {**run.curriculum["masks"], "budget": "even"}}
    one_left = capacity_of(replace(run, curriculum=even, stages=run.stages[:1], tasks=run.tasks[:2]))
    none_left = capacity_of(replace(run, curriculum=even, tasks=run.tasks[:2]))
    assert one_left is not None
    assert none_left is not None
    assert (one_left.cells_per_task, one_left.more_tasks) == (43, 1)
    assert none_left.cells_per_task == 0
    assert "every planned task has its cells" in capacity_line(none_left)
