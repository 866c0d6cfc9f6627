"""Inputs of each site on a task: streamed second moments, and their principal directions."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.excluded_directions import Directions
from lori_cl.model_traits import is_encoder_decoder


class InputMoments:
    """Σ x xᵀ over all non-padding tokens, float64. Sites that read the same tensor share one.

    In an encoder-decoder model, the sites of the encoder and those that read its last states (keys and values
    of the cross-attention) read the prompt's tokens. All other sites read the decoder's tokens.

    If a site's input is not one row per token of the batch (for example one state per text), all rows count.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Float[Tensor, "d_in d_in"]] = {}
        """Moments by the first site that reads the tensor."""
        self.dtypes: dict[str, torch.dtype] = {}
        """The dtype of the inputs, by the same site."""
        self.sites: dict[str, list[str]] = {}
        """All sites that read the tensor, by the same site."""
        self._leader: dict[str, str] = {}
        self._mask: Tensor | None = None
        self._decoder_mask: Tensor | None = None
        self._in_decoder = False
        self._encoded: weakref.ref[Tensor] | None = None
        # Weak references: holding the inputs of all sites would need the memory of a training step.
        self._seen: list[tuple[weakref.ref[Tensor], str]] = []

    def begin_forward(self, mask: Tensor | None, decoder_mask: Tensor | None = None) -> None:
        """Begin a forward pass; the attention masks (batch, length) mark the non-padding tokens."""
        self._mask, self._decoder_mask = mask, decoder_mask
        self._in_decoder, self._encoded = False, None
        self._seen = []

    def end_encoder(self, states: Float[Tensor, "B S d"]) -> None:
        """Continue with the decoder, after the encoder returned its last states."""
        self._in_decoder, self._encoded = True, weakref.ref(states)

    def _mask_of(self, x: Tensor) -> Tensor | None:
        """Return the mask of a site's input."""
        reads_states = self._encoded is not None and self._encoded() is x
        return self._decoder_mask if self._in_decoder and not reads_states else self._mask

    def add(self, site: str, x: Float[Tensor, "... d_in"]) -> None:
        """Add the input x of a site."""
        if site not in self._leader:
            self._leader[site] = next((leader for seen, leader in self._seen if seen() is x), site)
            self.sites.setdefault(self._leader[site], []).append(site)
        if self._leader[site] != site:
            return
        self._seen.append((weakref.ref(x), site))
        rows = x.detach().reshape(-1, x.shape[-1]).double()  # (batch · length, d_in)
        mask = self._mask_of(x)
        if mask is not None and len(rows) == mask.numel():
            rows = rows[mask.flatten().to(rows.device).bool()]  # (tokens, d_in)
        if site not in self.sums:
            self.sums[site] = rows.new_zeros(rows.shape[-1], rows.shape[-1])  # on the model's device
            self.dtypes[site] = x.dtype
        self.sums[site].addmm_(rows.T, rows)  # in place: at 14,336 wide a moment is 1.6 GB


@contextmanager
def record_inputs(model: Any, layers: Mapping[str, Any]) -> Iterator[InputMoments]:
    """Gather the second moments of the layers' inputs while the context is active."""
    moments = InputMoments()

    def begin(_module: Any, _args: Any, kwargs: Mapping[str, Any]) -> None:
        moments.begin_forward(kwargs.get("attention_mask"), _decoder_mask(kwargs))

    hooks = [model.register_forward_pre_hook(begin, with_kwargs=True)]
    if is_encoder_decoder(model):
        encoder = model.get_encoder()
        hooks.append(encoder.register_forward_hook(lambda _, __, output: moments.end_encoder(output[0])))
    for site, layer in layers.items():
        hooks.append(layer.register_forward_pre_hook(lambda _, args, site=site: moments.add(site, args[0])))
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


def _decoder_mask(inputs: Mapping[str, Any]) -> Tensor | None:
    """Return which tokens of the decoder's input are no padding; without a mask, those with a label."""
    mask, labels = inputs.get("decoder_attention_mask"), inputs.get("labels")
    return labels != -100 if mask is None and labels is not None else mask


def noise_of(dtype: torch.dtype, width: int) -> float:
    """Return the fraction of the energy that rounding leaves in a direction that the inputs do not use.

    Rounding to `dtype` spreads eps² / 12 of the energy over all `width` directions. Computing in float32,
    then in float64, leaves at most width · eps² in one direction.
    """
    spread = torch.finfo(dtype).eps ** 2 / width
    return max(spread, width * torch.finfo(torch.float32).eps ** 2)


def principal_directions(
    moment: Float[Tensor, "d_in d_in"],
    known: Directions,
    energy: float,
    limit: int | None,
    dtype: torch.dtype = torch.float32,
) -> Directions:
    """Return the fewest new directions that, with the known ones, hold `energy` of the moment's trace.

    There are at most `limit`. They are eigenvectors of the moment outside the known directions, orthonormal
    and orthogonal to them, float64. Directions with no more energy than the rounding noise of `dtype` are not
    taken.
    Source: GPM (Saha et al. 2021), on the second moment instead of a sample of inputs.
    """
    trace = float(moment.trace())
    held = float((known.T @ moment @ known).trace())
    missing = energy * trace - held
    if missing <= 0 or trace == 0:
        return known.new_zeros(known.shape[0], 0)
    outside = moment - known @ (known.T @ moment)
    outside = outside - (outside @ known) @ known.T
    eigenvalues, eigenvectors = torch.linalg.eigh((outside + outside.T) / 2)
    largest_first = eigenvalues.flip(0).clamp(min=0)
    needed = int((largest_first.cumsum(0) < missing).sum()) + 1
    above_noise = int((largest_first > noise_of(dtype, known.shape[0]) * trace).sum())
    wanted = min(needed, above_noise, above_noise if limit is None else limit)
    found = eigenvectors.flip(1)[:, :wanted]  # (d_in, k)
    found = found - known @ (known.T @ found)
    return torch.linalg.qr(found).Q if wanted else found  # type: ignore[no-any-return]
