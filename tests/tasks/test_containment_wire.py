"""Only plain values are exchanged between the test process and the candidate process, unchanged."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, OrderedDict, deque
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lori_cl.tasks.containment.wire import Exchange, MalformedMessage, References


class NoReferences(References):
    def write(self, value: Any, exchange: Exchange) -> list[Any]:
        raise TypeError(type(value))

    def read(self, form: list[Any], exchange: Exchange) -> Any:
        raise MalformedMessage(form)


def round_trip(value: Any) -> Any:
    message = json.loads(json.dumps(Exchange(NoReferences()).pack(value)))
    return Exchange(NoReferences()).unpack(message)


KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
ATOMS = KEYS | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False) | st.fractions() | st.dates()
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
    max_leaves=20,
)


def exact(value: Any) -> Any:
    """Return a value together with the type of every part."""
    if isinstance(value, list | tuple):
        return type(value), [exact(part) for part in value]
    if isinstance(value, dict):
        return dict, [(exact(key), exact(part)) for key, part in value.items()]
    return type(value), value


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_plain_data_round_trips_unchanged(value: Any) -> None:
    assert exact(round_trip(value)) == exact(value)


@pytest.mark.parametrize(
    "value",
    [
        *(10**4000, -(2**63), 2**63, "\ud800", -0.0, float("inf"), 1j, b"\x00\xff", bytearray(b"x")),
        *(..., NotImplemented, int, ValueError, range(1, 9, 2), slice(1, None), {1: 2}.keys()),
        *(Counter("aab"), OrderedDict(a=1), deque([1, 2], 3), Fraction(1, 3), Decimal("1.10")),
        *(date(2024, 2, 29), datetime(2024, 1, 1, 3), timedelta(1, 2, 3)),
    ],
)
def test_other_plain_values_round_trip_unchanged(value: Any) -> None:
    found = round_trip(value)
    assert (type(found), found, repr(found)) == (type(value), value, repr(value))


def test_subclass_instance_is_sent_as_its_builtin_value() -> None:
    class Equal(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class OtherText(str):
        def __str__(self) -> str:
            return "loud"

    class Pair(tuple):
        def __iter__(self) -> Any:
            return iter(["other"])

    found = round_trip([Equal(3), OtherText("quiet"), Pair((1, 2))])
    assert exact(found) == (list, [(int, 3), (str, "quiet"), (tuple, [(int, 1), (int, 2)])])
    assert found[0] != 4


def test_mutable_instance_of_a_custom_class_is_not_sent() -> None:
    class CustomList(list):  # type: ignore[type-arg]
        pass

    with pytest.raises(TypeError):
        round_trip(CustomList())


def test_containers_keep_identity_and_may_contain_themselves() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    one, other = round_trip([shared, shared])
    assert one is other
    assert one[1] is one


def test_changes_made_by_the_callee_reach_the_caller() -> None:
    caller, callee = Exchange(NoReferences()), Exchange(NoReferences())
    mine: list[Any] = [[1, 2], {"a": 1}, {3}, bytearray(b"x"), "same"]
    inner = mine[0]
    theirs = callee.unpack(caller.pack(mine))
    theirs[0].append(theirs)
    theirs[1].clear()
    theirs[2].add(4)
    theirs[3].extend(b"y")
    assert caller.unpack(callee.pack(theirs[0])) is inner
    assert inner[:2] == [1, 2]
    assert inner[2] is mine
    assert mine[1:] == [{}, {3, 4}, bytearray(b"xy"), "same"]


FORMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["list", "dict", "known", "plain"]),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(lambda rest: ["tuple", rest])
        | st.dictionaries(st.text(), inner)
    ),
)


@settings(max_examples=50, deadline=None)
@given(FORMS)
def test_malformed_message_raises_only_malformed_message(message: Any) -> None:
    with contextlib.suppress(MalformedMessage):
        Exchange(NoReferences()).unpack(message)


@pytest.mark.parametrize(
    "form",
    [
        *(["plain", "os", "system", ["true"]], ["plain", "builtins", "eval", ["1"]], ["type", "eval"]),
        *(["type", "__import__"], ["known", 0], ["list", 1, []], ["int", 5], ["int", "x"], ["bytes", "g"]),
        *(["dict", 0, [1]], ["dict", 0, [["list", 1, []], 1]], ["range"], ["unknown"], [], [1], {}),
    ],
)
def test_malformed_value_form_is_refused(form: Any) -> None:
    with pytest.raises(MalformedMessage):
        Exchange(NoReferences()).unpack([[], form])
