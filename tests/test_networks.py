"""Networks by name."""

import os
import shutil
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import protomask
from protomask import networks
from protomask.backbones import build_backbone
from protomask.errors import InputError
from protomask.json_files import read_json, write_json
from protopnet import ProtoPNet
from tests.support.toy import ToyBackbone
from xprotonet import XProtoNet


@pytest.fixture(params=[ProtoPNet, XProtoNet])
def network(request):
    torch.manual_seed(0)
    backbone = build_backbone("test_resnet")
    return request.param(backbone, ["cat", "dog"], image_size=64, prototypes_per_class=2, channels=4).eval()


def same(one, other):
    images = torch.randn(2, 3, 64, 64)
    return type(one) is type(other) and torch.equal(one(images).logits, other(images).logits)


def test_a_network_is_saved_and_loaded_by_itself(network, tmp_path):
    network.save(tmp_path / "new" / "folder")
    loaded = protomask.load_network(str(tmp_path / "new" / "folder"))
    assert same(network, loaded) and not loaded.training and loaded.classes == ("cat", "dog")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        network.save(tmp_path / "file")


def killed_before(patch, name):
    """Let a process end where it would put this file in its place."""
    replace = os.replace

    def killed(source, target):
        if target.name == name:
            raise KeyboardInterrupt
        replace(source, target)

    patch.setattr("protomask.files.os.replace", killed)


def test_weights_of_another_network_than_the_description_beside_them_are_noticed(tmp_path, monkeypatch):
    """A network that was saved over another one, of the same shape but with its classes in another order."""
    one, other = (
        ProtoPNet(build_backbone("test_resnet"), classes, image_size=64, prototypes_per_class=2, channels=4).eval()
        for classes in (["cat", "dog"], ["dog", "cat"])
    )
    one.save(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_before(patch, "model.safetensors")
        other.save(tmp_path)
    with pytest.raises(InputError, match="model.safetensors belongs to another model.json: one of the two"):
        protomask.load_network(tmp_path)
    other.save(tmp_path / "other")
    one.save(tmp_path)
    for name in ("model.safetensors", "model.json"):  # either of the two, copied alone
        kept = (tmp_path / name).read_bytes()
        shutil.copy(tmp_path / "other" / name, tmp_path / name)
        with pytest.raises(InputError, match="put both files of one network there$") as error:
            protomask.load_network(tmp_path)
        assert "damaged" not in str(error.value)
        (tmp_path / name).write_bytes(kept)
    without_weights(tmp_path / "model.json")
    assert same(one, protomask.load_network(tmp_path))  # as versions before wrote it
    one.save(tmp_path)
    save_file(one.state_dict(), tmp_path / "model.safetensors")
    assert same(one, protomask.load_network(tmp_path))  # weights that another program wrote have no checksum


def without_weights(path):
    content = read_json(path)
    write_json(path, {key: value for key, value in content.items() if key != "weights"})
    assert len(read_json(path)) < len(content)


def test_a_kind_without_a_name_cannot_be_saved(tmp_path):
    network = type("Mine", (ProtoPNet,), {"registered_as": ""})(ToyBackbone(), ["cat", "dog"], image_size=16)
    with pytest.raises(InputError, match="Mine has no registered_as"):
        network.save(tmp_path)


def test_the_hub_gets_what_a_folder_gets(network, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    uploads = []

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, **options):
            folder_path.rename(tmp_path / "there")
            uploads.append((repo_id, options["commit_message"]))
            return "https://there"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert protomask.push_to_hub(network, "me/birds", commit_message="first") == "https://there"
    assert uploads == [("me/birds", "first")]
    found = {path.name for path in (tmp_path / "there").iterdir()}
    assert found >= {"model.json", "model.safetensors", "config.json", "README.md"}
    assert same(network, protomask.from_pretrained(tmp_path / "there"))
    # As from the Hub: the files asked for are brought into a folder.
    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.hf_hub_download", lambda **options: tmp_path / "there" / "config.json"
    )
    asked = {}
    monkeypatch.setattr(
        "protomask.hub_mixin.snapshot_download", lambda name, **options: asked.update(options) or tmp_path / "there"
    )
    assert same(network, protomask.from_pretrained("me/birds", revision="main"))
    assert asked["revision"] == "main" and asked["force_download"] is False and "config" not in asked


