"""Settings that make no sense: each is refused in one line, or gives a finite map, and soon."""

from dataclasses import fields, is_dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from protomask.errors import InputError
from protomask.localizers import BUILT_IN, RISE, ExtremalPerturbation, GradCAM, get_localizer
from protomask.localizers.specs import _leaves, with_settings
from tests.support.scores import Constant, Network, pairs

QUICK = {
    "mdm": "keep.steps=1,destroy.steps=1,order.steps=1,keep.sizes=2,destroy.sizes=2,order.sizes=2",
    "hdm": "keep.steps=1,order.steps=1,fusion.steps=1,keep.sizes=2,order.sizes=2",
    "mdm-published": "keep.steps=1,keep.sizes=2",
    "hdm-published": "keep.steps=1,fusion.steps=1,auxiliary.steps=1,keep.sizes=2,auxiliary.sizes=2",
    "neuromask": "steps=2",
    "meaningful": "steps=2,cells=4",
    "extremal": "steps=2,cell=56,levels=3",
    "igos": "steps=1,points=1,cells=4,rate=1",
    "rise": "masks=4",
    "occlusion": "window=112,stride=112",
    "integrated-gradients": "steps=2",
    "smoothgrad": "samples=2",
}


def numbers_of(name):
    """The paths of a localizer's settings that are numbers."""
    for optional, needed in (
        ("captum", ["occlusion", "integrated-gradients", "smoothgrad"]),
        ("zennit", ["lrp", "prp"]),
    ):
        if name in needed:
            pytest.importorskip(optional)
    quick = get_localizer(f"{name}:{QUICK.get(name, '')}")
    return quick, [path for path, kind in _leaves(quick).items() if "int" in str(kind) or "float" in str(kind)]


@pytest.mark.parametrize("name", BUILT_IN)
def test_numbers_that_make_no_sense_end_soon(name):
    quick, paths = numbers_of(name)
    network, (images, index) = Network().eval(), pairs(1, 12, 15)
    network.mean, network.std = (0.0,) * 3, (1.0,) * 3
    for path in paths:
        for value in ("nan", "inf", "-inf", "-1", "0", str(2**70)):
            try:
                found = with_settings(quick, {path: value}, name)(network, images, index)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert found.isfinite().all() and "n" not in value, (path, value)


def changed(value, kinds):
    if is_dataclass(value):
        return replace(value, **{each.name: changed(getattr(value, each.name), kinds) for each in fields(value)})
    if isinstance(value, tuple):
        return tuple(changed(each, kinds) for each in value)
    return kinds[type(value)](value) if type(value) in kinds else value


@pytest.mark.parametrize("name", ["mdm", "meaningful", "extremal", "igos", "rise", "occlusion"])
def test_numbers_of_numpy_are_those_of_python(name):
    quick, _ = numbers_of(name)
    network, (images, index) = Network().eval(), pairs(1, 12, 15)
    given = changed(quick, {int: np.int64, float: np.float32})
    plain = changed(quick, {float: lambda value: float(np.float32(value))})
    assert repr(given) == repr(plain)
    assert torch.equal(given(network, images, index), plain(network, images, index))


def test_numbers_that_are_of_no_use_stay_refused():
    for wrong in (True, np.bool_(True), np.float32(4.0), 4.0, Fraction(4), "4"):
        with pytest.raises(InputError, match="masks is"):
            RISE(masks=wrong)
    for wrong in (True, Fraction(1, 2), np.float32("nan"), np.float64("inf"), "0.1"):
        with pytest.raises(InputError, match="rate is"):
            get_localizer("igos").__class__(rate=wrong)


@pytest.mark.parametrize(
    "name", [name for name in QUICK if name not in ("mdm", "hdm", "mdm-published", "hdm-published")]
)
def test_a_setting_that_is_left_open_without_leave_is_refused(name):
    quick, paths = numbers_of(name)
    for path in paths:
        if path != "batch_size":
            with pytest.raises(InputError, match=f"{path} is None; give"):
                type(quick)(**{path: None})


@pytest.mark.parametrize(
    "spec, says",
    [
        ("igos:rate=inf", "igos: rate is inf; give a positive number"),
        ("center:width=0", "center: width is 0.0; give"),
        ("meaningful:batch_size=0", "meaningful: batch_size is 0; give"),
        ("similarity:batch_size=0", "batch_size is 0; give"),
        ("rise:seed=99999999999999999999", "rise: seed is 99999999999999999999; give a whole number of 64 bits"),
        ("extremal:reach=1e9", "extremal: reach is 1000000000.0; give"),
    ],
)
def test_what_is_wrong_and_the_mend_are_named(spec, says):
    with pytest.raises(InputError, match=says):
        get_localizer(spec)


def test_settings_of_a_wrong_kind_are_named():
    with pytest.raises(InputError, match="GradCAM: batch_size is None"):
        GradCAM(batch_size=None)
    with pytest.raises(InputError, match="Extremal.*areas is 0.1; give a tuple"):
        ExtremalPerturbation(areas=0.1)
    with pytest.raises(InputError, match="layer is Linear.*give its name"):
        GradCAM(layer=torch.nn.Linear(2, 2))(Network().eval(), *pairs(1))


@pytest.mark.parametrize("size", [(21, 30), (64, 64)])
@pytest.mark.parametrize(
    "name", ["meaningful", "extremal", "igos", "meaningful:cells=7", "extremal:areas=.1+.3,levels=2"]
)
def test_a_score_that_nothing_changes_has_an_empty_map(name, size):
    quick = with_settings(get_localizer(name), {"steps": "3"}, name)
    assert not quick(Constant(1.0), torch.randn(1, 3, *size), 0).any()
