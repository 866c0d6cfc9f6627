"""Convert an exported adapter to a GGUF LoRA for llama.cpp, with llama.cpp's own converter."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lori_cl.errors import InputError, LoriError
from lori_cl.evaluation import LoadedRun
from lori_cl.models.location import locate_model

CONVERTER = "convert_lora_to_gguf.py"
"""The converter's file in the repository of llama.cpp."""
VARIABLE = "LORI_CL_GGUF_CONVERTER"
FILE = "adapter.gguf"
MAGIC = b"GGUF"


def find_converter(given: Path | None) -> Path | None:
    """Return the given converter, that of the environment variable, or that on PATH; None without one.

    Raises: InputError, if the one that was named is not a file.
    """
    variable = os.environ.get(VARIABLE)
    for name, path in (("--gguf-converter", given), (VARIABLE, Path(variable) if variable else None)):
        if path is not None:
            if not path.expanduser().is_file():
                raise InputError(f"{name} '{path}' is not a file; give the path of llama.cpp's {CONVERTER}")
            return path.expanduser()
    found = shutil.which(CONVERTER)
    return None if found is None else Path(found)


def convert(loaded: LoadedRun, folder: Path, converter: Path) -> Path:
    """Write `adapter.gguf` into an exported folder; return its path.

    Raises: LoriError, if the converter fails. The folder is kept.
    """
    written = folder / FILE
    with _base_folder(loaded) as base:
        _run(_command(converter, folder, ["--base", str(base)]), folder)
    try:
        with written.open("rb") as file:
            valid = file.read(len(MAGIC)) == MAGIC
    except OSError:
        valid = False
    if not valid:
        raise LoriError(f"{converter} wrote no GGUF file to {written}; {folder} has the PEFT adapter")
    return written


def manual_steps(loaded: LoadedRun, folder: Path) -> tuple[str, ...]:
    """Return the commands that convert an exported folder, for a machine without the converter."""
    place = locate_model(loaded.curriculum.model)
    if place.gguf is not None:
        base = ["--base", "FOLDER_WITH_CONFIG_JSON"]
    elif Path(place.repository).is_dir():
        base = ["--base", place.repository]
    else:
        base = ["--base-model-id", place.repository]
    clone = Path("llama.cpp")
    return (
        "git clone https://github.com/ggml-org/llama.cpp",
        f"pip install -r {clone}/requirements/requirements-convert_hf_to_gguf.txt",
        shlex.join(["python", *_command(clone / CONVERTER, folder, base)[1:]]),
    )


def _command(converter: Path, folder: Path, base: Sequence[str]) -> list[str]:
    """Return the call of the converter; a script is run by this Python, a program directly."""
    program = [sys.executable, str(converter)] if converter.suffix == ".py" else [str(converter)]
    return [*program, str(folder), *base, "--outfile", str(folder / FILE)]


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (the converter that the user named)
            command, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise LoriError(
            f"{command[0]} cannot be run: {error.strerror}; {folder} has the PEFT adapter"
        ) from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = lines[-1] if lines else "it prints no reason"
        raise LoriError(
            f"the conversion to GGUF failed with exit code {done.returncode}: {why}; {folder} has the PEFT "
            f"adapter. To see all output, run: {shlex.join(command)}"
        )


@contextmanager
def _base_folder(loaded: LoadedRun) -> Iterator[Path]:
    """Yield a folder with the configuration of the base model; the converter reads no weights of it."""
    place = locate_model(loaded.curriculum.model)
    if place.gguf is None and (Path(place.repository) / "config.json").is_file():
        yield Path(place.repository)
        return
    with tempfile.TemporaryDirectory(prefix="lori-cl-base-") as temporary:
        base = Path(temporary) / "base"  # the converter writes its name into the GGUF file
        config = loaded.base.model.config
        config.architectures = config.architectures or [type(loaded.base.model).__name__]
        config.save_pretrained(base)
        loaded.base.tokenizer.save_pretrained(base)
        yield base
