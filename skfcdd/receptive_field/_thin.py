"""Networks run for what depends on what alone: equal channels are computed once.

All channels behind a convolution depend on the same pixels. They are held as one
channel, expanded, which goes as one through all that treats channels alike; whatever
else takes such a tensor is given it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["ThinChannels", "is_thin"]

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
# By their names in torch, torch.Tensor and torch.nn.functional.
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
_LOOKS = {"size", "dim", "stride", "numel", "is_contiguous", "is_floating_point"}


def is_thin(value: Any) -> bool:
    """Whether a value is a map of one channel that stands for all."""
    return (
        isinstance(value, Tensor)
        and value.dim() == 4
        and value.shape[1] > 1
        and value.stride(1) == 0
    )


class ThinChannels(TorchFunctionMode):
    """While it lasts, convolutions give maps of one channel, expanded.

    NaN spread as they do without; numbers are others.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, with one channel for all that are alike."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in _CONVOLUTIONS:
            options = dict(zip(_CONVOLUTIONS[name], args, strict=False)) | kwargs
            return _convolved(func, options)
        thin = [v for v in (*args, *kwargs.values()) if is_thin(v)]
        if not thin and not _is_nested_thin(args):
            return func(*args, **kwargs)
        if name == "__get__" or name in _LOOKS:
            return func(*args, **kwargs)
        if name == "batch_norm" and _is_fixed_norm(args, kwargs):
            return thin[0]
        values = [*args, *kwargs.values()]
        if name in _CHANNELWISE and thin and all(map(_is_channelwise, values)):
            part = func(*map(_lone, args), **{k: _lone(v) for k, v in kwargs.items()})
            if part.shape[1:2] == (1,):  # padding may add channels
                return part.expand(-1, thin[0].shape[1], -1, -1)
        if _is_in_place(name) or kwargs.get("inplace") or "out" in kwargs:
            raise NotImplementedError(f"{name} writes into channels that are shared.")
        return func(*map(_full, args), **{k: _full(v) for k, v in kwargs.items()})


def _convolved(func: Callable[..., Any], options: dict[str, Any]) -> Tensor:
    x, weight, groups = options["input"], options["weight"], options.get("groups", 1)
    if x.dim() != 4:
        full: Tensor = func(**options)
        return full
    transposed = "output_padding" in options or func.__name__ == "conv_transpose2d"
    n_out = weight.shape[1] * groups if transposed else weight.shape[0]
    options |= {"weight": weight.new_zeros(1, 1, *weight.shape[2:]), "bias": None}
    options["groups"] = 1
    if is_thin(x):
        options["input"] = x[:, :1]
        alike: Tensor = func(**options)
        return alike.expand(-1, n_out, -1, -1)
    n, c, h, w = x.shape
    # What any channel of a group sees, all that are made of the group see.
    joined = x.reshape(n, groups, c // groups, h, w).sum(dim=2)
    options["input"] = joined.reshape(n * groups, 1, h, w)
    seen: Tensor = func(**options)
    seen = seen.reshape(n, groups, *seen.shape[2:])
    if groups == 1:
        return seen.expand(-1, n_out, -1, -1)
    return seen.repeat_interleave(n_out // groups, dim=1)


def _is_fixed_norm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a batch normalisation takes its statistics from nowhere but storage."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training")
    given = dict(zip(names, args, strict=False)) | kwargs
    return given.get("running_mean") is not None and not given.get("training", False)


def _is_channelwise(value: Any) -> bool:
    """Whether a value means the same to all channels."""
    if isinstance(value, Tensor):
        alike = value.dim() == 4 and value.shape[1] == 1
        return alike or value.dim() == 0 or is_thin(value)
    return not _is_nested_thin([value])


def _is_in_place(name: str) -> bool:
    plain = name.endswith("_") and not name.endswith("__")
    return plain or name == "__setitem__" or name.startswith("__i")


def _is_nested_thin(values: Sequence[Any]) -> bool:
    lists = [v for v in values if isinstance(v, (list, tuple))]
    return any(is_thin(item) for items in lists for item in items)


def _lone(value: Any) -> Any:
    return value[:, :1] if is_thin(value) else value


def _full(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_full, value))
    return value.contiguous() if is_thin(value) else value
