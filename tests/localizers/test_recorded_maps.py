"""Maps of MDM and HDM that were recorded before their settings became parts: refactoring must not move them."""

import pytest
import torch

from protomask.explainable import Classifier
from protomask.localizers import HDM, MDM, Destroy, Keep, Order, Views
from tests.support.scores import Network, pairs

SEVERAL = Keep(sizes=(7, 14, 28), size_weights=(1.0, 4.0), steps=24, settle=0.375, consistency="signed")
ONE = Keep(sizes=(28,), size_weights=(1.0, 1.0), steps=14, settle=1.0, consistency="one-sided")
FINE = {"sizes": (28, 112, 224), "rate": 0.1, "values": "sufficient", "contrast": 1.0}
STILL = Views(noise=0.0, shift=0.0)
LOGIT, PROTOTYPE = (lambda network: Classifier(network, "logit")), (lambda network: network)
RECORDED = {
    "mdm of classes": (
        MDM(SEVERAL, Destroy(steps=0), Order(steps=14, damping=0.0, area_weight=1.5, **FINE), STILL, "alternating"),
        LOGIT,
        [0, 0.51336, 0, 0, 0, 0.68074, 0, 0, 0, 0, 0.67615, 0.30416, 0, 0.80306, 0, 0, 0, 0.48796],
        [0.27779, 0.3709],
    ),
    "mdm of prototypes": (
        MDM(ONE, Destroy(steps=10), Order(steps=0, damping=0.0, area_weight=1.5, **FINE), STILL, "zero"),
        PROTOTYPE,
        [0, 0.41062, 0.21862, 0, 0, 0, 0, 0, 0, 0.00388, 0.03119, 0.02279, 0, 0.00209, 0.00059, 0.01231, 0.00206, 0],
        [0.07137, 0.06003],
    ),
    "hdm of classes": (
        HDM(SEVERAL, Order(steps=36, damping=0.0, area_weight=2.0, **FINE), views=STILL, background="alternating"),
        LOGIT,
        [0, 0.48546, 0, 0, 0, 0.67144, 0, 0, 0, 0, 0.53816, 0.10732, 0, 0.71174, 0.14451, 0, 0, 0.18791],
        [0.27416, 0.27864],
    ),
    "hdm of prototypes": (
        HDM(SEVERAL, Order(steps=36, damping=0.3, area_weight=2.0, **FINE), views=STILL, background="zero"),
        PROTOTYPE,
        [0.59763, 0.69121, 0.70368, 0, 0.37929, 0.80038, 0, 0, 0, 0, 0, 0, 0, 0.0004, 0, 0.61973, 0, 0],
        [0.25607, 0.1042],
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_maps_are_those_that_were_recorded(name):
    method, explained, values, means = RECORDED[name]
    images, index = pairs(2)
    found = method(explained(Network().double().eval()), images.double(), index)
    torch.testing.assert_close(found[:, 3::9, 3::9].flatten(), torch.tensor(values).float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(found.mean((1, 2)), torch.tensor(means), atol=5e-4, rtol=0)
