"""Formulas of the objectives, as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "anomaly_nll",
    "full_precision",
    "pixel_loss",
    "pixel_means",
    "pseudo_huber",
]

_LN2 = 0.6931471805599453


def full_precision(x: Tensor) -> Tensor:
    """Convert to float32, unless `x` is float64."""
    return x if x.dtype == torch.float64 else x.float()


def pseudo_huber(phi: Tensor) -> Tensor:
    r"""Compute the pseudo-Huber map :math:`A = \sqrt{\phi^2 + 1} - 1` element-wise.

    It is implemented as :math:`\phi^2 / (\sqrt{\phi^2 + 1} + 1)`, because the form
    above is exactly 0 in float32 for :math:`|\phi| \le 3 \cdot 10^{-4}`.

    Parameters
    ----------
    phi : Tensor of any shape, floating-point
        Output of the network.

    Returns
    -------
    Tensor of the same shape, float32 (float64 if `phi` is)
        Non-negative values.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import pseudo_huber
    >>> pseudo_huber(torch.tensor([0.0, 0.75]))
    tensor([0.0000, 0.2500])
    """
    phi = full_precision(phi)
    square = phi * phi
    return square / (torch.sqrt(square + 1) + 1)


def anomaly_nll(s: Tensor) -> Tensor:
    r"""Compute the loss of an anomaly with score `s`: :math:`-\log(1 - e^{-s})`.

    The value and its gradient are finite for every :math:`s \ge 0`; ``s = 0`` is
    replaced by the smallest positive normal number of the data type.

    Parameters
    ----------
    s : Tensor of any shape, floating-point, non-negative
        Anomaly scores.

    Returns
    -------
    Tensor of the same shape, float32 (float64 if `s` is)

    Examples
    --------
    >>> import math
    >>> import torch
    >>> from skfcdd.objectives import anomaly_nll
    >>> anomaly_nll(torch.tensor(math.log(2)))
    tensor(0.6931)
    """
    s = full_precision(s)
    # Each branch gets arguments for which it is accurate, so that neither of them adds
    # NaN to the gradient of `where`.
    near = s.clamp(torch.finfo(s.dtype).tiny, _LN2)
    far = s.clamp(min=_LN2)
    return torch.where(
        s < _LN2, -torch.log(-torch.expm1(-near)), -torch.log1p(-torch.exp(-far))
    )


def pixel_loss(heatmaps: Tensor, masks: Tensor, *, over: str = "anomalous") -> Tensor:
    r"""Compute the pixel-wise loss over the heatmap :math:`A'` of each image.

    .. math:: \frac{1}{m}\sum_j (1 - Y_j) A'_j
              - \log\Bigl(1 - \exp\bigl(-\tfrac{1}{m'}\sum_j Y_j A'_j\bigr)\Bigr)

    This is equation 4 of the FCDD paper, for images of :math:`m` pixels. The second
    term is used only for images with an anomalous pixel.

    Parameters
    ----------
    heatmaps : Tensor of shape (n, h, w), float32
        Heatmaps :math:`A'`, non-negative.
    masks : Tensor of shape (n, h, w), bool
        Masks :math:`Y`, True at anomalous pixels.
    over : {"anomalous", "all"}, default="anomalous"
        Pixels over which the second mean is taken. "all" is the published form,
        :math:`m' = m`, in which a tiny defect has a much larger loss than a large one;
        "anomalous" divides by the number of anomalous pixels instead.

    Returns
    -------
    Tensor of shape (n,), float32

    Raises
    ------
    ValueError
        If the shapes differ, or `over` is invalid.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import pixel_loss
    >>> heatmaps = torch.full((1, 2, 2), 0.5)
    >>> masks = torch.tensor([[[True, False], [False, False]]])
    >>> pixel_loss(heatmaps, masks)
    tensor([1.3078])
    """
    normal_part, anomalous_part, has_any = pixel_means(heatmaps, masks, over)
    return normal_part + has_any * anomaly_nll(anomalous_part)


def pixel_means(
    heatmaps: Tensor, masks: Tensor, over: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute both means in the formula of :func:`pixel_loss`, of shape (n,).

    The third result is True for images with an anomalous pixel; for all others, the
    second mean is replaced by 1.
    """
    if heatmaps.shape != masks.shape:
        raise ValueError(
            "heatmaps and masks must have the same shape (n, h, w). Got "
            f"{tuple(heatmaps.shape)} and {tuple(masks.shape)}."
        )
    if over not in ("anomalous", "all"):
        raise ValueError(f"Got over={over!r}, but expected 'anomalous' or 'all'.")
    heatmaps = full_precision(heatmaps)
    anomalous = (masks != 0).to(heatmaps.dtype)
    normal_part = (heatmaps * (1 - anomalous)).mean(dim=(1, 2))
    counts = anomalous.sum(dim=(1, 2))
    pixels = masks[0].numel() if over == "all" else counts.clamp(min=1)
    anomalous_part = (heatmaps * anomalous).sum(dim=(1, 2)) / pixels
    # If an image has no anomalous pixels, the loss of this mean has the weight 0.
    has_any = counts > 0
    safe = torch.where(has_any, anomalous_part, torch.ones_like(anomalous_part))
    return normal_part, safe, has_any
