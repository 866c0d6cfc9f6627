"""Verify detects every contradiction to the registry and names its stage and both values."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from safetensors.torch import load

from lori_cl.errors import VerificationError
from lori_cl.methods.verification import expect
from lori_cl.registry import Run, Workspace
from lori_cl.serving.retire import retire_task
from tests.training.test_lori_modes import MODES

from .forging import edit_json, execute_sql, findings, forge, forge_tensors

TrainRun = Callable[..., Run]

SHA = r"\w{64}"
REGISTRY_SAYS = ".*, and the registry says"
OF_B = "WHERE position = 2"
MASK_OF_B = "WHERE stage_id = 2"
A_AFTER_B = "WHERE stage = 2 AND view = 'current' AND task_id = 1"

STATEMENTS: Mapping[str, tuple[str, str]] = {
    "no parent": (
        f"UPDATE stages SET parent = NULL {OF_B}",
        f"^stage 2 b: the file before .* is {SHA}{REGISTRY_SAYS} None",
    ),
    "other training data": (
        f"UPDATE stages SET train_digest = 'f' {OF_B}",
        f"train_digest in .* is {SHA}{REGISTRY_SAYS} f",
    ),
    "more training examples": (
        f"UPDATE stages SET n_train = 17 {OF_B}",
        f"n_train in .* is 16{REGISTRY_SAYS} 17",
    ),
    "more truncated examples": (
        f"UPDATE stages SET n_truncated = 1 {OF_B}",
        f"n_truncated in .* is 0{REGISTRY_SAYS} 1",
    ),
    "more steps": (f"UPDATE stages SET steps = 3 {OF_B}", f"steps in .* is 2{REGISTRY_SAYS} 3"),
    "a retirement that is too early": (
        f"UPDATE stages SET retired_after = 1 {OF_B}",
        "^stage 2 b: the registry says that it was retired after stage 1, which can be 2 to 2",
    ),
    "a retirement that the next stage does not record": (
        "UPDATE stages SET retired_after = 1 WHERE position = 1",
        rf"^stage 2 b: stands_on in .* \[0\] is {SHA}{REGISTRY_SAYS} nothing",
    ),
    "another task": (
        f"UPDATE stages SET task_id = 1 {OF_B}",
        rf"^stage 2 a: \(position, task\) \[1\] is b{REGISTRY_SAYS} a",
    ),
    "another base model": (
        "UPDATE runs SET base_digest = 'f'",
        f"^stage 1 a: base in .* is {SHA}{REGISTRY_SAYS} f",
    ),
    "another seed": ("UPDATE runs SET seed = 1", f"^the curriculum: seed is 0{REGISTRY_SAYS} 1"),
    "another method": (
        "UPDATE runs SET method = 'sequential-lora'",
        f"method is lori{REGISTRY_SAYS} sequential-lora",
    ),
    "one task fewer": (
        "DELETE FROM run_tasks WHERE position = 2",
        f"the number of its tasks is 2{REGISTRY_SAYS} 1",
    ),
    "no curriculum": (
        "UPDATE runs SET curriculum = '{'",
        "^registry: what is recorded cannot be read: JSONDecode",
    ),
    "another projection A": (
        "UPDATE projections SET digest = 'f'",
        f"its A's, drawn again, is {SHA}{REGISTRY_SAYS} f",
    ),
    "projections of another seed": (
        "UPDATE projections SET seed = seed + 1",
        rf"of its A's \[3\] is \d+{REGISTRY_SAYS} \d+",
    ),
    "projections of another rank": (
        'UPDATE projections SET "rank" = 5',
        rf"of its A's \[2\] is 4{REGISTRY_SAYS} 5",
    ),
    "no projections": (
        "DELETE FROM projections",
        f"^method lori: whether it has projections A is True{REGISTRY_SAYS} False",
    ),
    "another projection A for b": (
        f"UPDATE masks SET projection = 'f' {MASK_OF_B}",
        f"^stage 2 b: the digest of its A's is {SHA}{REGISTRY_SAYS} f",
    ),
    "another mask": (
        f"UPDATE masks SET digest = 'f' {MASK_OF_B}",
        f"^stage 2 b: mask in .* is {SHA}{REGISTRY_SAYS} f",
    ),
    "no mask": (f"DELETE FROM masks {MASK_OF_B}", f"^stage 2 b: mask in .* is {SHA}{REGISTRY_SAYS} None"),
    "one cell more": (
        f"UPDATE masks SET cells = 46 {MASK_OF_B}",
        f"the number of cells in .* is 45{REGISTRY_SAYS} 46",
    ),
    "another density": (
        f"UPDATE masks SET density = 0.1004 {MASK_OF_B}",
        f"the density in .* is 0.1004.*{REGISTRY_SAYS} 0.1004",
    ),
    "another rank": (f'UPDATE masks SET "rank" = 5 {MASK_OF_B}', f"the rank in .* is 4{REGISTRY_SAYS} 5"),
    "another strategy": (
        f"UPDATE masks SET strategy = 'magnitude' {MASK_OF_B}",
        f"the strategy in .* is random{REGISTRY_SAYS} magnitude",
    ),
    "an import": (
        f"UPDATE masks SET strategy = 'imported' {MASK_OF_B}",
        f"imported in .* is False{REGISTRY_SAYS} True",
    ),
    "a better score": (
        f"UPDATE evaluations SET score = 0.99 {A_AFTER_B}",
        f"^stage 2 b, a under current: accuracy of the answers in {SHA} is [0-9.]+{REGISTRY_SAYS} 0.99",
    ),
    "a smaller error": (
        "UPDATE evaluations SET stderr = 0.01",
        f"the standard error of the answers in {SHA} is",
    ),
    "another metric": ("UPDATE evaluations SET metric = 'f1'", f"its metric is accuracy{REGISTRY_SAYS} f1"),
    "fewer answers": (
        "UPDATE evaluations SET n = 7",
        f"the number of the answers in {SHA} is 8{REGISTRY_SAYS} 7",
    ),
    "no score": (
        f"DELETE FROM evaluations {A_AFTER_B}",
        "^stage 2 b: the score of a under current is missing",
    ),
    "a cached score without a source": (
        "UPDATE evaluations SET source = 'cached' WHERE stage = 2 AND source = 'measured'",
        rf"^stage 2 b, \w under \w+: cached, but no score was measured with inputs {SHA}",
    ),
    "a cached score of other inputs": (
        "UPDATE evaluations SET input_digest = 'f' WHERE stage = 2 AND source = 'cached'",
        r"cached, but no score was measured with inputs f",
    ),
    "a cached score that differs": (
        "UPDATE evaluations SET n_truncated = 1 WHERE stage = 2 AND source = 'cached'",
        f"n_truncated where its inputs {SHA} were measured is 0{REGISTRY_SAYS} 1",
    ),
    "more eval examples": (
        "UPDATE eval_sets SET n = 9",
        f"^stage 1 a: the number of examples in .* is 8{REGISTRY_SAYS} 9",
    ),
    "another metric of a": (
        "UPDATE tasks SET metric = 'f1'",
        f"^task a: metric in its declaration is accuracy{REGISTRY_SAYS} f1",
    ),
    "fewer bytes": (
        "UPDATE artifacts SET bytes = 7",
        rf"^stage 1 a: \(suffix, bytes\) of .* \[1\] is \d+{REGISTRY_SAYS} 7",
    ),
    "another suffix": (
        "UPDATE artifacts SET suffix = 'bin'",
        rf"\(suffix, bytes\) of .* \[0\] is .*{REGISTRY_SAYS} bin",
    ),
    "no registered file": (
        "DELETE FROM artifacts",
        "^the registry's database: row 1 of .* refers to a missing row of artifacts",
    ),
    "statistics of more texts": (
        "UPDATE task_statistics SET n = 99",
        f"^stage 1 a: the number of texts in .*{REGISTRY_SAYS} 99",
    ),
    "statistics of another task": (
        "UPDATE task_statistics SET artifact = (SELECT artifact FROM task_statistics WHERE task_id = 2)",
        f"^stage 1 a: the task in its statistics {SHA} is b{REGISTRY_SAYS} a",
    ),
    "no statistics": (
        "DELETE FROM task_statistics",
        "^stage 1 a: there are routed scores, but no statistics",
    ),
}


@pytest.mark.parametrize(("statement", "message"), STATEMENTS.values(), ids=STATEMENTS.keys())
def test_forged_row_is_detected(trained: Workspace, statement: str, message: str) -> None:
    execute_sql(trained, statement)
    with pytest.raises(VerificationError, match=message):
        findings(trained)


def move_one_cell(by_site: dict[str, int]) -> dict[str, int]:
    first, second, *_ = by_site
    return {**by_site, first: by_site[first] + 1, second: by_site[second] - 1}


EDITS: Mapping[str, tuple[str, str, Callable[[Any], Any], str]] = {
    "a learning rate": (
        *("runs.curriculum", "id = 1", lambda record: {**record, "train": {**record["train"], "lr": 0.02}}),
        f"^stage 1 a: train.lr in .* is 0.01{REGISTRY_SAYS} 0.02",
    ),
    "one view fewer": (
        "runs.curriculum",
        "id = 1",
        lambda record: {**record, "eval": {**record["eval"], "views": ["as_trained", "routed"]}},
        "^stage 1 a: a has a score under current, and eval.views are as_trained, routed",
    ),
    "the order of tasks": (
        *("runs.curriculum", "id = 1", lambda record: {**record, "tasks": ["b", "a"]}),
        f"^the curriculum: a task is b{REGISTRY_SAYS} a",
    ),
    "a curriculum's fields": (
        *("runs.curriculum", "id = 1", lambda record: {**record, "lr": 0.02}),
        "^curriculum: what is recorded cannot be read: ValidationError",
    ),
    "a stage's seed": (
        *("stages.seeds", "position = 2", lambda seeds: {**seeds, "head": 7}),
        rf"^stage 2 b: seeds in .* \[head\] is \d+{REGISTRY_SAYS} 7",
    ),
    "a cell's site": (
        *("masks.by_site", "stage_id = 2", move_one_cell),
        rf"^stage 2 b: the number of cells by site in .* \[[\w.]+\] is \d+{REGISTRY_SAYS} \d+",
    ),
    "the order of sites": (
        *("projections.sites", "id = 1", lambda sites: dict(reversed(sites.items()))),
        "^the run: the digest of its A's, drawn again,",
    ),
    "an answer's outcome": (
        "evaluations.outcomes",
        "stage = 2 AND view = 'current' AND task_id = 1",
        lambda outcomes: [1 - outcomes[0], *outcomes[1:]],
        f"^stage 2 b, a under current: 1 of the 8 outcomes next to the answers in {SHA} differ; number 1 is",
    ),
    "a routing accuracy": (
        "evaluations.parts",
        "stage = 2 AND view = 'routed' AND task_id = 1",
        lambda parts: {**parts, "routing_accuracy": 0.99},
        f"^stage 2 b, a under routed: routing_accuracy of the answers in {SHA} is .*{REGISTRY_SAYS} 0.99",
    ),
    "a declaration": (
        *("tasks.spec", "id = 1", lambda spec: {**spec, "description": "easier"}),
        f"^the declaration of a: its digest is {SHA}{REGISTRY_SAYS} {SHA}",
    ),
    "an environment": (
        *("environments.values", "id = 1", lambda values: {**values, "threads": 64}),
        f"^environment 1: its digest is {SHA}{REGISTRY_SAYS} {SHA}",
    ),
}


@pytest.mark.parametrize(("cell", "where", "change", "message"), EDITS.values(), ids=EDITS.keys())
def test_forged_json_record_is_detected(
    trained: Workspace, cell: str, where: str, change: Callable[[Any], Any], message: str
) -> None:
    edit_json(trained, cell, where, change)
    with pytest.raises(VerificationError, match=message):
        findings(trained)


def run_of(workspace: Workspace) -> Run:
    with workspace.read() as registry:
        return registry.run("run")


def test_error_about_a_missing_file_names_its_stage(trained: Workspace) -> None:
    path = trained.artifacts.path(run_of(trained).stages[1].artifact, "safetensors")
    path.unlink()
    with pytest.raises(VerificationError, match=f"^stage 2 b: {path} is missing; restore it from a backup"):
        findings(trained)


def test_stage_replaced_with_all_references_is_detected_by_the_next_stage(trained: Workspace) -> None:
    old = run_of(trained).stages[0].artifact
    forged = forge_tensors(trained, old, lambda tensors: {**tensors, "head/bias": -tensors["head/bias"]})
    with pytest.raises(VerificationError, match=f"^stage 2 b: parent in .* is {old}{REGISTRY_SAYS} {forged}"):
        findings(trained)


def test_error_about_overlapping_masks_names_both_digests(trained: Workspace) -> None:
    first, second = run_of(trained).stages
    assert first.mask is not None
    tensors = load(trained.artifacts.get(first.artifact, "safetensors"))
    cells = {name: tensor for name, tensor in tensors.items() if name.startswith(("mask/", "values/"))}
    forge_tensors(trained, second.artifact, lambda tensors: {**tensors, **cells}, mask=first.mask.digest)
    execute_sql(trained, f"UPDATE masks SET digest = '{first.mask.digest}' {MASK_OF_B}")
    edit_json(trained, "masks.by_site", "stage_id = 2", lambda _: dict(first.mask.by_site))
    both = f"mask {first.mask.digest} in .* belong to stage 1 a, mask {first.mask.digest}"
    with pytest.raises(VerificationError, match=f"^stage 2 b: 45 cells of {both}"):
        findings(trained)


def test_values_of_another_dtype_are_detected(trained: Workspace) -> None:
    forge_tensors(
        trained,
        run_of(trained).stages[1].artifact,
        lambda tensors: {k: t.bfloat16() if k.startswith("values/") else t for k, t in tensors.items()},
    )
    with pytest.raises(
        VerificationError,
        match=rf"^stage 2 b: \(values, type\) of .* is torch.bfloat16{REGISTRY_SAYS} torch.float32",
    ):
        findings(trained)


def test_replaced_projection_a_is_detected(train_run: TrainRun, workspace: Workspace) -> None:
    stage = train_run("a", **MODES["orthogonal"]).stages[0]
    forge_tensors(
        workspace,
        stage.artifact,
        lambda tensors: {k: -t if k.startswith("A/") else t for k, t in tensors.items()},
    )
    with pytest.raises(
        VerificationError, match=f"^stage 1 a: the digest of its A's in .* is {SHA}{REGISTRY_SAYS} {SHA}"
    ):
        findings(workspace)


def test_answers_that_contradict_their_outcomes_are_detected(trained: Workspace) -> None:
    with trained.read() as registry:
        answers = registry.evaluations("run")[-1].answers
    written = trained.artifacts.get(answers, "jsonl")
    swapped = {b'"red"': b'"blue"', b'"blue"': b'"red"'}
    before, after = next((b, a) for b, a in swapped.items() if b in written)
    forge(trained, answers, "jsonl", written.replace(before, after))
    with pytest.raises(VerificationError, match=rf"\d of the 8 outcomes of the answers in {SHA} differ"):
        findings(trained)


def test_eval_set_with_other_examples_is_detected(trained: Workspace) -> None:
    eval_set = run_of(trained).tasks[0].eval_set.digest
    content = trained.artifacts.get(eval_set, "jsonl").replace(b'"id": 3', b'"id": 30')
    forge(trained, eval_set, "jsonl", content)
    with pytest.raises(
        VerificationError, match=rf"^task a: the examples in {SHA} \[3\] is 3{REGISTRY_SAYS} 30"
    ):
        findings(trained)


@pytest.mark.parametrize("field", ["train", "base"])
def test_statistics_of_other_data_or_another_base_model_are_detected(trained: Workspace, field: str) -> None:
    with trained.read() as registry:
        artifact = registry.statistics("run")[0].artifact
    forge_tensors(trained, artifact, **{field: "f"})
    with pytest.raises(
        VerificationError,
        match=f"^stage 1 a: the digest of the .* in its statistics {SHA} is f{REGISTRY_SAYS} {SHA}",
    ):
        findings(trained)


@pytest.mark.parametrize(
    ("found", "recorded", "message"),
    [
        ({"a": None}, {}, r"x \[a\] is None, and the registry says nothing"),
        ({"a": 1}, {"a": 1, "b": None}, r"x \[b\] is nothing, and the registry says None"),
        ([1], [1, None], r"x \[1\] is nothing, and the registry says None"),
    ],
)
def test_null_in_place_of_a_missing_value_is_detected(found: Any, recorded: Any, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        expect("stage 1 a", "x", found, recorded)


@pytest.mark.usefixtures("two_tasks")
def test_removed_retirement_is_detected_by_the_next_stage(train_run: TrainRun, workspace: Workspace) -> None:
    retire_task(workspace, "run", "b")
    train_run("a", "b", "c")
    findings(workspace)
    execute_sql(workspace, f"UPDATE stages SET retired_after = NULL {OF_B}")
    with pytest.raises(
        VerificationError, match=rf"^stage 3 c: stands_on in .* \[1\] is nothing{REGISTRY_SAYS} {SHA}"
    ):
        findings(workspace)
