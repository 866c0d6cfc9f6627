"""What every job needs of the process it runs in: environment, other processes, progress."""

from lori_cl.runtime.progress import Progress, SilentProgress

__all__ = ["Progress", "SilentProgress"]
