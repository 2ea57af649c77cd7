"""From options to the images that training sees."""

import pytest
import torch

from protomask.data import Splits
from protomask.errors import InputError
from protomask.options import Options
from protomask.run.setup import check_fit, complete, training_set
from protomask.training.loading import ordered_batches
from protopnet import ProtoPNet
from tests.support.toy import ColourImages, ToyBackbone


def test_an_image_that_is_repeated_in_an_epoch_is_augmented_anew():
    data = ColourImages(2)
    network = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=1, channels=4)
    options = Options(image_size=16, batch_size=6, workers=0, repeat=3)
    setup = training_set(options, Splits(data, data.subset([]), data), network, torch.device("cpu"), progress=False)
    assert len(setup.train) == 3 * len(data) and len(setup.plain) == len(data)
    assert setup.train.names[:6] == setup.train.names[6:12] == data.names
    first, second, third = setup.seeded_loader(setup.train)(ordered_batches(range(18), 6, 0))
    assert torch.equal(first["labels"], second["labels"])
    assert not torch.equal(first["images"], second["images"]) and not torch.equal(second["images"], third["images"])


def test_a_network_is_asked_for_what_it_has():
    data = ColourImages(2)
    network = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=1, channels=4)
    check_fit(network, complete(Options(image_size=16, evidence="signed")), data)
    with pytest.raises(InputError, match="evidence is positive, but network 'protopnet' knows signed evidence alone"):
        check_fit(network, complete(Options(image_size=16)), data)
    data.labels = torch.nn.functional.one_hot(data.labels, 3).float()
    assert data.multi_label
    with pytest.raises(InputError, match="data have any number of findings per image; the network was made for one"):
        check_fit(network, complete(Options(image_size=16, evidence="signed")), data)
