"""Networks by name."""

import pytest

from protomask import networks
from protomask.errors import InputError


def test_a_clone_that_is_not_installed_has_its_own_networks(monkeypatch):
    import protopnet.recipe
    import xprotonet.recipe

    monkeypatch.setattr(networks, "entry_points", lambda group: [])
    assert networks.network_names() == ["protopnet", "xprotonet"]
    assert networks.get_network("protopnet") is protopnet.recipe
    assert networks.get_network("xprotonet") is xprotonet.recipe
    with pytest.raises(InputError, match="network 'resnet' is unknown; choose one of protopnet, xprotonet"):
        networks.get_network("resnet")
