"""Pictures of prototypes that a job did before it lost a process are not made again."""

import os
import signal

import torch

from protomask import distributed
from protomask.explanations.sources import picture_prototypes, share_pictures
from protomask.localizers import get_localizer
from protomask.projection import project
from protomask.training import TrainingSet
from protopnet import ProtoPNet
from tests.distributed.forks import together
from tests.support.toy import ColourImages, ToyBackbone


class Counting:
    """A localizer that remembers what it was asked, and is the same as any other of its kind."""

    def __init__(self):
        self.asked = []

    def __repr__(self):
        return "Counting()"

    def __call__(self, network, images, index, **more):
        self.asked.append(index.tolist())
        return get_localizer("similarity")(network, images, index)


class Deadly(Counting):
    """Kills the second process when it is asked again."""

    def __call__(self, *arguments, **more):
        if distributed.rank() == 1 and self.asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(*arguments, **more)


class Numbered(ToyBackbone):
    """Knows the process that it is in."""

    def __init__(self):
        super().__init__()
        self.rank = distributed.rank()


def made(folder, localizer, share=True, backbone=ToyBackbone):
    torch.manual_seed(0)
    data = ColourImages(6)
    network = ProtoPNet(backbone(), data.classes, image_size=16, prototypes_per_class=4, channels=6).eval()
    project(network, TrainingSet(data, data, data.subset([]), batch_size=5))
    if share:
        return share_pictures(network, data, {"counting": localizer}, folder, batch_size=3)
    return picture_prototypes(network, data, {"counting": localizer}, batch_size=3)


def lost(folder):
    with distributed.job(torch.device("cpu")):
        made(folder, Deadly())


def test_one_process_goes_on_with_what_two_have_done(tmp_path):
    folder = tmp_path / "pieces"
    first, second = together(2, lost, folder)
    assert second.code == -signal.SIGKILL and first.code > 0
    assert "process 0 of 2 stops because another process of the job ended" in first.said
    # Twelve prototypes are four pieces, of which the second process finished one.
    assert len(list(folder.iterdir())) == 3
    localizer = Counting()
    shared = made(folder, localizer)
    assert localizer.asked == [[9, 10, 11]]
    expected = made(folder, Counting(), share=False)
    assert [each.record for each in shared] == [each.record for each in expected]
    for one, other in zip(shared, expected):
        assert (one.image == other.image).all() and (one.maps["counting"] == other.maps["counting"]).all()
    assert made(folder, localizer) and len(localizer.asked) == 1


def test_pieces_are_made_again_where_they_are_damaged_or_of_another_localizer(tmp_path):
    made(tmp_path, Counting())
    path = sorted(tmp_path.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1])
    localizer = Counting()
    made(tmp_path, localizer)
    assert len(localizer.asked) == 1

    class Other(Counting):
        __repr__ = object.__repr__  # tells only where it lies

    localizer = Other()
    made(tmp_path, localizer)
    made(tmp_path, localizer)
    assert len(localizer.asked) == 8


def test_pieces_of_another_code_or_of_one_that_nobody_can_tell_are_made_again(tmp_path, monkeypatch):
    for code, asked in (("one", 4), ("one", 0), ("other", 4), (None, 4), (None, 4)):
        monkeypatch.setattr("protomask.localizers.identity.code_of_kind", lambda kind, code=code: code)
        localizer = Counting()
        made(tmp_path, localizer)
        assert len(localizer.asked) == asked


def looked_at(folder):
    with distributed.job(torch.device("cpu")):
        assert all(picture.maps["counting"].size for picture in made(folder, Counting(), backbone=Numbered))


def test_processes_whose_networks_know_their_number_share_their_pieces(tmp_path):
    assert [(each.code, each.said) for each in together(2, looked_at, tmp_path)] == [(0, "")] * 2
    localizer = Counting()
    made(tmp_path, localizer, backbone=Numbered)
    assert len(list(tmp_path.iterdir())) == 4 and not localizer.asked
