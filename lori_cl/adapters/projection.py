"""The frozen A of a site, drawn reproducibly across processes and library versions."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

Distribution = Literal["uniform", "normal"]


def draw_projection(
    seed: int, site: str, rank: int, in_features: int, distribution: Distribution
) -> Float[np.ndarray, "r d_in"]:
    """Draw A, float32, from (seed, site name, shape, distribution) alone.

    `uniform` is U(±1/√d_in), PEFT's default initialisation, which LoRI's published code uses;
    `normal` has the same variance, 1/(3·d_in). No global random generator is used.
    Source: LoRI (Zhang et al. 2025), section 3: A random and frozen.
    """
    key = hashlib.sha256(f"{seed}|{site}|{rank}x{in_features}|{distribution}".encode()).digest()
    # Raw words of a bit generator are stable by NumPy's policy; Generator.uniform and .normal are not.
    words = np.random.PCG64(int.from_bytes(key, "little")).random_raw(rank * in_features)
    unit = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    unit = np.minimum(unit, 1.0 - 2.0**-53)  # in (0, 1): without this, the largest word would round to 1
    if distribution == "uniform":
        drawn = (2.0 * unit - 1.0) / np.sqrt(in_features)
    else:
        drawn = ndtri(unit) / np.sqrt(3.0 * in_features)
    projection: Float[np.ndarray, "r d_in"] = drawn.astype(np.float32).reshape(rank, in_features)
    return projection
