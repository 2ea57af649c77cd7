"""Figures and the self-contained HTML report.

Nothing heavy is imported before it is used::

    from protomask.report import this_looks_like_that, save_figure, write_report
    save_figure(this_looks_like_that(explanation, "mdm"), "panel.pdf")
    write_report("run/report.html", config=config, pictures=pictures, explanations=explanations)

Figures are :class:`matplotlib.figure.Figure` objects that no ``pyplot`` state knows about: nothing has to be closed.
"""

from importlib import import_module

_HOME = {
    "prototype_gallery": "figures",
    "localizer_comparison": "figures",
    "localizer_grid": "figures",
    "beside_official": "official",
    "official_overlay": "official",
    "grow": "animation",
    "save_animation": "animation",
    "this_looks_like_that": "panels",
    "curves": "plots",
    "training_curves": "plots",
    "save_figure": "style",
    "write_report": "html",
    "outlines": "overlays",
    "disagreement": "overlays",
}
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
