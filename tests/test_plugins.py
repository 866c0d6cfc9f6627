"""Implementations by name: what is built in, what plugins add, and the errors of a wrong entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint

import pytest

from lori_cl.errors import InputError
from lori_cl.masks import Evidence, Strategy
from lori_cl.masks.strategies.random import random
from lori_cl.plugins import Implementations, plugins
from lori_cl.spec import TASK_SPECS, ClassificationSpec, TaskSpec, task_from_record
from lori_cl.tasks import kind_of
from lori_cl.tasks.kinds.label_likelihood import LabelLikelihood

GROUP = "lori_cl.mask_strategies"
KINDS = "lori_cl.task_kinds"
STRATEGY = Strategy(random, needs="nothing")


class WithoutSpec(LabelLikelihood):
    pass


class WithoutMetric(LabelLikelihood):
    spec = TaskSpec


class Stars(LabelLikelihood):
    class StarsSpec(ClassificationSpec):
        kind: str  # type: ignore[assignment]

    spec = StarsSpec


WITHOUT_SPEC, WITHOUT_METRIC, STARS = WithoutSpec(), WithoutMetric(), Stars()

Install = Callable[[str, str, str], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that adds an entry point (group, name, attribute of this module)."""
    found: list[EntryPoint] = []

    def add(group: str, name: str, target: str) -> None:
        found.append(EntryPoint(name, f"{__name__}:{target}", group))
        plugins.cache_clear()

    monkeypatch.setattr(
        "lori_cl.plugins.entry_points", lambda group: [each for each in found if each.group == group]
    )
    plugins.cache_clear()
    yield add
    monkeypatch.undo()
    plugins.cache_clear()


@pytest.fixture
def strategies() -> Implementations[Strategy]:
    return Implementations(GROUP, {"random": Strategy(random, needs="nothing")}, Strategy)


def test_plugin_is_found_by_name_after_the_built_in_ones(
    install: Install, strategies: Implementations[Strategy]
) -> None:
    install(GROUP, "mine", "STRATEGY")
    assert list(strategies) == ["random", "mine"]
    assert strategies["mine"] is strategies.find("mine") is STRATEGY


def test_built_in_implementation_comes_before_a_plugin_of_the_same_name(
    install: Install, strategies: Implementations[Strategy]
) -> None:
    install(GROUP, "random", "STRATEGY")
    assert list(strategies) == ["random"]
    assert strategies.find("random") is not STRATEGY


def test_unknown_name_is_an_input_error_and_a_key_error(strategies: Implementations[Strategy]) -> None:
    for error in (InputError, KeyError):
        with pytest.raises(error) as raised:
            strategies["randon"]
        assert str(raised.value) == (
            "unknown mask strategy 'randon' (available: random). Did you mean 'random'?"
        )
    assert strategies.get("randon") is None


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("random", "is of type function, not a Strategy"),
        ("Strategy", "is the class Strategy, not a Strategy"),
        ("missing", "cannot be imported: AttributeError: "),
    ],
)
def test_entry_point_to_something_else_is_an_error_that_names_it(
    install: Install, strategies: Implementations[Strategy], target: str, problem: str
) -> None:
    install(GROUP, "mine", target)
    with pytest.raises(InputError) as raised:
        strategies.find("mine")
    assert str(raised.value).startswith(f"mask strategy 'mine' of plugin ? {problem}")


def test_strategy_with_unknown_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="needs is 'hessian'; use one of nothing, calibrated_b, gradients"):
        Strategy(random, needs="hessian")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("WITHOUT_SPEC", "has no 'spec'; set it to a subclass of TaskSpec"),
        ("WITHOUT_METRIC", "has the spec TaskSpec without a field 'metric'"),
    ],
)
def test_task_kind_without_a_usable_declaration_is_an_error(
    install: Install, target: str, problem: str
) -> None:
    install(KINDS, target.lower(), target)
    with pytest.raises(InputError) as raised:
        TASK_SPECS[target.lower()]
    assert str(raised.value) == f"task kind '{target.lower()}' of plugin ? {problem}"


def test_plugin_kind_with_a_classification_declaration_is_used(install: Install) -> None:
    install(KINDS, "stars", "STARS")
    task = {"name": "t", "kind": "stars", "source": {"local": "t"}, "labels": ["one", "two"], "prompt": "p"}
    assert kind_of(TASK_SPECS["stars"].model_validate(task)) is STARS


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "hearts"}, "unknown task kind 'hearts' (available: classification, "),
        ({"metric": "first_letter"}, "'metric' cannot be 'first_letter'; use one of accuracy, f1_macro"),
    ],
)
def test_registered_task_of_a_missing_plugin_says_to_install_it(fields: dict[str, str], problem: str) -> None:
    record = {"name": "t", "kind": "classification", "source": {"local": "t"}, "labels": ["one", "two"]}
    with pytest.raises(InputError) as raised:
        task_from_record({**record, **fields})
    assert str(raised.value).startswith(f"task 't': {problem}")
    assert str(raised.value).endswith(". If a plugin added it, install the plugin.")


def test_scores_of_an_installed_strategy_are_those_of_its_function(
    install: Install, strategies: Implementations[Strategy]
) -> None:
    install(GROUP, "mine", "STRATEGY")
    evidence = Evidence(cells=5, seed=3)
    assert strategies.find("mine").score(evidence).tolist() == random(evidence).tolist()
