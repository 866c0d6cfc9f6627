"""Format-aware mutations, which get past the first check of a file."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from tests.fuzz.targets import SETTINGS

RandomMutation = Callable[[bytes, int], bytes]
"""(input, maximum number of bytes) → the input with bytes changed anywhere."""

Mutator = Callable[[bytes, random.Random], bytes]

RANDOM_SHARE = 0.3
"""Share of mutations that ignore the format."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        " ",
        "a",
        "../../x",
        "/etc/passwd",
        "link",
        "~",
        "data",
        "\0",
        "\n",
        "\u202e",
        "é" * 100,
        "x" * 5000,
    ),
    *("{{ text }}", "{{ x * 99999 }}", "{% for i in range(9999) %}{{ i }}{% endfor %}", "{{ ''.__class__ }}"),
    *([], {}, ["a"], ["a", "a"], [["a"]], {"a": 1}, {"local": "../outside"}, {"hub": "a/b", "revision": "c"}),
    *("classification", "generation", "code", "safety", "multiple_choice", "numeric_match", "null-space"),
)
PIECES = (
    *("{{ text }}", "{{ choices | join(', ') }}", "{% if n %}", "{% else %}", "{% endif %}", "{% endfor %}"),
    *("{% for c in choices %}", "{% for i in range(n) %}", "{{ loop.index }}", "{% set x = text ~ text %}"),
    *(
        "{% macro f(a) %}",
        "{% endmacro %}",
        "{{ f(n) }}",
        "{{ n ** n }}",
        "{{ text * n }}",
        "{{ deep.a[1]['b'] }}",
    ),
    *("{{ text.__class__ }}", "{{ text | attr('upper') }}", "{{ self }}", "{{ '%s' % text }}", "{% raw %}"),
    *(
        "{{ no }}",
        "{{ (",
        "}}",
        "{#",
        "#}",
        "| map('upper')",
        "| replace('a', 'b')",
        "| tojson",
        "{% filter upper %}",
    ),
)
MARKS = (
    "&a",
    "*a",
    "!!set",
    "!!python/name:os.system",
    "<<",
    "? ",
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "|",
    ">",
    "\t",
)


XML_VALUES = (
    *("", "0", "-1", "1e300", "99999999999", "NaN", "ZZZ1", "a", "../x", "xl/workbook.xml"),
    *"bdens",
)
ELEMENTS = (
    '<row r="1048577">',
    '<row r="0"/>',
    '<c r="XFD1" t="s"><v>999</v></c>',
    '<c t="d"><v>2026-13-99</v></c>',
    '<c s="0"><v>1e300</v></c>',
    '<c t="e"><v>#N/A</v></c>',
    '<c t="b"><v>x</v></c>',
    '<dimension ref="A1:ZZZ9999999"/>',
    '<mergeCell ref="A1:A2"/>',
    '<!DOCTYPE x [<!ENTITY a "b">]>',
    "&a;",
    "</sheetData>",
)


def changed(value: Any, rng: random.Random) -> Any:
    """Return the value with one part removed, duplicated, renamed or replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        match rng.randrange(5):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, str(rng.choice(VALUES))[:80]: value[key]}
            case _:
                return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        match rng.randrange(4):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + [value[at]] * rng.choice((2, 40)) + value[at + 1 :]
            case _:
                return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    if isinstance(value, str) and rng.random() < 0.3:
        return value + rng.choice(PIECES)
    return rng.choice(VALUES)


def yaml_text(content: bytes, rng: random.Random) -> bytes:
    """Change a value of a YAML mapping, or duplicate, indent or mark one of its lines."""
    if rng.random() < 0.5:
        lines = content.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        mark = rng.choice(MARKS).encode()
        new = rng.choice(
            (
                [],
                [lines[at]] * 2,
                [b"  " + lines[at]],
                [mark + lines[at]],
                [lines[at].replace(b": ", b": " + mark + b" ")],
            )
        )
        return b"".join([*lines[:at], *new, *lines[at + 1 :]])
    text = yaml.safe_dump(changed(yaml.safe_load(content), rng), sort_keys=False, allow_unicode=True)
    return text.encode(errors="replace")


def settings(content: bytes, rng: random.Random) -> bytes:
    """Add an override to a curriculum, or change its text."""
    text, *overrides = content.split(SETTINGS)
    if rng.random() < 0.5:
        key = rng.choice(
            ("train.lr", "tasks", "masks.density", "adapter", "model.path", "train.epochs_of.a", "x.y")
        )
        overrides = [
            *overrides,
            f"{key}={rng.choice(VALUES)}".encode(errors="surrogateescape").replace(SETTINGS, b""),
        ]
        return SETTINGS.join([text, *overrides[-3:]])
    return SETTINGS.join([yaml_text(text, rng), *overrides])


def json_text(content: bytes, rng: random.Random) -> bytes:
    """Change a JSON value."""
    return json.dumps(changed(json.loads(content), rng), ensure_ascii=rng.random() < 0.5).encode(
        errors="replace"
    )


def json_lines(content: bytes, rng: random.Random) -> bytes:
    """Change, duplicate or remove one JSON line."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    new = rng.choice(([], [lines[at]] * 2, [json_text(lines[at], rng)], [json_text(lines[at], rng)]))
    return b"\n".join([*lines[:at], *new, *lines[at + 1 :]])


