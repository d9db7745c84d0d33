"""Copies of trained networks that are optimised for inference.

Batch normalisation is folded into the preceding convolutions, frozen layers compute in
bfloat16 if the precision is "mixed", and a CPU processes images in groups that fit in
its cache. Pairs of convolution and normalisation are found by running the network, so
that any architecture can be folded.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from skfcdd._engine.fused import can_fuse, fuse
from skfcdd._engine.memory import DeepFeatures, NormalMemory
from skfcdd._engine.module import FCDDModule
from skfcdd._utils.random import undisturbed

__all__ = ["fold_norms", "lean"]

# Maximum change of an output by folding, relative to the largest output. A larger one
# is not due to rounding.
_ROUNDING = 1e-3
# Number of pixels that a CPU processes at once. Measured with EfficientNet-Lite0: in
# groups of 32 images of 128 x 128 pixels, each takes twice as long as in groups of 8.
_AT_ONCE = 1 << 17
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6)


@torch.no_grad()
def lean(
    module: FCDDModule,
    precision: str,
    size: tuple[int, int],
    memory: NormalMemory | None = None,
) -> FCDDModule:
    """Return a copy of a module that computes the same results faster.

    Parameters
    ----------
    module : FCDDModule
    precision : {"float64", "float32", "bfloat16", "mixed"}
        Floating-point precision; "mixed" uses bfloat16 only for frozen layers.
    size : tuple of int (h, w)
        Size of the network input.
    memory : NormalMemory, default=None
        Memory bank whose map the copy adds to its own.

    Returns
    -------
    FCDDModule
        Copy in evaluation mode, which shares everything but the backbone; `module`
        itself if no layer is frozen.
    """
    if not module.split:
        return module
    fast = copy.copy(module)
    fast._modules = dict(module._modules)
    fast.backbone = fold_norms(module.backbone, _sample(module, size))
    # The output of the frozen layers is also used by the memory bank.
    for path in fast.backbone.paths[fast.split : fast.split + 1]:  # type: ignore[index]
        if isinstance(fast.backbone.get_submodule(path), _ACTIVATIONS):
            fast.backbone.get_submodule(path).inplace = False  # type: ignore[assignment]
    if precision == "mixed":
        fast.frozen_dtype = torch.bfloat16
        for path in fast.backbone.paths[: fast.split]:  # type: ignore[index]
            fast.backbone.get_submodule(path).to(torch.bfloat16)
    fast.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if memory is not None:
        fast.memory = _lean_memory(memory, module, precision, size)
    if module.preprocess.mean.device.type == "cpu":
        fast.at_once = max(1, _AT_ONCE // (size[0] * size[1]))
    fast.backbone.requires_grad_(False).eval()
    fast.training = False
    return fast


def _lean_memory(
    memory: NormalMemory, module: FCDDModule, precision: str, size: tuple[int, int]
) -> NormalMemory:
    """Return an optimised copy of the memory bank, on the device of the module."""
    reference = module.preprocess.mean
    fast = copy.deepcopy(memory).to(reference.device, reference.dtype)
    sample = _sample(module, size)
    *_, kept = module.backbone.head(sample, module.split)  # type: ignore[operator]
    fast.features = cast(DeepFeatures, fold_norms(fast.features, kept))
    if precision == "mixed":
        fast.features.to(torch.bfloat16)
    fast.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fast.requires_grad_(False).eval()


def _sample(module: FCDDModule, size: tuple[int, int]) -> Tensor:
    """Create an image of varied values, as input of the backbone."""
    mean = module.preprocess.mean
    n_channels = getattr(module.backbone, "n_channels", None) or len(mean)
    values = torch.arange(n_channels * size[0] * size[1], dtype=torch.float64)
    image = (values * 0.618).frac().view(1, n_channels, *size) * 4 - 2
    return image.to(mean).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def fold_norms(network: nn.Module, sample: Tensor) -> nn.Module:
    """Return a copy of a network with batch normalisation folded into convolutions.

    Activations are fused with the preceding convolutions, or computed in place, which
    saves a pass over memory.

    Parameters
    ----------
    network : torch.nn.Module
    sample : Tensor of shape (1, c, h, w)
        Input used to trace the order of layers, and to verify the result.

    Returns
    -------
    torch.nn.Module
        Copy in evaluation mode, without folding if that would change the output.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skfcdd._engine.lean import fold_norms
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4))
    >>> fold_norms(network, torch.rand(1, 1, 8, 8))
    Sequential(
      (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
    )
    """
    plain = copy.deepcopy(network).eval()
    pairs, activations, expected = _pairs(plain, sample)
    # Activations in place change the result if their input is also used elsewhere. The
    # second attempt does without them.
    for names in (activations, dict[str, set[str]]()):
        try:
            folded = _folded(plain, pairs, names)
            with undisturbed(folded, str(sample.device)):
                error = (folded(sample) - expected).abs().max()
        # Custom layers may compute their weights, or read attributes of the
        # normalisation.
        except Exception:
            continue
        if error <= _ROUNDING * expected.abs().max():
            return folded
    return plain


def _folded(
    network: nn.Module, pairs: dict[str, str], activations: dict[str, set[str]]
) -> nn.Module:
    """Return a copy without the normalisation layers named in `pairs`.

    `activations` maps the name of each activation to those of the convolutions it is
    fused with; if there are none, it is computed in place.
    """
    folded = copy.deepcopy(network)
    for norm_name, name in pairs.items():
        convolution: Any = folded.get_submodule(name)
        norm: Any = folded.get_submodule(norm_name)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            *(convolution.weight, convolution.bias, norm.running_mean),
            *(norm.running_var, norm.eps, norm.weight, norm.bias),
        )
        folded.set_submodule(norm_name, nn.Identity())
    for activation_name, names in activations.items():
        activation: Any = folded.get_submodule(activation_name)
        activation.inplace = True
        convolutions = [folded.get_submodule(name) for name in names]
        if convolutions and all(can_fuse(c, activation) for c in convolutions):
            for convolution in convolutions:
                fuse(convolution, activation)
            folded.set_submodule(activation_name, nn.Identity())
    return folded


def _pairs(
    network: nn.Module, sample: Tensor
) -> tuple[dict[str, str], dict[str, set[str]], Tensor]:
    """Trace which layers follow the convolutions of a network.

    Returns
    -------
    pairs : dict
        Names of normalisation layers, with the convolution whose output each takes.
    activations : dict
        Names of activations that take only outputs of convolutions and normalisation
        layers, with the preceding convolutions; an empty set if any of these runs
        several times.
    output : Tensor
        Output of the network.
    """
    runs: dict[str, int] = {}
    # Tensors are kept alive, so that no id is reused.
    made: dict[int, tuple[str, Tensor]] = {}
    normed: dict[int, tuple[str, Tensor]] = {}
    pairs: dict[str, str] = {}
    inner: dict[str, set[str | None]] = {}
    handles = []

    def after(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            runs[name] = runs.get(name, 0) + 1
            key = id(inputs[0])
            if isinstance(layer, nn.Conv2d):
                made[id(output)] = name, output
            elif isinstance(layer, _ACTIVATIONS):
                found = made.get(key) or normed.get(key)
                inner.setdefault(name, set()).add(found[0] if found else None)
            else:
                normed[id(output)] = made[key][0] if key in made else "", output
                if key in made:
                    pairs[name] = made[key][0]

        return hook

    for name, layer in network.named_modules():
        norm = isinstance(layer, _NORMS) and layer.running_mean is not None
        if norm or isinstance(layer, (nn.Conv2d, *_ACTIVATIONS)):
            handles.append(layer.register_forward_hook(after(name, layer)))
    with undisturbed(network, str(sample.device)):
        output = network(sample)
    for handle in handles:
        handle.remove()
    once = {n: c for n, c in pairs.items() if runs[n] == runs[c] == 1}
    activations = {}
    for name, ahead in inner.items():
        if None not in ahead:
            known = {c for c in ahead if c}
            alone = len(known) == runs[name] and all(runs[c] == 1 for c in known)
            activations[name] = known if alone else set()
    return once, activations, output
