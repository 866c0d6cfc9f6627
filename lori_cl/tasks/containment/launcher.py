"""Start the supervisor, as a script, without lori_cl.

Stdin begins with the length of a marshalled dict, then the dict: the compiled modules of the supervisor, in
import order. They are loaded as the package `contained`.
"""

from __future__ import annotations

import marshal
import os
import sys
from types import ModuleType

if __name__ == "__main__":
    length = int.from_bytes(os.pread(0, 8, 0), sys.byteorder)
    modules = marshal.loads(os.pread(0, length, 8))  # noqa: S302  (from our own parent)
    sys.modules["contained"] = ModuleType("contained")
    sys.modules["contained"].__path__ = []
    for name, code in modules.items():
        module = sys.modules[f"contained.{name}"] = ModuleType(f"contained.{name}")
        module.__package__ = "contained"
        exec(code, vars(module))  # noqa: S102
    sys.modules["contained.supervisor"].main(8 + length)
