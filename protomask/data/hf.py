"""``hf:NAME_OR_FOLDER``: data sets of Hugging Face ``datasets``, read by that library itself.

A folder is one that its ``save_to_disk`` wrote, or one of parquet files (``train-*.parquet``, ``test-*.parquet``;
without such names all of them are the training images) or of what else the library reads; anything else is the name of
a data set on the Hugging Face Hub.

The images are the one column of the type ``Image``, the classes the one of the type ``ClassLabel`` (a list of them: any
number of findings per image); where there are several, ``image_column`` and ``label_column`` say which. Without a
``ClassLabel`` a column called ``label`` or ``labels`` will do, and any that ``label_column`` names: whole numbers or
texts, each another class. Splits are called ``train``, ``test`` and ``validation`` as the folders of a data set are
(``training``, ``testing``, ``valid``, ``val``, in any case), or ``dev``; what is called otherwise is not read, and a
remark says so. Test images are drawn where there are none, or none with labels (-1), validation images likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from protomask.data.arrow_contents import AT_ONCE
from protomask.data.arrow_images import ArrowImages
from protomask.data.depth import IntensityRange
from protomask.data.folder import SHARE
from protomask.data.hf_labels import Labels, check_classes, label_remarks, read_labels, without_unknown
from protomask.data.hf_splits import named_splits, refuse_tests, unread_remarks, unread_splits
from protomask.data.images import AnnotatedImages, Splits
from protomask.data.splitting import check_share, hold_out
from protomask.errors import InputError, did_you_mean
from protomask.files import check_folder

_LABELS = ("label", "labels")


def _load(
    source: str,
    root: Path | None,
    *,
    image_size: int | None = None,
    test: float | None = None,
    intensity_range: IntensityRange | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Splits:
    """Open a data set.

    Args:
        source: a folder, or the name of a data set on the hub.
        root: a folder in its place.
        image_size, intensity_range: see :class:`ArrowImages`.
        test: which share of each class is the test set, where there is none; 0.2 by default.
        image_column, label_column: names, where the types of the columns do not tell.

    Raises:
        InputError: ``datasets`` is not installed; the data set cannot be opened; no column or several columns may be
            meant; a row has no image, or a label that is none.
    """
    check_share("test", SHARE if test is None else test)
    named = str(root) if root is not None else source
    if not named:
        raise InputError("data set 'hf' needs a folder, or a name: hf:FOLDER or hf:NAME")
    found = _open(named).with_format(None)  # one that was saved with the data hides columns, or changes their rows
    parts = named_splits(found, named)
    shown = {key: f"{named}: {name}" for key, (name, _) in parts.items()}
    for key, (_, rows) in parts.items():
        _check_table(rows, shown[key])
    features = parts["train"][1].features
    image = _image_column(features, image_column, named)
    label = _label_column(features, label_column, named)
    labels = {key: read_labels(rows, label, shown[key]) for key, (_, rows) in parts.items()}
    labels = without_unknown(labels)  # as ImageNet's test images
    parts = {key: parts[key] for key in labels}
    unread = unread_splits(found, parts)
    if "test" not in parts and test is None:
        refuse_tests(unread, named)
    classes = check_classes(labels, label, named)
    if "test" in parts and test is not None:
        raise InputError(f"{named}: has test images of its own ({parts['test'][0]}); leave out the share of others")
    made: dict[str, AnnotatedImages] = {
        key: ArrowImages(
            _encoded(rows, image),
            name,
            shown[key],
            classes,
            labels[key].numbers(classes),
            image,
            image_size=image_size,
            intensity_range=intensity_range,
        )
        for key, (name, rows) in parts.items()
    }
    training = made["train"]
    nothing = training.subset([])
    if "test" not in made:
        kept, held = hold_out(training.labels, SHARE if test is None else test)
        training, made["test"] = training.subset(kept), training.subset(held)
    return Splits(
        training,
        made.get("validation", nothing),
        made["test"],
        partial(_remarks, unread, named, labels["train"], label),
    )


def reader(source: str) -> Callable[..., Splits]:
    """Give the function that opens ``source``, for :func:`protomask.data.load_data`."""
    return partial(_load, source)


load = reader("")


def _remarks(unread: Mapping[str, int], named: str, train: Labels, label: str) -> list[str]:
    return [*unread_remarks(unread, named), *label_remarks(train, label)]


def _encoded(rows: Any, image: str) -> Any:
    """Give the column of images alone, as bytes or paths."""
    import datasets

    return rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))


def _open(named: str) -> Any:
    """Open a folder, or a data set on the hub: a ``Dataset``, or several by the names of their splits."""
    try:
        import datasets
    except ImportError:
        raise InputError(f"hf:{named}: needs the package datasets; pip install datasets") from None
    folder = Path(named).expanduser()
    try:
        if folder.is_dir():
            if any((folder / name).exists() for name in ("dataset_dict.json", "state.json")):
                return datasets.load_from_disk(str(folder))
            return datasets.load_dataset(str(folder.resolve()))
        if folder.is_absolute() or named.startswith("."):
            check_folder(folder, "give one that save_to_disk wrote, or one of parquet files")
        return datasets.load_dataset(named)
    except InputError:
        raise
    except Exception as error:  # the library passes on whatever its readers and the hub's client raise
        raise InputError(
            f"{named}: datasets cannot open it ({_reason(error)}); give a folder that save_to_disk wrote, one of "
            "parquet files, or the name of a data set on the hub"
        ) from error


def _reason(error: BaseException) -> str:
    """Give what went wrong first: the library wraps it in errors that say only that something did."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check_table(rows: Any, where: str) -> None:
    """Raise InputError for a table whose parts do not fit together: Arrow trusts it, and would read anywhere."""
    try:
        for part in rows.with_format("arrow").iter(AT_ONCE):
            part.validate(full=True)
    except Exception as error:  # Arrow's own errors, and Python's of a file that is cut
        raise InputError(f"{where}: the table is damaged ({_reason(error)}); restore it, or save it again") from error


