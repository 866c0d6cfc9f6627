"""A Jinja sandbox with limits on time and memory.

Jinja's own sandbox blocks access to Python's internals. It limits neither the running time nor the memory.
Here every step and every value is counted (`counting.py`) against a budget (`budget.py`), and an operation
that multiplies is checked before it is executed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import Undefined, nodes, pass_context, pass_environment
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from lori_cl.tasks.templates.budget import (
    CHECKS,
    MAX_TEMPLATE,
    BudgetExceeded,
    check_power,
    check_product,
    check_replace,
    check_str_format,
    format_values,
    require_size,
)
from lori_cl.tasks.templates.counting import BUDGET, COUNTED, METHOD, STEPS, VALUE, WRITTEN, Counting

CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType, type)
"""Functions, methods and classes. The type of a built-in method is that of a built-in function."""
MAPPING_METHODS = frozenset({"copy", "get", "items", "keys", "values"})


class UnwritableValue(ValueError):
    """A template writes something that is not text or a number."""


class _Namespace(Namespace):
    """Jinja's namespace, which rejects names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise ValueError(f"invalid namespace name '{name}': it begins with an underscore")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a budget for every rendering."""

    intercepted_binops = frozenset({"*", "**", "%"})
    max_template = MAX_TEMPLATE
    """Maximum number of characters of a template."""

    def __init__(self, **options: Any) -> None:
        super().__init__(optimized=False, **options)  # the optimizer computes constants at compile time
        self.filters |= {
            **{COUNTED: _counted, VALUE: _value, WRITTEN: _written, STEPS: _steps, METHOD: _method},
            **{"join": _join, "replace": _replace, "format": _format_filter},
        }
        self.globals["namespace"] = _Namespace
        del self.globals["lipsum"]  # random text of any length

    def check_written(self, value: Any, text: str) -> None:
        """Make sure that a value may be written; `text` is its expression. Raises: UnwritableValue."""

    def parsed(self, template: str) -> nodes.Template:
        """Parse a template; Raises: BudgetExceeded, and the errors of Jinja."""
        if len(template) > self.max_template:
            raise BudgetExceeded(
                f"it has {len(template):,} characters; a template has at most {self.max_template:,}"
            )
        return self.parse(template)

    def compiled(self, template: str) -> Any:
        """Parse and compile a template; Raises: as `parsed`."""
        counting = Counting().visit(self.parsed(template))
        return self.from_string(counting.set_environment(self))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a column even if it has the name of a dict method."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return the value of a key of a mapping; never one of its methods."""
        if isinstance(obj, Mapping) and isinstance(argument, str) and not argument.startswith("_"):
            return obj[argument] if argument in obj else self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return `format` or `format_map` of a text with checks of widths and values."""
        text = getattr(value, "__self__", None)
        if not isinstance(text, str) or getattr(value, "__name__", "") not in {"format", "format_map"}:
            return None

        def formatted(*args: Any, **values: Any) -> str:
            if value.__name__ == "format_map":
                args, values = (), dict(*args)
            check_str_format(str(text), args, values)
            for written in (*args, *values.values()):
                self.check_written(written, f"{str(text)!r}.format(…)")
            return SandboxedFormatter(self).vformat(str(text), args, values)

        return formatted

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a safe object after a check of the size of its result."""
        if "caller" in kwargs and not isinstance(__obj, Macro | types.MethodType | types.FunctionType):
            raise UnwritableValue("{% call %} needs a macro, and this is not a macro")
        text = getattr(__obj, "__self__", None)
        if isinstance(text, str) and (check := CHECKS.get(__obj.__name__)) is not None:
            check(text, *args, *kwargs.values())
        if isinstance(__obj, LoopContext) and args:  # a recursive loop
            args = (_steps(__context, args[0]), *args[1:])
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Check the size of a product before it is computed."""
        if operator == "%" and isinstance(left, str | bytes):
            return _formatted(self, left, right)
        if operator == "**":
            check_power(left, right)
        elif operator == "*":
            check_product(left, right)
        return super().call_binop(context, operator, left, right)


@pass_context
def _counted(context: Context, value: Any) -> Any:
    if isinstance(value, Iterator) and not isinstance(value, LoopContext):
        return _steps(context, value)
    context[BUDGET].take(value)
    return value


@pass_context
def _value(context: Context, value: Any, text: str) -> Any:
    if isinstance(value, CALLABLES):
        raise UnwritableValue(
            f"{{{{ {text} }}}} is a {_kind(value)}, not a value; call it, or use another name"
        )
    return _counted(context, value)


@pass_context
def _written(context: Context, value: Any, text: str) -> Any:
    if isinstance(value, CALLABLES):
        raise UnwritableValue(f"{{{{ {text} }}}} is a {_kind(value)}, not text; call it, or use another name")
    context.environment.check_written(value, text)  # type: ignore[attr-defined]
    context[BUDGET].take(value)
    return value


@pass_context
def _steps(context: Context, values: Any) -> Any:
    """Return the values of a loop; each step is counted."""
    if isinstance(values, Undefined):
        return values
    return _stepped(context[BUDGET], iter(values))


def _stepped(budget: Any, values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        budget.take(value)
        yield value


@pass_environment
def _method(environment: BoundedEnvironment, obj: Any, name: str) -> Any:
    if isinstance(obj, Mapping) and name in MAPPING_METHODS:
        return getattr(obj, name)
    return environment.getattr(obj, name)


def kind_of_value(value: Any) -> str:
    """Return the name of a value's type for an error message."""
    if value is None:
        return "null"
    names = {dict: "table", list: "list", tuple: "list", bytes: "binary value"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return "class"
    return "function" if isinstance(value, types.FunctionType) else "method"


@pass_environment
def _join(environment: Any, values: Any, between: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        raise BudgetExceeded("join does not support attribute; use map(attribute=…) before it")
    items = list(values)
    for value in (*items, between):
        environment.check_written(value, "… | join")
    texts = [str(value) for value in items]
    require_size(len(str(between)) * len(texts) if len(str(between)) > 1 else 0)
    return str(between).join(texts)


@pass_environment
def _replace(environment: Any, text: Any, old: Any, new: Any, count: Any = None) -> str:
    for value in (text, old, new):
        environment.check_written(value, "… | replace")
    check_replace(str(text), str(old), str(new))
    return str(text).replace(str(old), str(new), -1 if count is None else count)


@pass_environment
def _format_filter(environment: Any, text: Any, *values: Any, **named: Any) -> str:
    return _formatted(environment, text, named or values)


def _formatted(environment: BoundedEnvironment, text: Any, values: Any) -> str:
    environment.check_written(text, "…")
    for value in format_values(str(text), values):
        environment.check_written(value, f"{str(text)[:40]!r} % …")
    written: str = str(text) % values
    return written
