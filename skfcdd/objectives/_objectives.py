"""Objectives, each with its head, its cells and its loss."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skfcdd.objectives._functions import (
    anomaly_nll,
    full_precision,
    pixel_means,
    pseudo_huber,
)
from skfcdd.objectives._head import MapHead

__all__ = [
    "BCE",
    "DSVDD",
    "FCDD",
    "HSC",
    "OBJECTIVES",
    "Focal",
    "Objective",
    "resolve_objective",
]


class Objective(nn.Module):
    """Base class for objectives; subclass it to define your own.

    Subclasses must override `cells`, which maps the output of the head to non-negative
    cells. They may override `build`, which creates the head (by default a 1x1
    convolution to one channel), and `loss`, which returns the loss of each image.

    Attributes
    ----------
    spatial : bool
        Whether the cells form a map over the image. Otherwise there is one cell per
        image, and heatmaps are computed from the gradient of the score with respect to
        the input.
    uses_anomalies : bool
        Whether anomalies are used in training.
    uses_bias : bool
        Whether the network may have bias terms.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import Objective
    >>> class SquaredMap(Objective):
    ...     def cells(self, phi):
    ...         return phi[:, 0] ** 2
    >>> objective = SquaredMap()
    >>> objective.build(channels=8)
    >>> objective(torch.zeros(2, 8, 4, 4)).shape
    torch.Size([2, 4, 4])
    """

    spatial: bool = True
    uses_anomalies: bool = True
    uses_bias: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.head: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        """Create the head for features with `channels` channels.

        Parameters
        ----------
        channels : int
            Number of channels of the backbone's output.
        """
        self.head = MapHead(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the cells of a batch.

        Parameters
        ----------
        features : Tensor of shape (n, d, u, v)
            Output of the backbone.

        Returns
        -------
        Tensor of shape (n, u, v), float32
            Non-negative cells, of shape (n, 1, 1) if the objective is not spatial.
        """
        with torch.autocast(features.device.type, enabled=False):
            if not isinstance(self.head, MapHead):  # MapHead converts them itself
                features = full_precision(features)
            return self.cells(self.head(features))

    def cells(self, phi: Tensor) -> Tensor:
        """Compute non-negative cells (n, u, v) from the output of the head.

        Parameters
        ----------
        phi : Tensor
            Output of the head, float32.

        Returns
        -------
        Tensor of shape (n, u, v), float32
        """
        raise NotImplementedError

    def loss(self, s: Tensor, anomalous: Tensor) -> Tensor:
        """Compute the loss of each image: binary cross-entropy with p = 1 - exp(-s).

        Parameters
        ----------
        s : Tensor of shape (n,), float32
            Anomaly scores, non-negative.
        anomalous : Tensor of shape (n,), bool
            True for anomalies.

        Returns
        -------
        Tensor of shape (n,), float32
        """
        return torch.where(anomalous, anomaly_nll(s), s)

    def pixel_loss(
        self, heatmaps: Tensor, masks: Tensor, *, over: str = "anomalous"
    ) -> Tensor:
        """Compute the loss of each image with a known mask.

        It is the sum of two terms. The first is the loss of a normal image whose score
        is the mean of the heatmap, with anomalous pixels set to 0. The second, used
        only if there are anomalous pixels, is the loss of an anomaly whose score is
        their mean. For FCDD, the sum equals :func:`skfcdd.objectives.pixel_loss`.

        Parameters
        ----------
        heatmaps : Tensor of shape (n, h, w), float32
            Non-negative heatmaps.
        masks : Tensor of shape (n, h, w), bool
            True at anomalous pixels.
        over : {"anomalous", "all"}, default="anomalous"
            Whether the sum over anomalous pixels is divided by their number or by that
            of all pixels.

        Returns
        -------
        Tensor of shape (n,), float32

        Raises
        ------
        ValueError
            If the objective is not spatial.
        """
        if not self.spatial:
            raise ValueError(
                f"{type(self).__name__} has no anomaly map, and thus no pixel loss. "
                "Use an objective with a map, such as 'fcdd'."
            )
        normal, anomalous, has_any = pixel_means(heatmaps, masks, over)
        none = torch.zeros_like(has_any)
        return self.loss(normal, none) + has_any * self.loss(anomalous, ~none)

    def start(self, features: Tensor) -> None:
        """Initialise quantities that depend on the features of normal images.

        Parameters
        ----------
        features : Tensor of shape (n, d, u, v)
            Output of the untrained backbone for normal images.
        """


class FCDD(Objective):
    """Fully convolutional data description: pseudo-Huber cells.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import FCDD
    >>> objective = FCDD()
    >>> objective.cells(torch.full((1, 1, 2, 2), 0.75))
    tensor([[[0.2500, 0.2500],
             [0.2500, 0.2500]]])
    """

    def cells(self, phi: Tensor) -> Tensor:
        """Apply the pseudo-Huber function to the map."""
        return pseudo_huber(phi[:, 0])


class BCE(Objective):
    r"""Binary cross-entropy with a map of logits.

    With a logit :math:`z` per cell, :math:`A = \log(1 + e^z)`, so that each cell is
    normal with probability :math:`e^{-A} = 1 - \sigma(z)`, and the image with the
    geometric mean of these. With a single cell, this is logistic regression.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import BCE
    >>> BCE().cells(torch.zeros(1, 1, 1, 1))
    tensor([[[0.6931]]])
    """

    def cells(self, phi: Tensor) -> Tensor:
        """Apply softplus to the logits."""
        return F.softplus(phi[:, 0])


