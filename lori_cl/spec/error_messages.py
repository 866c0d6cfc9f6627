"""One-line messages for pydantic errors: the place, the problem and the nearest valid name."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lori_cl.errors import SpecError, suggestion
from lori_cl.spec.peft_fields import PEFT_FIELDS
from lori_cl.spec.yaml_lines import Location


def validation_message(error: ErrorDetails, model: type[BaseModel], document_kind: str) -> str:
    """Return the message for one error; `document_kind` is 'task' or 'curriculum'."""
    location = error["loc"]
    owner = _owner_name(location[:-1], document_kind)
    match error["type"]:
        case "extra_forbidden":
            if document_kind != "task" and (hint := PEFT_FIELDS.get(str(location[-1]))) is not None:
                return f"'{location[-1]}' is not a field of {owner}: {hint}"
            known = _fields_at(model, location[:-1])
            near = suggestion(str(location[-1]), known) or f" Available: {', '.join(known)}."
            return f"'{location[-1]}' is not a field of {owner}.{near}"
        case "missing":
            return f"'{location[-1]}' is missing from {owner}"
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error" | "enum":
            known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            near = suggestion(shown(error["input"]).strip("'"), known)
            choice = f"use one of {', '.join(known)}.{near}"
            return f"'{dotted(location)}' cannot be {shown(error['input'])}; {choice}"
        case "string_type":
            return f"'{dotted(location)}' should be text, not {shown(error['input'])}; put it in quotes"
        case "string_pattern_mismatch":
            return (
                f"'{dotted(location)}' cannot be {shown(error['input'])}: "
                "use at most 64 of a-z, 0-9, '_' and '-', beginning with a letter or digit"
            )
        case _:
            expected = error["msg"].removeprefix("Input ")
            return f"'{dotted(location)}' {expected}, not {shown(error['input'])}"


def dotted(location: Location) -> str:
    """Format a location as a user writes it: train.epochs, tasks[2]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _owner_name(location: Location, document_kind: str) -> str:
    return f"'{dotted(location)}'" if location else f"a {document_kind}"


def shown(value: Any) -> str:
    """Format a value for an error message: at most 60 characters, and text in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = f"'{value}'" if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # Python refuses to print more than 4,300 digits
        text = "something too large or too deep to show"
    return text if len(text) <= 60 else text[:57] + "…"


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


@contextmanager
def as_spec_error(where: str, model: type[BaseModel], kind: str) -> Iterator[None]:
    """Raise a SpecError of one line, '`where`: what is wrong', for the first problem that pydantic finds.

    `model` and `kind` are those of `validation_message`.
    """
    try:
        yield
    except ValidationError as failure:
        raise SpecError(f"{where}: {validation_message(failure.errors()[0], model, kind)}") from None
