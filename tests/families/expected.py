"""Whether a family does what is expected of it."""

from __future__ import annotations

from pathlib import Path

from .configs import Family
from .workflow import Fault, Refused, try_family


def outcome(root: Path, family: Family) -> tuple[bool, str]:
    """(as expected, what happened)."""
    try:
        return family.refused is None, try_family(root, family)
    except Refused as refusal:
        told = str(refusal)
        expected = family.refused is not None and family.refused in told and "\n" not in told
        return expected, f"refused: {told}"
    except Fault as fault:
        return False, f"fault: {fault}"
    except Exception as error:  # the model itself could not be built
        return False, f"not built: {type(error).__name__}: {error}"