class Focal(BCE):
    r"""Focal loss: cross-entropy weighted by the error to the power `gamma`.

    The cross-entropy is multiplied by :math:`(1 - p_t)^\gamma`, where :math:`p_t` is
    the predicted probability of the true label (Lin et al., "Focal Loss for Dense
    Object Detection", ICCV 2017). Cells are those of :class:`BCE`.

    Parameters
    ----------
    gamma : float, default=2.0
        Focusing parameter; 0 is equivalent to :class:`BCE`.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import Focal
    >>> Focal().loss(torch.tensor([0.6931]), torch.tensor([True]))
    tensor([0.1733])
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def loss(self, s: Tensor, anomalous: Tensor) -> Tensor:
        """Compute the focal loss of each image."""
        s = full_precision(s)
        error = torch.where(anomalous, torch.exp(-s), -torch.expm1(-s))
        # At an error of 0, the slope of the power may be infinite, and its product with
        # a gradient of 0 would be NaN.
        error = error.clamp(min=torch.finfo(s.dtype).tiny)
        return error**self.gamma * super().loss(s, anomalous)


class _VectorObjective(Objective):
    """Objective with one vector per image: average pooling and a linear layer."""

    spatial = False

    def __init__(self, n_components: int = 64) -> None:
        super().__init__()
        self.n_components = n_components

    def build(self, channels: int) -> None:
        """Create average pooling and a linear layer to `n_components` outputs."""
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, self.n_components, bias=self.uses_bias),
        )


class HSC(_VectorObjective):
    r"""Hypersphere classifier: :math:`s = \sqrt{\|a\|^2 + 1} - 1` of one vector.

    See Ruff et al., "Rethinking Assumptions in Deep Anomaly Detection", 2020.

    Parameters
    ----------
    n_components : int, default=64
        Length of the vector :math:`a`.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import HSC
    >>> HSC().cells(torch.tensor([[3.0, 4.0]]))
    tensor([[[4.0990]]])
    """

    def cells(self, phi: Tensor) -> Tensor:
        """Apply the pseudo-Huber function to the norm of the vector."""
        square = (phi * phi).sum(dim=1)
        return (square / (torch.sqrt(square + 1) + 1))[:, None, None]


class DSVDD(_VectorObjective):
    r"""Deep support vector data description: :math:`s = \|a - c\|^2`.

    The centre :math:`c` is the mean vector of the normal images under the untrained
    network, and stays fixed. Only normal images are used in training; the network has
    no bias terms, because these could reproduce any centre (Ruff et al., "Deep
    One-Class Classification", ICML 2018).

    Parameters
    ----------
    n_components : int, default=64
        Length of the vector :math:`a`.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives import DSVDD
    >>> objective = DSVDD(n_components=2)
    >>> objective.cells(torch.tensor([[3.0, 4.0]]))
    tensor([[[25.]]])
    """

    uses_anomalies = False
    uses_bias = False
    center: Tensor

    def __init__(self, n_components: int = 64) -> None:
        super().__init__(n_components)
        self.register_buffer("center", torch.zeros(n_components))

    @torch.no_grad()
    def start(self, features: Tensor) -> None:
        """Set the centre; components below 0.1 in magnitude are set to 0.1 or -0.1."""
        center = self.head(features).float().mean(dim=0)
        sign = torch.where(center < 0, -1.0, 1.0)
        self.center.copy_(torch.where(center.abs() < 0.1, 0.1 * sign, center))

    def cells(self, phi: Tensor) -> Tensor:
        """Compute the squared distance to the centre."""
        return ((phi - self.center) ** 2).sum(dim=1)[:, None, None]

    def loss(self, s: Tensor, anomalous: Tensor) -> Tensor:
        """Return the score of normal images; the loss of anomalies is 0."""
        return torch.where(anomalous, torch.zeros_like(s), s)


OBJECTIVES: Mapping[str, Callable[[], Objective]] = MappingProxyType(
    {"fcdd": FCDD, "hsc": HSC, "dsvdd": DSVDD, "bce": BCE, "focal": Focal}
)
"""Objectives by the names that ``loss=`` accepts."""


def resolve_objective(loss: Any) -> Objective:
    """Create the objective that `loss` refers to, without its head.

    Parameters
    ----------
    loss : str, Objective or a subclass of Objective
        Name ("fcdd", "hsc", "dsvdd", "bce" or "focal"), class, or instance, which is
        copied.

    Returns
    -------
    Objective

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `loss` is neither a name nor an objective.

    Examples
    --------
    >>> from skfcdd.objectives import resolve_objective
    >>> resolve_objective("hsc").spatial
    False
    """
    if isinstance(loss, str):
        if loss not in OBJECTIVES:
            near = difflib.get_close_matches(loss, OBJECTIVES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"Got loss={loss!r}, but expected one of {sorted(OBJECTIVES)} or an "
                f"Objective.{hint}"
            )
        return OBJECTIVES[loss]()
    if isinstance(loss, Objective):
        return copy.deepcopy(loss)
    if isinstance(loss, type) and issubclass(loss, Objective):
        return loss()
    raise TypeError(
        f"Got loss={loss!r}, but expected one of {sorted(OBJECTIVES)} or an "
        f"skfcdd.objectives.Objective."
    )
