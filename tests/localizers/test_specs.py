"""Localizers in words, as every command and function takes them."""

from dataclasses import dataclass, make_dataclass
from importlib.metadata import EntryPoint

import pytest

import protomask.localizers as localizers
from protomask.errors import InputError
from protomask.localizers import HDM, MDM, RISE, Cascade, GradCAM, Keep, Order, Runtime, get_localizer, get_localizers
from protomask.localizers.several import as_localizers
from protomask.localizers.specs import settings_of, split_specs, with_settings


@pytest.mark.parametrize(
    "words, expected",
    [
        ("mdm,similarity", ["mdm", "similarity"]),
        ("mdm:damping=1,seed=3,similarity", ["mdm:damping=1,seed=3", "similarity"]),
        (" mdm : damping = 1 , seed=3 ,, similarity ", ["mdm:damping=1,seed=3", "similarity"]),
        ("similarity,mdm:damping=1,hdm:modules=3,seed=2", ["similarity", "mdm:damping=1", "hdm:modules=3,seed=2"]),
        ("mdm,seed=3,rise", ["mdm:seed=3", "rise"]),
        ("mdm:,similarity", ["mdm", "similarity"]),
        ("mdm,mdm,mdm:seed=1", ["mdm", "mdm:seed=1"]),
        (
            ["mdm:damping=1,seed=3", "similarity", "center,random"],
            ["mdm:damping=1,seed=3", "similarity", "center", "random"],
        ),
        (" , ", []),
    ],
)
def test_lists_are_split_where_a_localizer_begins(words, expected):
    assert split_specs(words) == expected
    assert split_specs(",".join(split_specs(words))) == expected


@pytest.mark.parametrize("words", ["seed=3", ["mdm", "seed=3,similarity"]])
def test_a_setting_without_a_localizer_is_refused(words):
    with pytest.raises(InputError, match="seed=3.*follows no localizer"):
        split_specs(words)


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("mdm", MDM()),
        ("mdm:damping=1,seed=3", MDM(order=Order(damping=1.0), runtime=Runtime(seed=3))),
        ("mdm:keep.steps=8,order.steps=0", MDM(keep=Keep(steps=8), order=Order(steps=0))),
        ("mdm:keep.sizes=7+14,size_weights=1+4.5", MDM(keep=Keep(sizes=(7, 14), size_weights=(1.0, 4.5)))),
        ("mdm:joint=false,background=blur,batch_size=none", MDM(keep=Keep(joint=False), background="blur")),
        ("hdm:modules=3,precision=bf16", HDM(cascade=Cascade(modules=3), runtime=Runtime(precision="bf16"))),
        ("rise:masks=20,show=.25", RISE(masks=20, show=0.25)),
        ("gradcam:layer=features.3", GradCAM(layer="features.3")),
    ],
)
def test_settings_follow_the_name(spec, expected):
    found = get_localizer(spec)
    assert found == expected and type(found) is type(expected)
    assert eval(repr(found), vars(localizers) | {type(found).__name__: type(found), **_parts()}) == found


def _parts():
    return {name: getattr(localizers, name) for name in ("Keep", "Destroy", "Order", "Cascade", "Fusion", "Runtime")}


def test_the_repr_is_short_and_names_what_was_given():
    assert repr(get_localizer("mdm")) == "MDM()"
    assert repr(get_localizer("mdm:seed=3,damping=1")) == "MDM(order=Order(damping=1.0), runtime=Runtime(seed=3))"


def test_settings_are_checked_together_in_any_order():
    pytest.importorskip("captum")
    smaller = get_localizer("occlusion:window=4,stride=2")
    assert smaller == get_localizer("occlusion:stride=2,window=4") and (smaller.window, smaller.stride) == (4, 2)
    assert get_localizer("occlusion:stride=20,window=30") == get_localizer("occlusion:window=30,stride=20")
    with pytest.raises(InputError, match="hdm: order.steps is -1; give"):
        get_localizer("hdm:keep.steps=4,order.steps=-1,fusion.steps=3")


