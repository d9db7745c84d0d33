"""The constructors of the estimators, each spelled out, agree with one another."""

from __future__ import annotations

import re
from ast import literal_eval
from inspect import getdoc, signature

import pytest

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._base import BaseFCDD

# Parameters of the base class that are declared differently on purpose. Only outlier
# detectors have contamination="auto"; a segmenter always has a pixel loss.
DIFFERENT = {
    FCDDClassifier: {"contamination"},
    FCDDDetector: set(),
    FCDDSegmenter: {"contamination", "pixel_loss"},
}
OWN = {
    FCDDClassifier: ["anomaly_label", "class_weight"],
    FCDDDetector: [],
    FCDDSegmenter: ["anomaly_label", "min_area"],
}


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_constructors_agree(kind):
    """Defaults, annotations, kinds, order and constraints of shared parameters."""
    base = signature(BaseFCDD.__init__).parameters
    found = signature(kind.__init__).parameters
    assert [name for name in found if name not in base] == OWN[kind]
    assert [name for name in found if name in base] == list(base)
    differing = {name for name in base if found[name] != base[name]}
    assert differing - {"self"} == DIFFERENT[kind]
    of_base, own = BaseFCDD._parameter_constraints, kind._parameter_constraints
    assert set(own) == set(found) - {"self"}
    for name in set(of_base) - DIFFERENT[kind]:
        assert repr(own[name]) == repr(of_base[name])


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_docstring_states_the_parameters_of_the_constructor(kind):
    text = getdoc(kind).split("Parameters\n", 1)[1].split("\nAttributes\n", 1)[0]
    stated = re.findall(r"^(\w+) : .*?default=(.*)(?:\n {10}.*)*$", text, flags=re.M)
    parameters = signature(kind).parameters
    assert [name for name, _ in stated] == list(parameters)
    for name, default in stated:
        assert literal_eval(default) == parameters[name].default