def test_what_the_hub_does_not_have_or_refuses_is_one_line(network, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    for name, says in [("runs/my net", "HFValidationError"), ("nobody/nothing", "LocalEntryNotFoundError")]:
        with pytest.raises(InputError, match=f"^{name}: no such folder, .*{says}.*; give a folder, or owner/name$"):
            protomask.from_pretrained(name, local_files_only=True, cache_dir=tmp_path / "cache")

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            raise self.error

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    lost = type("ConnectError", (Exception,), {"__module__": "httpx._exceptions"})  # no OSError
    for error in (lost("Name or\nservice not known"), ConnectionError("Name or service not known")):
        Api.error = error
        with pytest.raises(InputError, match=r"^me/birds: .* not uploaded .*Name or service not known\); give owner"):
            protomask.push_to_hub(network, "me/birds")
    run = SimpleNamespace(network=network, folder="a run")
    for given, said in ((run, "give its network: run.network"), (3, "give a PrototypeNetwork")):
        with pytest.raises(InputError, match=said):
            protomask.push_to_hub(given, "me/birds")
    Api.error = AssertionError("the repository was made")
    nameless = type("Nameless", (type(network),), {"registered_as": ""})
    own = type(network)(ToyBackbone(), ["cat", "dog"], image_size=16)
    fresh = {"classes": ["cat", "dog"], "image_size": 64}
    twice = {"weigh": lambda self, similarities: 2 * type(network).weigh(self, similarities) + 1}
    unread = type("Unread", (type(network),), twice)(build_backbone("test_resnet"), **fresh)
    for given, name, options, said in (
        (network, None, {}, "^name is None; give owner/name"),
        (network, 3, {}, "^name is 3; give owner/name"),
        (network, "me/birds", {"privat": True}, "^privat is no option .* did you mean private"),
        (network, "me/birds", {"private": "no"}, "^private is 'no'; give True or False"),
        (nameless(build_backbone("test_resnet"), **fresh), "me/birds", {}, "^Nameless has no registered_as; set it"),
        (unread, "me/birds", {}, "^Unread is saved as .*, or set registered_as to an entry point that"),
        (own, "me/birds", {}, "^me/birds: the network was not uploaded, .* the backbone is not one of build_backbone"),
    ):
        with pytest.raises(InputError, match=said):
            protomask.push_to_hub(given, name, **options)
    for name, options, said in (
        (None, {}, "^name is None; give owner/name of the repository, or a folder"),
        (3, {}, "^name is 3; give owner/name"),
        ("", {}, "^name is ''; give owner/name"),
        ("me/birds", {"revison": "x"}, "^revison is no option .* did you mean revision"),
        (tmp_path, {"revison": "x"}, "^revison is no option"),
        ("me/birds", {"local_files_only": "no"}, "^local_files_only is 'no'; give True or False"),
    ):
        with pytest.raises(InputError, match=said):
            protomask.from_pretrained(name, **options)
    Api.error = KeyError("a mistake of ours")
    with pytest.raises(KeyError):
        protomask.push_to_hub(network, "me/birds")


def test_a_folder_needs_no_sound_config_of_the_hub(network, tmp_path):
    pytest.importorskip("huggingface_hub")
    network.save(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert same(network, protomask.from_pretrained(tmp_path))


def test_a_clone_that_is_not_installed_has_its_own_networks(monkeypatch):
    import protopnet.recipe
    import xprotonet.recipe

    monkeypatch.setattr(networks, "entry_points", lambda group: [])
    assert networks.network_names() == ["protopnet", "xprotonet"]
    assert networks.get_network("protopnet") is protopnet.recipe
    assert networks.get_network("xprotonet") is xprotonet.recipe
    with pytest.raises(InputError, match="network 'resnet' is unknown; choose one of protopnet, xprotonet"):
        networks.get_network("resnet")


def test_a_folder_needs_no_package_of_the_hub(network, tmp_path, monkeypatch):
    network.save(tmp_path)
    for name in ("protomask.hub", "protomask.hub_mixin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert same(network, protomask.from_pretrained(tmp_path))
    for ask in (lambda: protomask.from_pretrained("me/birds"), lambda: protomask.push_to_hub(network, "me/birds")):
        with pytest.raises(InputError, match="huggingface_hub is not installed"):
            ask()


def test_what_is_registered_and_is_no_network_is_one_line(monkeypatch):
    points = [
        EntryPoint("broken", "protomask.no_such_module", networks.GROUP),
        EntryPoint("half", "protomask.run.setup", networks.GROUP),
    ]
    monkeypatch.setattr(networks, "entry_points", lambda group: points)
    with pytest.raises(InputError, match="^network 'broken' .* cannot be loaded: ModuleNotFoundError: .*; mend or"):
        networks.get_network("broken")
    with pytest.raises(InputError, match="^network 'half' .* has no function defaults and no build and no rebuild and"):
        networks.get_network("half")


@pytest.mark.parametrize("kind", [ProtoPNet, XProtoNet])
def test_what_is_no_backbone_or_no_list_of_classes_is_one_line(kind):
    for backbone, said in (
        ("resnet18", "backbone is a str; give .*build_backbone"),
        (torch.nn.Conv2d(3, 8, 16, 16), "which has no channels, mean, std, grid, settings; give .*build_backbone"),
    ):
        with pytest.raises(InputError, match=said):
            kind(backbone, ["cat", "dog"], image_size=64)
    for classes in (3, "cat"):
        with pytest.raises(InputError, match=f"classes is {classes!r}; give their names, as a list"):
            kind(ToyBackbone(), classes, image_size=16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_nearly_the_same_is_said(network, dtype):
    images, index = torch.randn(2, 3, 64, 64), torch.tensor([0, 3])
    whole, scores = network(images), network.score(images, index)
    network.to(dtype)
    for given in (images, images.to(dtype)):
        found = network(given)
        assert found.logits.dtype == torch.float32
        assert torch.allclose(found.logits, whole.logits, atol=0.1)
        assert torch.allclose(network.score(given, index).float(), scores, atol=0.05)
        assert network.candidates(given).distances.isfinite().all()
