"""Maps that are learned at once, on a thread each, are those that are learned one after the other."""

import functools
import threading
import time

import pytest
import torch
from torch import nn

from protomask import Classifier, InputError, get_localizer
from protomask.copying import copies_whole
from protomask.errors import NothingToKeepWarning
from protomask.localizers.engine.speed.folding import Autocast
from protomask.localizers.engine.speed.threads import (
    copy_sharing_weights,
    groups_at_once,
    one_thread_each,
    work_at_once,
)
from protomask.localizers.engine.watching import watching


@pytest.fixture
def several_threads():
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(1)


class Forgetful(nn.Module):
    """Keeps what it computes in an attribute and reads it again, as many people's networks do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm, self.head = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.users = set()

    def forward(self, images):
        self.features = self.norm(self.convolution(images)).relu()
        self.users.add(threading.get_ident())
        time.sleep(1e-4)  # another thread's turn
        return self.head(self.features.mean((2, 3)))


def pairs(count):
    images = torch.randn(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    return images, torch.arange(count) % 4


@pytest.mark.parametrize("name", ["mdm:keep.steps=4,order.steps=2", "hdm:keep.steps=4,order.steps=2,fusion.steps=2"])
def test_any_number_of_threads_gives_the_same_maps_to_the_last_bit(name, several_threads):
    explained, (images, index), explain = Classifier(Forgetful().eval()), pairs(6), get_localizer(name)
    several = explain(explained, images, index)
    assert torch.get_num_threads() == several_threads
    torch.set_num_threads(1)
    assert torch.equal(several, explain(explained, images, index))
    assert torch.equal(several[2:3], explain(explained, images[2:3], index[2:3]))
    assert several.flatten(1).std(1).min() > 0


class Scores(nn.Module):
    """What is no classifier: prototypes, and scores of people's own."""

    def __init__(self):
        super().__init__()
        self.inner = Forgetful()

    def score(self, images, index):
        return self.inner(images)[torch.arange(len(index)), index]


def test_groups_of_other_scores_do_not_depend_on_threads_either(several_threads):
    explained, explain = Scores().eval(), get_localizer("mdm:keep.steps=3,destroy.steps=1")
    images = torch.randn(10, 3, 224, 224, generator=torch.Generator().manual_seed(1))  # 8 of them fit together
    index = torch.arange(10) % 4
    several = explain(explained, images, index)
    torch.set_num_threads(1)
    assert torch.equal(several, explain(explained, images, index))
    assert torch.equal(several[8:], explain(explained, images[8:], index[8:]))


def test_each_thread_has_a_copy_that_shares_the_weights(several_threads):
    explained = Classifier(Forgetful().eval())
    copied = copy_sharing_weights(explained)
    assert copied.model is not explained.model and copied.model.users is not explained.model.users
    assert copied.model.head.weight is explained.model.head.weight
    assert copied.model.norm.running_mean is explained.model.norm.running_mean


