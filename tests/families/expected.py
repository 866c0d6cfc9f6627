"""Compare the result of a family with the expected one."""

from __future__ import annotations

from pathlib import Path

from .configs import Family
from .workflow import Fault, Refused, try_family


def outcome(root: Path, family: Family) -> tuple[bool, str]:
    """Return (as expected, result)."""
    try:
        return family.refused is None, try_family(root, family)
    except Refused as refusal:
        message = str(refusal)
        expected = family.refused is not None and family.refused in message and "\n" not in message
        return expected, f"refused: {message}"
    except Fault as fault:
        return False, f"fault: {fault}"
    except Exception as error:  # the model itself could not be built
        return False, f"not built: {type(error).__name__}: {error}"
