"""Files that try to run something: nothing is imported, nothing is called."""

import builtins
import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protomask.errors import InputError
from protomask.importing.inert_pickle import Inert, Name, UnreadablePickle, load
from protomask.importing.torch_files import TorchFile
from protopnet.checkpoint import read_checkpoint


class Reduced:
    """Pickles as "call this with that"."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker, module):
    """Pickles that would write ``marker`` or import ``module`` (which writes it) when read by ``pickle.load``."""
    command = f"touch '{marker}'"
    code = f"open({str(marker)!r}, 'w').close()"
    word = str(marker).encode()
    yield from (
        (name, pickle.dumps(call, protocol))
        for protocol in (0, 2, 4)
        for name, call in [
            (f"os.system {protocol}", Reduced(os.system, command)),
            (f"eval {protocol}", Reduced(builtins.eval, code)),
            (f"exec {protocol}", Reduced(builtins.exec, code)),
            (f"popen {protocol}", Reduced(subprocess.call, ["touch", str(marker)])),
            (f"open {protocol}", Reduced(open, str(marker), "w")),
            (f"nested {protocol}", {"state_dict": [Reduced(os.system, command)]}),
        ]
    )
    yield "import", f"c{module}\nthing\n.".encode()
    yield (
        "import through the stack",
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module.encode(), b"thing")) + b"\x93.",
    )
    yield "INST", b"(S'" + command.encode().replace(b"'", b"\\'") + b"'\nios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\nS" + repr(command).encode() + b"\no."
    yield "NEWOBJ", b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(command)) + command.encode() + b"\x85\x81."
    yield (
        "__setstate__",
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsbX"
        + struct.pack("<I", len(word))
        + word
        + b"b.",
    )
    yield (
        "getattr",
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S" + repr(command).encode() + b"\ntR.",
    )
    yield (
        "a maker's name as an argument",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNX"
        + struct.pack("<I", len(command))
        + command.encode()
        + b"\x85NtR.",
    )


def containers(folder, content):
    """The same pickle as a bare file, as a legacy file, and as a zip file of torch.save."""
    bare = folder / "bare.pth"
    bare.write_bytes(content)
    legacy = folder / "legacy.pth"
    with open(legacy, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(part, file, 2)
        file.write(content)
        pickle.dump([], file, 2)
    zipped = folder / "zipped.pth"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return bare, legacy, zipped


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    marker = tmp_path / "it ran"
    (tmp_path / "hostile_module_of_a_test.py").write_text(f"open({str(marker)!r}, 'w').close()\nthing = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds = list(hostile(marker, "hostile_module_of_a_test"))
    dangerous = 0
    for name, content in kinds:
        with contextlib.suppress(Exception):
            pickle.loads(content)
        dangerous += marker.exists()
        marker.unlink(missing_ok=True)
        sys.modules.pop("hostile_module_of_a_test", None)
        for path in containers(tmp_path, content):
            with pytest.raises(InputError):
                read_checkpoint(path)
            assert not marker.exists(), (name, path.name)
            assert "hostile_module_of_a_test" not in sys.modules, name
    assert dangerous >= 20, "these pickles would harm nobody: they test nothing"


def test_names_and_arguments_are_kept_as_data():
    found = load(io.BytesIO(pickle.dumps({"a": [Reduced(os.system, "true")]}, 2)))["a"][0]
    assert (
        isinstance(found, Inert)
        and found.maker == Name(os.system.__module__, "system")
        and found.arguments == ("true",)
    )


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    plain, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(values, st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(deadline=None, max_examples=60)
def test_plain_values_are_those_of_pickle(value, protocol):
    content = pickle.dumps(value, protocol)
    assert load(io.BytesIO(content)) == pickle.loads(content)


@pytest.mark.parametrize("value", [b"", b"x" * 300, bytearray(b"abc"), {1, "a"}, frozenset({1, 2}), {3: {4: ()}}])
def test_further_values_of_newer_protocols(value):
    assert load(io.BytesIO(pickle.dumps(value, 5))) == value


@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                b"(",
                b"}",
                b"]",
                b")",
                b"N",
                b"u",
                b"e",
                b"s",
                b"a",
                b"R",
                b"b",
                b"o",
                b"\x81",
                b"\x93",
                b"cos\nsystem\n",
                b"K\x01",
                b"q\x00",
                b"h\x00",
                b"2",
                b"0",
                b"1",
                b"t",
                b"\x85",
                b"Q",
                b".",
            ]
        )
    ).map(b"".join)
)
@settings(deadline=None, max_examples=200)
def test_any_bytes_give_data_or_an_error(content):
    with contextlib.suppress(UnreadablePickle):
        load(io.BytesIO(content))


def test_damaged_files_are_errors(tmp_path):
    torch.save(
        {"a": torch.rand(200), "b": torch.rand(3, 3)}, tmp_path / "good.pth", _use_new_zipfile_serialization=False
    )
    torch.save({"a": torch.rand(200)}, tmp_path / "zip.pth")
    for name in ("good", "zip"):
        content = (tmp_path / f"{name}.pth").read_bytes()
        for length in (0, 5, len(content) // 2, len(content) - 20):
            (tmp_path / "cut.pth").write_bytes(content[:length])
            with pytest.raises(InputError, match="cut.pth"):
                file = TorchFile(tmp_path / "cut.pth")
                for stored in file.content.values():
                    file.tensor(stored)


@pytest.mark.parametrize(
    "size, stride, offset",
    [((300,), (1,), 0), ((10,), (1,), 195), ((10**9,), (0,), 0), ((-1,), (1,), 0), ((2, 2), (1,), 0)],
)
def test_tensors_cannot_reach_beyond_their_storage(tmp_path, size, stride, offset):
    content, storage = io.BytesIO(), Reduced(len, "")

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 200) if value is storage else None

    Pickler(content, 2).dump({"a": Reduced(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})})
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", content.getvalue())
        archive.writestr("x/data/0", bytes(800))
    with pytest.raises(InputError, match="x.pth"):
        file = TorchFile(tmp_path / "x.pth")
        file.tensor(file.content["a"])


FOLDED = b")" + b"2\x86" * 60  # a pair of a pair ...: 2^60 items in 120 bytes
DEEP = b")" + b"\x85" * 10**6
HUGE = b"\x8a\x10" + (10**30).to_bytes(16, "little")


def _zip(path, pickled, **stored):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + pickled + b".")
        for name, content in stored.items():
            archive.writestr(f"x/data/{name[1:]}", content)


def _rebuilt(size, count=b"K\xc8", key=b"X\x01\x00\x00\x000"):
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + key + b"X\x03\x00\x00\x00cpu" + count + b"tQ"
    return b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + size + b"K\x01\x85tRs"


@pytest.mark.parametrize(
    "pickled",
    [
        FOLDED,
        DEEP,
        b"}" + FOLDED + b"K\x01s",  # as a key
        b"}X\x01\x00\x00\x00a" + FOLDED + b"s",
        b"cproto\nPPNet\n)\x81}X\x1d\x00\x00\x00prototype_activation_function" + FOLDED + b"sb",
        b"cproto\nPPNet\n)\x81}X\x07\x00\x00\x00epsilon" + FOLDED + b"sb",
        _rebuilt(HUGE + b"\x85"),
        _rebuilt(b"K\x00\x85", HUGE),
        _rebuilt(b"K\x05\x85", HUGE),
        _rebuilt(b"K\x05\x85", key=FOLDED),
        _rebuilt(FOLDED),
        b"}X\x04\x00\x00\x00\xed\xa0\x80aK\x01s",  # half a character
        b"FOLDED",
    ],
)
def test_hostile_sizes_are_one_line_in_bounded_time(tmp_path, pickled):
    path = tmp_path / "x.pth"
    _zip(path, pickled, _0=bytes(800))
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_legacy_file_whose_storages_have_no_names_or_no_end(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.rand(4)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    place = len(whole) - 16 - 8
    path.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
    with pytest.raises(InputError, match="is not whole"):
        TorchFile(path)
    keys = whole.rindex(b"\x80\x02]")
    path.write_bytes(whole[:keys] + b"\x80\x02](" + FOLDED + b"e." + bytes(24))
    with pytest.raises(InputError, match="no tensor names"):
        TorchFile(path)


def test_a_npy_file_that_lies_about_its_size_is_one_line(tmp_path):
    from protomask.importing.lists import read_owners

    path = tmp_path / "prune_info.npy"
    for shape in (f"({10**30}, 2)", f"({2**40}, 2)", "(-1, 2)", "(" * 500 + ")" * 500):
        text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(1100).encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(32))
        with pytest.raises(InputError, match="prune_info.npy"):
            read_owners(path)
