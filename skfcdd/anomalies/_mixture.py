"""Kinds of synthetic anomalies by name, mixtures of them, and custom kinds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from skfcdd._utils.random import on_host
from skfcdd.anomalies._features import FEATURE_ANOMALIES, FeatureAnomaly
from skfcdd.anomalies._noise import gaussian, perlin, solid, uniform
from skfcdd.anomalies._planted import blobs, confetti, cutpaste, scratches

Planter = Callable[[Tensor, Generator], tuple[Tensor, Tensor]]
"""Type of functions that draw anomalies: (images, generator) -> (images, masks)."""


@dataclass(frozen=True)
class _Mixture:
    """Function that splits a batch among several kinds, in random order."""

    kinds: tuple[Planter, ...]

    def __call__(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        n_kinds = len(self.kinds)
        turns = torch.randperm(n_kinds, generator=on_host(generator))
        changed = torch.empty_like(images)
        masks = torch.empty_like(images[:, :1], dtype=torch.bool)
        for first, turn in enumerate(turns.tolist()[: len(images)]):
            part = slice(first, None, n_kinds)
            own = images[part].contiguous()
            changed[part], masks[part] = self.kinds[turn](own, generator)
        return changed, masks


_MIXED = _Mixture((confetti, blobs, perlin, cutpaste, scratches))


def mixed(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw anomalies of five kinds, one kind in each image of a batch.

    The kinds are confetti, blobs, perlin, cutpaste and scratches, which are used for
    equal parts of the batch, in random order.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        Images in the unit range.
    generator : torch.Generator
        Generator on the device of `images`.

    Returns
    -------
    images : Tensor of shape (n, c, h, w), float32
    masks : Tensor of shape (n, 1, h, w), bool

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import mixed
    >>> images = torch.full((10, 1, 64, 64), 0.5)
    >>> changed, masks = mixed(images, torch.Generator().manual_seed(0))
    >>> bool(masks.any(dim=(1, 2, 3)).all())
    True
    """
    return _MIXED(images, generator)


SYNTHETIC_ANOMALIES: Mapping[str, Planter] = MappingProxyType(
    {
        "confetti": confetti,
        "blobs": blobs,
        "scratches": scratches,
        "cutpaste": cutpaste,
        "perlin": perlin,
        "mixed": mixed,
        "solid": solid,
        "gaussian": gaussian,
        "uniform": uniform,
    }
)
"""Synthetic anomalies in images, by the names that ``synthetic=`` accepts."""


@dataclass(frozen=True)
class _Checked:
    """Custom kind whose results are validated."""

    function: Planter

    def __call__(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        result = self.function(images, generator)
        n, _, h, w = images.shape
        if not (
            isinstance(result, tuple)
            and len(result) == 2
            and all(isinstance(part, Tensor) for part in result)
        ):
            raise ValueError(
                "The callable passed as synthetic must return a tuple (images, masks) "
                f"of tensors. Got {type(result).__name__}."
            )
        changed, masks = result
        if changed.shape != images.shape or not changed.is_floating_point():
            raise ValueError(
                "The callable passed as synthetic must return floating-point images "
                f"of shape {tuple(images.shape)}. Got {tuple(changed.shape)}, "
                f"{changed.dtype}."
            )
        if masks.shape != (n, 1, h, w) or masks.dtype != torch.bool:
            raise ValueError(
                "The callable passed as synthetic must return masks of shape "
                f"{(n, 1, h, w)} and dtype torch.bool. Got {tuple(masks.shape)}, "
                f"{masks.dtype}."
            )
        if not bool(changed.isfinite().all()):
            raise ValueError(
                "The callable passed as synthetic returned images with NaN or infinity."
            )
        return changed.to(images.dtype), masks


def resolve_synthetic(synthetic: Any) -> Planter | None:
    """Create the function that draws the anomalies to which `synthetic` refers.

    Parameters
    ----------
    synthetic : str, callable, sequence of these, or None
        A name in `SYNTHETIC_ANOMALIES`; a custom function (images, generator) ->
        (images, masks); or a sequence of these, among which each batch is split.

    Returns
    -------
    callable or None

    Raises
    ------
    ValueError
        If a name is unknown, the sequence is empty, or a kind changes features, which
        requires a network.
    TypeError
        If an entry is neither a name nor callable.

    Examples
    --------
    >>> from skfcdd.anomalies import confetti, resolve_synthetic
    >>> resolve_synthetic("confetti") is confetti
    True
    """
    planted, made = resolve_kinds(synthetic)
    if made:
        raise ValueError(
            f"Got synthetic={synthetic!r}, but expected synthetic anomalies in "
            f"images: {made[0]} changes the features of a network, which is possible "
            "only when an estimator is fitted."
        )
    return mixture(planted)


def mixture(kinds: tuple[Planter, ...]) -> Planter | None:
    """Combine kinds into one function; None if there are none."""
    if not kinds:
        return None
    return kinds[0] if len(kinds) == 1 else _Mixture(kinds)


def resolve_kinds(
    synthetic: Any,
) -> tuple[tuple[Planter, ...], tuple[FeatureAnomaly, ...]]:
    """Return the kinds in `synthetic`: first those in images, then those in features.

    Raises
    ------
    ValueError
        If a name is unknown, the sequence is empty, or a parameter is out of range.
    TypeError
        If an entry is neither a name nor callable.
    """
    if synthetic is None:
        return (), ()
    entries = synthetic if isinstance(synthetic, (tuple, list)) else (synthetic,)
    if not entries:
        raise ValueError("synthetic is empty. Use None for no synthetic anomalies.")
    kinds = [_resolve_one(entry, synthetic) for entry in entries]
    made = tuple(kind for kind in kinds if isinstance(kind, FeatureAnomaly))
    planted = tuple(kind for kind in kinds if not isinstance(kind, FeatureAnomaly))
    return planted, made


def _resolve_one(entry: Any, synthetic: Any) -> Planter | FeatureAnomaly:
    if isinstance(entry, str):
        known: dict[str, Planter | FeatureAnomaly] = {
            **SYNTHETIC_ANOMALIES,
            **FEATURE_ANOMALIES,
        }
        if entry in known:
            return known[entry]
        near = difflib.get_close_matches(entry, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Got synthetic={synthetic!r}, but expected names of "
            f"{sorted(known)}, callables or None.{hint}"
        )
    if isinstance(entry, FeatureAnomaly):
        entry.check()
        return entry
    if isinstance(entry, type) and issubclass(entry, FeatureAnomaly):
        raise TypeError(
            f"Got synthetic={synthetic!r}, but expected an instance: "
            f"{entry.__name__}()."
        )
    if callable(entry):
        return _Checked(entry)
    raise TypeError(
        f"Got synthetic={synthetic!r}, but expected a name, a callable, a sequence of "
        f"these or None."
    )