class Hooked(nn.Module):
    """Keeps features by a function that sees this very object; a copy of the model has the same function."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head, self.kept = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 4), {}

        def keep(module, inputs, output):
            self.kept["features"] = output

        self.way = way
        if way == "hook":
            self.convolution.register_forward_hook(keep)
        elif way == "function":
            self.step = lambda images: keep(None, None, self.convolution(images))
        elif way == "partial":
            self.step = functools.partial(lambda images, own: keep(None, None, own.convolution(images)), own=self)

    def forward(self, images):
        self.convolution(images) if self.way == "hook" else self.step(images)
        time.sleep(1e-4)  # another thread's turn
        return self.head(self.kept["features"].relu().mean((2, 3)))


@pytest.mark.parametrize("way", ["hook", "function", "partial"])
def test_functions_that_see_the_original_are_worked_with_on_one_thread(way, several_threads):
    model, (images, index) = Hooked(way).eval(), pairs(6)
    with torch.no_grad():
        model(images[:2])  # so that a copy has features to be wrong with
    explain = get_localizer("mdm:keep.steps=4,order.steps=2")
    several = explain(Classifier(model), images, index)
    torch.set_num_threads(1)
    assert torch.equal(several, explain(Classifier(model), images, index))


def test_a_network_that_a_function_hides_is_worked_with_on_one_thread(several_threads):
    model, (images, index) = Forgetful().eval(), pairs(6)
    get_localizer("mdm:keep.steps=1,order.steps=1")(Classifier(lambda given: model(given)), images, index)
    assert len(model.users) == 1


def test_ordinary_models_are_worked_with_on_several_threads(several_threads):
    assert copies_whole(Classifier(Forgetful())) and copies_whole(Autocast(Classifier(Forgetful())))
    size, own = (2, 2), Forgetful()
    own.pool = lambda images: nn.functional.adaptive_avg_pool2d(images, size)
    assert copies_whole(Classifier(own))


def numbers(explained, count, work):
    seen = []
    return work_at_once(work, explained, count, seen.append), sorted(seen)


def test_results_are_in_order_and_several_threads_work(several_threads):
    together = threading.Barrier(several_threads, timeout=30)

    def work(own, number, go_on):
        go_on()
        if number < several_threads:
            together.wait()  # passes only where all of them are here
        return number, torch.get_num_threads()

    with one_thread_each(1):
        assert groups_at_once() == several_threads and torch.get_num_threads() == 1
        found, told = numbers(Classifier(Forgetful()), 7, work)
    assert found == [(number, 1) for number in range(7)] and told == list(range(7)) and groups_at_once() == 1


def test_what_cannot_be_copied_is_worked_with_alone(several_threads):
    model = Forgetful()
    model.lock = threading.Lock()
    explained = Classifier(model)
    with one_thread_each(1):
        found, told = numbers(explained, 4, lambda own, number, go_on: (own is explained, threading.get_ident()))
    assert found == [(True, threading.get_ident())] * 4 and told == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt()])
def test_an_error_or_an_interruption_ends_the_others_soon(error, several_threads):
    steps = []

    def work(own, number, go_on):
        if number == 1:
            raise error
        for _ in range(2000):
            go_on()
            steps.append(number)
            time.sleep(0.01)

    begin = time.monotonic()
    with pytest.raises(type(error)), one_thread_each(1):
        numbers(Classifier(Forgetful()), 6, work)
    assert time.monotonic() - begin < 10 and len(steps) < 2000
    assert torch.get_num_threads() == several_threads


def test_warnings_reach_whoever_catches_them(several_threads):
    explained, (images, index) = Classifier(Forgetful().eval()), pairs(4)
    empty = torch.zeros_like(images)  # is its own background: nothing is lost without it
    with pytest.warns(NothingToKeepWarning) as caught:
        get_localizer("mdm:keep.steps=1,order.steps=1")(explained, empty, index)
    said = " ".join(str(each.message) for each in caught)
    assert all(f"in image {place} (index {place}:" in said for place in range(4))


def test_who_watches_sees_every_map_in_the_calling_thread(several_threads):
    places, here = set(), threading.get_ident()

    def watch(glimpse):
        assert threading.get_ident() == here
        places.update(glimpse.position.tolist())

    with watching(watch):
        get_localizer("mdm:keep.steps=2,order.steps=1")(Classifier(Forgetful().eval()), *pairs(3))
    assert places == {0, 1, 2}


CASTING = []


class Telling(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 4)

    def forward(self, images):
        CASTING.append((threading.current_thread().name, torch.is_autocast_enabled("cpu")))
        return self.head(self.convolution(images).relu().mean((2, 3)))


@pytest.mark.parametrize("method", ["mdm:order.steps=3,keep.steps=3,destroy.steps=3", "igos:steps=3"])
def test_the_callers_autocast_holds_on_every_thread(method):
    CASTING.clear()
    torch.manual_seed(1)
    images, index, found = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with torch.autocast("cpu", torch.bfloat16):
                found.append(get_localizer(method)(Classifier(Telling().eval()), images, index))
    finally:
        torch.set_num_threads(1)
    assert found[0].dtype == torch.float32 and torch.equal(*found)
    assert all(on for _, on in CASTING) and any(name.startswith("masks") for name, _ in CASTING)
