"""DICOM images as 8-bit greys or colours: rescaled, windowed, upright in brightness. Needs the extra ``medical``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from protomask.data.depth import IntensityRange, RangeNeeded, scale
from protomask.data.dicom_fields import check_supplemental, complete
from protomask.data.raster import MEND, FileInMemory, ImageFile, check_pixels, open_file, unreadable
from protomask.errors import InputError

SUFFIXES = (".dcm", ".dicom")

_DEFLATED = "1.2.840.10008.1.2.1.99"
_GREY = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(path: ImageFile) -> bool:
    """Tell by the name's suffix whether a file is read as DICOM; of what is in memory, also by how it begins."""
    begins = isinstance(path, FileInMemory) and path.content[128:132] == b"DICM"
    return begins or Path(str(path)).suffix.lower() in SUFFIXES


def dicom_size(path: ImageFile) -> tuple[int, int]:
    """Read (width, height) from the file's header alone; errors as :func:`read_dicom`."""
    dataset = _read(path, pixels=False)
    with _damage(path):
        return _size(dataset, path)


def read_dicom(path: ImageFile, intensity_range: IntensityRange | None = None) -> np.ndarray:
    """Read a DICOM file of one frame as uint8, (h, w) or of colours (h, w, 3).

    Stored numbers are rescaled (slope and intercept, or the modality's table; those of the frame's or the shared
    functional group of enhanced files go first); then ``intensity_range``, in rescaled
    units, becomes 0 to 255, or without one the file's first window or table of values of interest, or without that the
    whole range of the bits stored. MONOCHROME1 is inverted, so that high is bright.

    Raises:
        InputError: pydicom is not installed; no DICOM file, damaged, no pixels, several frames, a compression without a
            decoder here, more pixels than are read; names the file.
    """
    dataset = _read(path, pixels=True)
    with _damage(path):
        _size(dataset, path)
        stored = _pixels(dataset, path)
        kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        if kind in _GREY and stored.ndim == 2:
            grey = _grey(stored, dataset, intensity_range, path)
            return 255 - grey if kind == "MONOCHROME1" else grey
        return _colours(stored, dataset, kind)


class Unwindowed(NamedTuple):
    """Hold grey levels for which a file names no window, so that little contrast may be left of them."""

    values: np.ndarray
    """(h, w) numbers as stored, rescaled"""
    whole: IntensityRange | None
    """what the bits stored can hold, rescaled, which becomes 0 to 255; None of floats"""
    inverted: bool
    """low is bright"""


def read_unwindowed(path: ImageFile) -> Unwindowed | None:
    """Read the numbers of a grey file of more than 8 bits that has no window; None of any other.

    Raises:
        InputError: as :func:`read_dicom`.
    """
    dataset = _read(path, pixels=True)
    with _damage(path):
        _size(dataset, path)
        kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        is_shallow = "PixelData" in dataset and int(dataset.get("BitsStored") or 0) <= 8
        if kind not in _GREY or _has_window(dataset) or is_shallow:
            return None
        stored = _pixels(dataset, path)
        if stored.ndim != 2:
            return None
        from pydicom.pixels import apply_modality_lut

        whole = _whole_range(stored, dataset) if np.issubdtype(stored.dtype, np.integer) else None
        return Unwindowed(apply_modality_lut(stored, dataset), whole, kind == "MONOCHROME1")


@contextmanager
def _damage(path: ImageFile) -> Iterator[None]:
    """Whatever is raised for fields that make no sense, which pydicom reads when they are asked for, is damage."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def _pydicom(path: ImageFile) -> Any:
    try:
        import pydicom
    except ImportError:
        raise InputError(f"{path}: DICOM files need pydicom; pip install pydicom") from None
    logging.getLogger("pydicom").addHandler(logging.NullHandler())  # its remarks would go to standard error
    return pydicom


def _read(path: ImageFile, pixels: bool) -> Any:
    pydicom = _pydicom(path)
    with open_file(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if _syntax(pydicom, file) == _DEFLATED:  # a small file can hold any amount
                raise InputError(f"{path}: a deflated DICOM file; save it without that compression")
            dataset = pydicom.dcmread(file, stop_before_pixels=not pixels)
        except InputError:
            raise
        except pydicom.errors.InvalidDicomError:
            error = ValueError("no DICOM file: it does not begin as one")
            raise unreadable(path, error) from None
        except Exception as error:  # whatever damaged bytes lead to
            raise unreadable(path, error) from error
        with _damage(path):
            complete(dataset, path)
    return dataset


def _syntax(pydicom: Any, file: BinaryIO) -> str:
    """How the data set is stored, as the file's head says; the file is then where it was."""
    pydicom.filereader.read_preamble(file, False)
    head = pydicom.filereader.read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2
    )
    file.seek(0)
    return str(head.get("TransferSyntaxUID", ""))


