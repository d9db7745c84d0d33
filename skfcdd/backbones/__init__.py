"""Backbones: networks that map images (n, c, h, w) to features (n, d, u, v).

These are the networks of the FCDD paper, common architectures with ImageNet weights,
and custom modules. An architecture consists of stages, and can be cut or frozen after
any of them.
"""

from __future__ import annotations

from skfcdd.backbones._choice import choose_backbone
from skfcdd.backbones._fields import measure_backbone
from skfcdd.backbones._make import freeze_backbone, make_backbone
from skfcdd.backbones._registry import list_backbones, register_backbone
from skfcdd.backbones._staged import StagedNetwork, Stages
from skfcdd.backbones.paper import auto_name
from skfcdd.backbones.weights import fit_weights, load_weights

__all__ = [
    "StagedNetwork",
    "Stages",
    "auto_name",
    "choose_backbone",
    "fit_weights",
    "freeze_backbone",
    "list_backbones",
    "load_weights",
    "make_backbone",
    "measure_backbone",
    "register_backbone",
]