def rows(content: bytes, rng: random.Random) -> bytes:
    """Change JSON rows after the byte that selects the format; random mutations change CSV rows."""
    return content[:1] + json_lines(content[1:], rng)


def template(content: bytes, rng: random.Random) -> bytes:
    """Insert a piece into a template."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(PIECES).encode() + content[at + rng.choice((0, 0, 5, 20)) :]


def safetensors(content: bytes, rng: random.Random) -> bytes:
    """Corrupt the header of a safetensors file, or replace a tensor and write a valid header."""
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    if rng.random() < 0.5:
        return _with_invalid_header(changed(header, rng), data, rng)
    tensors = {name: of for name, of in header.items() if name != "__metadata__"}
    name = rng.choice(list(tensors) or ["x"])
    dtype, width = rng.choice(
        (("F32", 4), ("BF16", 2), ("U8", 1), ("I64", 8), ("F64", 8), ("BOOL", 1), ("F8_E5M2", 1))
    )
    shape = [rng.choice((0, 1, 2, 3, 5, 6)) for _ in range(rng.randrange(4))]
    count = width
    for side in shape:
        count *= side
    tensors[rng.choice((name, name, name + "x", "../" + name, "head/weight"))] = (
        dtype,
        shape,
        rng.randbytes(count),
    )
    return _with_valid_header(tensors, header.get("__metadata__"), data)


def _with_valid_header(tensors: Mapping[str, Any], metadata: Any, data: bytes) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    parts: list[bytes] = []
    for name, of in tensors.items():
        if isinstance(of, dict):
            begin, end = of["data_offsets"]
            dtype, shape, raw = of["dtype"], of["shape"], data[begin:end]
        else:
            dtype, shape, raw = of
        begin = sum(map(len, parts))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + len(raw)]}
        parts.append(raw)
    raw_header = json.dumps(header).encode()
    return struct.pack("<Q", len(raw_header)) + raw_header + b"".join(parts)


def _with_invalid_header(header: Any, data: bytes, rng: random.Random) -> bytes:
    raw = json.dumps(header).encode(errors="replace")
    size = rng.choice((len(raw), len(raw), len(raw), len(raw) + 1, 0, 2**63))
    return struct.pack("<Q", size) + raw + rng.choice((data, data, data[:-1], data + b"x", b""))


def adapter(content: bytes, rng: random.Random) -> bytes:
    """Change the configuration or the weights of an adapter."""
    config, _, weights = content.partition(b"\0")
    if rng.random() < 0.5 and not config.startswith(b"!"):
        return json_text(config, rng) + b"\0" + weights
    return config + b"\0" + safetensors(weights, rng)


def workbook(content: bytes, rng: random.Random) -> bytes:
    """Insert, repeat or remove an element of a part of a workbook, or replace the part."""
    parts = json.loads(content)
    name = rng.choice(list(parts))
    pieces = re.split(r"(?=<)", parts[name])
    at = rng.randrange(len(pieces))
    match rng.randrange(5):
        case 0:
            pieces[at] = rng.choice(ELEMENTS)
        case 1:
            pieces.insert(at, rng.choice(ELEMENTS))
        case 2:
            pieces[at:at] = pieces[at : at + rng.randrange(6)]
        case 3:
            pieces[at] = re.sub(r'"[^"]*"|(?<=>)[^<]+', lambda _: f'"{rng.choice(XML_VALUES)}"', pieces[at])
        case _:
            parts[rng.choice(list(parts))] = rng.choice(("", "<a/>", parts[name]))
            return json.dumps(parts).encode()
    return json.dumps({**parts, name: "".join(pieces)}).encode()


MUTATORS: Mapping[str, Mutator] = {
    "task": yaml_text,
    "curriculum": settings,
    "rows": rows,
    "template": template,
    "stage": safetensors,
    "statistics": safetensors,
    "eval-set": json_lines,
    "adapter": adapter,
    "workbook": workbook,
}
"""Mutators by target."""


def mutator(target: str, random_mutation: RandomMutation) -> Callable[[bytes, int, int], bytes]:
    """Return the function that libFuzzer calls with (input, maximum number of bytes, seed)."""
    format_aware = MUTATORS[target]

    def mutate(content: bytes, max_bytes: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() > RANDOM_SHARE:
            try:
                return format_aware(content, rng)[:max_bytes]
            except Exception:  # the input no longer has the format
                return random_mutation(content, max_bytes)
        return random_mutation(content, max_bytes)

    return mutate