@pytest.mark.parametrize(
    "spec, says",
    [
        ("mdn", "localizer 'mdn' is unknown.*did you mean mdm"),
        ("mdm:dampling=1", "'mdm' has no setting 'dampling'; did you mean order.damping"),
        ("mdm:order.stps=1", "did you mean order.steps"),
        ("mdm:zzz=1", "no setting 'zzz'; it has keep.sizes, "),
        ("mdm:steps=1", "steps may be keep.steps or destroy.steps or order.steps"),
        ("mdm:order.steps=1.5", "order.steps is '1.5'; give a whole number"),
        ("mdm:damping=much", "order.damping is 'much'; give a number"),
        ("mdm:joint=1", "keep.joint is '1'; give true or false"),
        ("mdm:damping=-1", "mdm: order.damping is -1.0; give 0 or more"),
        ("hdm:modules=0", "hdm: cascade.modules is 0; give a whole number of at least 1"),
        ("mdm:background=grey", "mdm: background is 'grey'; give one of zero, blur"),
        ("mdm:damping", "'damping' is no setting"),
        ("mdm:damping=", "is no setting"),
        ("mdm:seed=1,seed=2", "names seed twice"),
        ("mdm:seed=1,runtime.seed=2", "runtime.seed is given twice"),
        ("center:seed=1", "'center'"),
    ],
)
def test_wrong_words_are_one_line_that_says_the_mend(spec, says):
    with pytest.raises(InputError, match=says) as error:
        get_localizer(spec)
    assert "\n" not in str(error.value)


def test_lists_of_localizers():
    found = get_localizers("mdm:damping=1,seed=3,similarity,best", {"best": lambda: "made"})
    assert list(found) == ["mdm:damping=1,seed=3", "similarity", "best"] and found["best"] == "made"
    assert found["mdm:damping=1,seed=3"].order.damping == 1
    with pytest.raises(InputError, match="no localizer is named"):
        get_localizers(" ,")


def test_registered_localizers_take_settings_too(monkeypatch):
    points = [
        EntryPoint("own", f"{__name__}:Own", localizers.GROUP),
        EntryPoint("plain", f"{__name__}:plain", localizers.GROUP),
    ]
    monkeypatch.setattr(localizers, "entry_points", lambda group: points)
    assert get_localizer("own:reach=2.5") == Own(2.5) and get_localizer("plain") is plain
    with pytest.raises(InputError, match="'plain' has no settings"):
        get_localizer("plain:reach=1")
    with pytest.raises(InputError, match="own: table cannot be given in words"):
        with_settings(Own(), settings_of("own:table=1"), "own")


@dataclass(frozen=True)
class Unknown:
    reach: "int" = 1
    where: "Path | None" = None  # noqa: F821
    pair: tuple[int, str] = (1, "a")
    kind: type = Order

    def __post_init__(self):
        if self.reach < 1:
            raise ValueError("reach must be\npositive")


@dataclass(frozen=True)
class Heir(Unknown):
    other: "int" = 1


extent = int


def test_a_setting_may_be_called_like_its_type():
    called = {"extent": "extent", "float": "float", "pair": "tuple[extent, float]"}
    kind = make_dataclass(
        "Called",
        [(name, word, default) for (name, word), default in zip(called.items(), (1, 0.5, (1, 0.5)))],
        frozen=True,
    )
    kind.__module__ = __name__
    settings = settings_of("own:extent=3,float=0.25,pair=2+1.5")
    assert with_settings(kind(), settings, "own") == kind(3, 0.25, (2, 1.5))


@pytest.mark.parametrize("kind", [Unknown, Heir])
def test_each_setting_is_read_by_itself(kind):
    assert with_settings(kind(), {}, "own") == kind()
    assert with_settings(kind(), settings_of("own:reach=3,pair=2+b"), "own") == kind(3, pair=(2, "b"))
    for words, says in (
        ("own:where=/", "own: where cannot be given in words; set it in Python"),
        ("own:pair=1", "own: pair is '1'; give 2 values joined by"),
        ("own:reach=0", r"localizer 'own' does not take reach 0 \(ValueError: reach must be positive\)"),
    ):
        with pytest.raises(InputError, match=says):
            with_settings(kind(), settings_of(words), "own")


@dataclass(frozen=True)
class Own:
    reach: float = 1.0
    table: dict | None = None

    def __call__(self, explained, images, index, *, progress=False):
        return images.mean(1)


def plain(explained, images, index, *, progress=False):
    return images.mean(1)


def test_a_name_of_one_s_own_stands_for_one_localizer():
    assert as_localizers({"steady": "mdm: damping = 1"}) == {"steady": MDM(order=Order(damping=1.0))}
    with pytest.raises(InputError, match="'both' stands for 2 localizers"):
        as_localizers({"both": "mdm,hdm"})


def test_one_name_is_not_two_localizers():
    damped = MDM(order=Order(damping=0.5))
    for given in ([damped, "mdm"], ["mdm", damped], [damped, MDM()]):
        with pytest.raises(InputError, match="two localizers are called mdm"):
            as_localizers(given)
    assert list(as_localizers(["mdm", "mdm,similarity", "hdm"])) == ["mdm", "similarity", "hdm"]
