"""lori_cl: teach one frozen transformer task after task, and prove that nothing learned was overwritten."""

from importlib.metadata import version

__version__ = version("lori-cl")
