"""What other packages register, as it is installed: folders on the path with their entry points."""

import pytest

from protomask import networks
from protomask.data import find_data
from protomask.errors import InputError
from protomask.localizers import get_localizer
from protomask.networks import get_network

MINE = """
[protomask.localizers]
mine = protomask.localizers.baselines:CenterMap
rise = protomask.localizers.baselines:CenterMap
[protomask.networks]
mine = protopnet.recipe
xprotonet = protopnet.recipe
protopnet = protopnet.recipe
[protomask.datasets]
mine = protomask.data.parts:load
cub = protomask.data.parts:load
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    def install(name, points, kind="dist-info", folder=None):
        about = tmp_path / (folder or name) / f"{name}.{kind}"
        about.mkdir(parents=True)
        (about / ("METADATA" if kind == "dist-info" else "PKG-INFO")).write_text(
            f"Metadata-Version: 2.1\nName: {name}\n"
        )
        (about / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(about.parent)

    return install


ASK = {"localizer": get_localizer, "network": get_network, "data set": find_data}


@pytest.mark.parametrize("what", ASK)
def test_a_name_that_two_packages_register_names_both_in_any_order(install, what):
    install("birds", MINE)
    ASK[what]("mine")
    install("trees", MINE)
    with pytest.raises(InputError, match=rf"^{what} 'mine' is registered by birds \(.*\) and trees \(.*\); uninstall"):
        ASK[what]("mine")


def test_a_package_that_is_found_twice_is_one(install):
    install("birds", MINE)
    install("birds", MINE, "egg-info", "source")
    assert all(ask("mine") for ask in ASK.values())


@pytest.mark.parametrize(("what", "name"), [("localizer", "rise"), ("network", "xprotonet"), ("data set", "cub")])
def test_a_name_that_is_built_in_is_neither_replaced_nor_left_out_without_a_word(install, what, name):
    install("birds", MINE)
    with pytest.raises(
        InputError, match=rf"^{what} '{name}' is built into protomask, and birds \(.*\) registers another"
    ):
        ASK[what](name)


def test_other_names_work_beside_a_clash(install):
    install("birds", MINE)
    install("trees", MINE)
    assert get_localizer("mdm") and get_network("protopnet") and find_data("parts")


def test_a_recipe_that_fails_or_gives_something_else_is_one_line(install, monkeypatch):
    from types import SimpleNamespace

    from protomask.options import Options
    from protomask.run.setup import complete

    install("birds", MINE)
    recipe = SimpleNamespace(build=len, rebuild=len, stages=len, defaults=lambda options: None)
    monkeypatch.setattr(networks, "load_registered", lambda point, what: recipe)
    with pytest.raises(InputError, match=r"^defaults\(\) of network 'mine' gives a NoneType, not a Mapping; mend"):
        complete(Options(network="mine"))
    recipe.defaults = lambda options: options.nothing
    with pytest.raises(
        InputError, match=r"^defaults\(\) of network 'mine' fails: AttributeError: .*; mend the package"
    ):
        complete(Options(network="mine"))
