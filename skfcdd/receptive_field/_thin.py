"""Propagation of dependencies through networks, with equal channels computed once.

All output channels of a convolution depend on the same pixels. One channel represents
them all in every operation that treats channels alike; any other operation receives the
full map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["AlikeChannels", "ThinChannels"]

_CONVOLUTIONS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose2d": (
        "input",
        "weight",
        "bias",
        "stride",
        "padding",
        "output_padding",
        "groups",
        "dilation",
    ),
}
# Operations that treat channels alike, by their names in torch, torch.Tensor and
# torch.nn.functional.
_CHANNELWISE = {
    *("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_"),
    *("silu", "gelu", "elu", "elu_", "selu", "celu", "mish", "softplus", "softsign"),
    *("hardswish", "hardsigmoid", "sigmoid", "sigmoid_", "tanh", "tanh_", "logsigmoid"),
    *("exp", "abs", "sqrt", "square", "neg", "clamp", "clone", "contiguous", "detach"),
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
    *("interpolate", "upsample", "pad", "dropout", "dropout2d"),
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "maximum", "minimum"),
    *("__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__"),
    *("__mul__", "__rmul__", "__imul__", "__truediv__", "__itruediv__"),
}
_JOINS = {"cat", "concat", "concatenate"}
# Operations that return only shapes and types.
_LOOKS = {
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point, Tensor.__len__),
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "dtype", "device", "ndim", "requires_grad", "is_cuda")
    ),
}


class AlikeChannels(Tensor):
    """Map with groups of channels that depend on the same pixels.

    Its own values are NaN, to reveal code that reads them directly instead of through
    the operations handled here.

    Attributes
    ----------
    lone : Tensor of shape (n, groups, h, w)
        One channel of each group.
    sizes : tuple of int
        Number of channels of each group.
    """

    lone: Tensor
    sizes: tuple[int, ...]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def of(cls, lone: Tensor, sizes: Sequence[int]) -> AlikeChannels:
        """Create a map in which each of these channels is repeated."""
        n, _, h, w = lone.shape
        shape = lone.new_full((1, 1, 1, 1), math.nan).expand(n, sum(sizes), h, w)
        alike: AlikeChannels = torch.Tensor._make_subclass(cls, shape)
        alike.lone, alike.sizes = lone, tuple(sizes)
        return alike

    def full(self) -> Tensor:
        """Return all channels."""
        return self.lone.repeat_interleave(torch.tensor(self.sizes), dim=1)


class ThinChannels(TorchFunctionMode):
    """Context in which convolutions return maps of equal channels.

    NaN spreads as usual; all other values are meaningless.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func` with one channel for each group of equal channels."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in _CONVOLUTIONS:
            options = dict(zip(_CONVOLUTIONS[name], args, strict=False)) | kwargs
            return _convolved(func, options)
        values = [*args, *kwargs.values()]
        alike = [v for v in values if isinstance(v, AlikeChannels)]
        if func in _LOOKS or not (alike or any(map(_holds_alike, values))):
            return func(*args, **kwargs)
        done = None
        if name in _JOINS:
            done = _joined(*args, **kwargs)
        elif name == "batch_norm" and _is_fixed_norm(args, kwargs):
            done = alike[0]
        elif name in _CHANNELWISE and alike:
            done = _channelwise(func, args, kwargs, alike)
        if done is not None:
            return done
        if _is_in_place(name) or kwargs.get("inplace") or "out" in kwargs:
            raise NotImplementedError(f"{name} writes into shared channels.")
        return func(*map(_full, args), **{k: _full(v) for k, v in kwargs.items()})


def _convolved(func: Callable[..., Any], options: dict[str, Any]) -> Tensor:
    x, weight, groups = options["input"], options["weight"], options.get("groups", 1)
    if x.dim() != 4:
        whole: Tensor = func(**{k: _full(v) for k, v in options.items()})
        return whole
    transposed = func.__name__ == "conv_transpose2d"
    n_out = weight.shape[1] * groups if transposed else weight.shape[0]
    options |= {"weight": weight.new_zeros(1, 1, *weight.shape[2:]), "bias": None}
    options["groups"] = 1
    lone = x.lone if isinstance(x, AlikeChannels) else x
    sizes: Sequence[int] = [n_out]
    if groups == x.shape[1] == n_out and lone is not x:
        sizes, groups = x.sizes, len(x.sizes)  # each channel separately
    elif groups == 1 or lone.shape[1] == 1:
        groups = 1
    else:
        lone, sizes = _full(x), [n_out // groups] * groups
    n, c, h, w = lone.shape
    # The field of the output includes the fields of all input channels of its group.
    joined = lone.reshape(n, groups, c // groups, h, w).sum(dim=2)
    options["input"] = joined.reshape(n * groups, 1, h, w)
    seen: Tensor = func(**options)
    return AlikeChannels.of(seen.reshape(n, groups, *seen.shape[2:]), sizes)


def _channelwise(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    alike: Sequence[AlikeChannels],
) -> Any:
    """Apply `func` to one channel of each group; None if it needs all channels."""
    sizes = max((x.sizes for x in alike), key=len)
    if not all(_suits(value, sizes) for value in (*args, *kwargs.values())):
        return None
    part = func(*map(_lone, args), **{k: _lone(v) for k, v in kwargs.items()})
    if part is alike[0].lone:  # modified in place
        return alike[0]
    if part.dim() != 4 or part.shape[1] != len(sizes):  # padding may add channels
        return None
    return AlikeChannels.of(part, sizes)


def _joined(tensors: Any, dim: int = 0) -> AlikeChannels | None:
    """Concatenate maps along the channel axis; return None for other axes."""
    if dim not in (1, -3) or any(t.dim() != 4 for t in tensors):
        return None
    sizes = [getattr(t, "sizes", (1,) * t.shape[1]) for t in tensors]
    lone = torch.cat([_lone(t) for t in tensors], dim=1)
    return AlikeChannels.of(lone, [k for own in sizes for k in own])


def _is_fixed_norm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a batch normalisation uses only stored statistics."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return given.get("running_mean") is not None and not given.get("training", False)


def _suits(value: Any, sizes: Sequence[int]) -> bool:
    """Whether a value applies equally to all channels of each group."""
    if isinstance(value, AlikeChannels):
        return len(value.sizes) == 1 or value.sizes == sizes
    if isinstance(value, Tensor):
        return value.dim() == 0 or (value.dim() == 4 and value.shape[1] == 1)
    return not _holds_alike(value)


def _is_in_place(name: str) -> bool:
    plain = name.endswith("_") and not name.endswith("__")
    return plain or name == "__setitem__" or name.startswith("__i")


def _holds_alike(value: Any) -> bool:
    many = isinstance(value, (list, tuple))
    return many and any(isinstance(item, AlikeChannels) for item in value)


def _lone(value: Any) -> Any:
    return value.lone if isinstance(value, AlikeChannels) else value


def _full(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_full, value)) if _holds_alike(value) else value
    return value.full() if isinstance(value, AlikeChannels) else value