def _image_column(features: Any, wanted: str | None, named: str) -> str:
    import datasets

    kind = datasets.Image
    names = [name for name, feature in features.items() if isinstance(feature, kind)]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    if wanted in features:
        raise InputError(
            f"{named}: column {wanted!r} holds {_kind(features[wanted])}, not images; of the type Image "
            f"there is {', '.join(names) or 'none'}"
        )
    if wanted is not None:
        raise _no_column(features, wanted, named)
    if names:
        raise InputError(
            f"{named}: several columns of images ({', '.join(names)}); say by image_column= which one is meant"
        )
    columns = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    raise InputError(f"{named}: no column of the type Image; there are {columns}; cast one by cast_column")


def _label_column(features: Any, wanted: str | None, named: str) -> str:
    import datasets

    def has_classes(feature: Any) -> bool:
        return isinstance(feature, datasets.ClassLabel) or isinstance(
            getattr(feature, "feature", None), datasets.ClassLabel
        )

    if wanted is not None:
        if wanted not in features:
            raise _no_column(features, wanted, named)
        return wanted
    names = [name for name, feature in features.items() if has_classes(feature)]
    names = names or [name for name in _LABELS if name in features]
    if len(names) == 1:
        return names[0]
    if names:
        raise InputError(
            f"{named}: several columns of classes ({', '.join(names)}); say by label_column= which one is meant"
        )
    raise InputError(
        f"{named}: no column of the type ClassLabel, and none called label; say by label_column= which of "
        f"{', '.join(features)} holds the classes"
    )


def _no_column(features: Any, wanted: str, named: str) -> InputError:
    return InputError(
        f"{named}: no column {wanted!r}; there are {', '.join(features)}{did_you_mean(wanted, list(features))}"
    )


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)
