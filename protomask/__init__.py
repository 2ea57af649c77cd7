"""protomask: train interpretable prototype networks, see where their prototypes look, and measure whether to trust the
picture.

from protomask import MDM, Classifier
saliency = MDM()(Classifier(model), images, classes)
"""

from importlib import import_module

# Names are imported on first use: ``import protomask`` and ``protomask --help`` do not wait for torch.
_HOMES = {
    "Classifier": "protomask.explainable",
    "Explainable": "protomask.explainable",
    "PrototypeNetwork": "protomask.prototype_network",
    "HDM": "protomask.localizers",
    "InputError": "protomask.errors",
    "MDM": "protomask.localizers",
    "NeuroMask": "protomask.localizers",
    **dict.fromkeys(("Cascade", "Destroy", "Fusion", "Keep", "Order", "Runtime", "Views"), "protomask.localizers"),
    "Similarity": "protomask.localizers",
    "get_localizer": "protomask.localizers",
    "get_localizers": "protomask.localizers",
    **dict.fromkeys(("from_pretrained", "push_to_hub"), "protomask.hub"),
    "from_datasets": "protomask.data",
    "load_data": "protomask.data",
    "load_network": "protomask.networks",
    "evaluate": "protomask.evaluation",
    "choose_pairs": "protomask.evaluation",
    "explain": "protomask.explanations.predictions",
    "picture_prototypes": "protomask.explanations.sources",
    "project": "protomask.projection",
    "Run": "protomask.run",
    "open_run": "protomask.run",
    "import_official": "protomask.run",
    "save_run": "protomask.run",
    "train": "protomask.run",
    "train_seeds": "protomask.run",
    "compare": "protomask.localization.compare",
    "Distillation": "protomask.distillation",
    "distill": "protomask.distillation",
    "Look": "protomask.localization.look",
    "look": "protomask.localization.look",
}
__all__ = sorted([*_HOMES, "__version__"])


def _version() -> str:
    """Return the installed package's version; "unknown" where the code runs from a folder that was never installed."""
    from importlib.metadata import PackageNotFoundError, version  # takes as long as all else here together

    try:
        return version("protomask")
    except PackageNotFoundError:
        return "unknown"


def __getattr__(name: str):
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'protomask' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