def _size(dataset: Any, path: ImageFile) -> tuple[int, int]:
    """(width, height); what stands in the header must be of one frame."""
    rows, columns, frames = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "NumberOfFrames"))
    if frames > 1:
        raise InputError(f"{path}: {frames} frames; one picture per file is read: save the frame you mean as its own")
    if rows < 1 or columns < 1:
        raise InputError(f"{path}: a DICOM file without a picture; {MEND}")
    check_pixels(path, columns, rows)
    return columns, rows


def _pixels(dataset: Any, path: ImageFile) -> np.ndarray:
    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise InputError(f"{path}: a DICOM file without a picture; {MEND}")
    syntax: Any = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = dataset.pixel_array
        except Exception as error:  # each decoder has its own
            if _lacks_decoder(syntax):
                raise InputError(
                    f"{path}: compressed as {syntax.name}, for which no decoder is installed; pip install pylibjpeg "
                    "pylibjpeg-libjpeg pylibjpeg-openjpeg, or save it uncompressed"
                ) from error
            raise unreadable(path, error) from error
    if dataset.get("PhotometricInterpretation") in _GREY:
        check_supplemental(dataset, stored, path)
    return stored


def _lacks_decoder(syntax: Any) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return syntax is not None and syntax.is_compressed and not get_decoder(syntax).is_available
    except NotImplementedError:
        return True
    except ValueError:  # damaged, so that it is none at all
        return False


def _grey(stored: np.ndarray, dataset: Any, intensity_range: IntensityRange | None, path: ImageFile) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = apply_modality_lut(stored, dataset)
    if intensity_range is not None:
        return scale(values, intensity_range, path)
    table = dataset.get("VOILUTSequence")
    if table:
        return scale(apply_voi(values, dataset), (0, 2 ** int(table[0].LUTDescriptor[2]) - 1), path)
    if _has_window(dataset):
        return _windowed(values, dataset, path)
    if not np.issubdtype(stored.dtype, np.integer):
        raise RangeNeeded(f"{path}: pixels of type float and no window; give intensity_range=(low, high)")
    return scale(values, _whole_range(stored, dataset), path)


def _has_window(dataset: Any) -> bool:
    has_width = dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None
    return has_width or bool(dataset.get("VOILUTSequence"))


def _whole_range(stored: np.ndarray, dataset: Any) -> IntensityRange:
    """Give the least and greatest number that the bits stored can hold, rescaled."""
    from pydicom.pixels import apply_modality_lut

    bits = int(dataset.BitsStored)
    least = -(2 ** (bits - 1)) if dataset.get("PixelRepresentation") else 0
    ends = apply_modality_lut(np.array([[least, least + 2**bits - 1]], dtype=stored.dtype), dataset)[0].astype(float)
    return float(ends.min()), float(ends.max())


def _windowed(values: np.ndarray, dataset: Any, path: ImageFile) -> np.ndarray:
    """Apply the first window, as PS3.3 C.11.2.1.2 defines its three functions."""
    center, width = (float(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if not (np.isfinite(center) and np.isfinite(width)) or width < (1 if function == "LINEAR" else 1e-9):
        raise RangeNeeded(
            f"{path}: a window of center {center:g} and width {width:g}; give intensity_range=(low, high)"
        )
    values = values.astype(np.float64)
    if function == "SIGMOID":
        return scale(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))), (0, 1), path)
    if function == "LINEAR_EXACT":
        return scale(values, (center - width / 2, center + width / 2), path)
    if width == 1:
        return np.where(values > center - 0.5, 255, 0).astype(np.uint8)
    return scale(values, (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2), path)


def _colours(stored: np.ndarray, dataset: Any, kind: str) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    bits = int(dataset.BitsStored)
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        bits = 8 if _has_small_palette(dataset) else 8 * stored.dtype.itemsize
    if stored.ndim != 3 or stored.shape[2] not in (3, 4):
        raise ValueError(f"colours of the shape {stored.shape}")
    return (stored[..., :3] >> (bits - 8)).astype(np.uint8) if bits > 8 else stored[..., :3].astype(np.uint8)


def _has_small_palette(dataset: Any) -> bool:
    """Tell whether all numbers of a palette are below 256: some files say 16 bits of those, and all would be black."""
    from pydicom.pixels import apply_color_lut

    count, first = (int(number) for number in dataset.RedPaletteColorLookupTableDescriptor[:2])
    numbers = np.arange(first, first + (count or 65_536), dtype=np.int64)
    return bool(apply_color_lut(numbers[None], dataset)[..., :3].max() < 256)
