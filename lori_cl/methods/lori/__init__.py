"""LoRI: sparse cells per task under frozen projections A."""

from lori_cl.methods.lori.method import LoRI

__all__ = ["LoRI"]
