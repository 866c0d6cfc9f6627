"""Base models in one GGUF file: checked as untrusted input, and dequantised when they are loaded.

transformers reads the weights, the configuration and the tokenizer from the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from lori_cl.errors import ModelError, first_line

log = logging.getLogger(__name__)

GGUF_NAME = "model.gguf"
"""Name of the GGUF file in a base model's digest, whatever its own name is."""
MAX_COUNT = 10_000
"""Maximum number of layers, heads, experts and other parts."""
VALUES_A_BYTE = 8
"""Maximum number of weights in one byte; the smallest quantised type has 1.56 bits a weight."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")


class GgufSize(NamedTuple):
    """Size of a GGUF file's weights."""

    tensors: int
    values: int


def check_gguf(path: str, file: Path) -> None:
    """Check the counts in a GGUF file's metadata.

    Raises: ModelError.
    """
    metadata, _ = _read(path, file, lambda reader: reader.read_gguf_metadata(str(file)))
    prefix = f"{metadata.get('general.architecture')}."
    for name, value in metadata.items():
        counts = value if isinstance(value, list) else [value]
        counted = name.startswith(prefix) and name.endswith("_count")
        if counted and not all(isinstance(n, int) and 0 <= n <= MAX_COUNT for n in counts):
            raise ModelError(
                f"model.path '{path}': {name} must be between 0 and {MAX_COUNT:,}, not {max(counts)}"
            )


def gguf_size(path: str, file: Path) -> GgufSize:
    """Return the size of a GGUF file's weights.

    Raises: ModelError, if the file is too small for them.
    """
    tensors = _read(path, file, lambda reader: reader.GgufHeader.from_file(str(file)).tensors)
    values, size = sum(prod(tensor.shape) for tensor in tensors), file.stat().st_size
    if values > VALUES_A_BYTE * size:
        raise ModelError(f"model.path '{path}' describes {values:,} weights in a file of {size:,} bytes")
    return GgufSize(len(tensors), values)


def gguf_options(file: Path) -> dict[str, Any]:
    """Return the options of `from_pretrained` that load a GGUF file as a dense model; it has been checked."""
    from transformers import GgufConfig

    return {"gguf_file": str(file), "quantization_config": GgufConfig(dequantize=True)}


def silence_gguf(file: Path | None) -> AbstractContextManager[Any]:
    """Suppress the progress bar that transformers draws for a GGUF file, whatever its settings."""
    return nullcontext() if file is None else redirect_stderr(StringIO())


def add_chat_template(path: str, tokenizer: Any) -> None:
    """Give a tokenizer without chat template the ChatML template, if it has ChatML's tokens."""
    if not tokenizer.chat_template and set(CHATML_TOKENS) <= tokenizer.get_vocab().keys():
        tokenizer.chat_template = CHATML
        log.warning(
            "model.path '%s' has no chat template; using ChatML, because its tokenizer has <|im_start|>", path
        )


def _read(path: str, file: Path, read: Callable[[Any], Any]) -> Any:
    """Read from a GGUF file with transformers' reader.

    Raises: ModelError, if the installed version lacks the reader, or the file is damaged.
    """
    try:
        from transformers.integrations.gguf import reader
    except ImportError:
        raise ModelError(
            f"model.path '{path}' is a GGUF file, which needs transformers 5.23 or newer: "
            "pip install 'lori-cl[gguf]'"
        ) from None
    try:
        return read(reader)
    except Exception as error:  # the reader raises any type for a damaged file
        raise ModelError(f"model.path '{path}' is not a readable GGUF file: {first_line(error)}") from None
