"""The audit of a run: ``audit.json`` and ``audit.html``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protomask.audit import Audit, audit
from protomask.errors import InputError
from protomask.evaluation import choose_pairs
from protomask.files import write_together
from protomask.given import as_count
from protomask.json_files import json_text
from protomask.localizers.several import Localizers
from protomask.report.audit_page import audit_page

if TYPE_CHECKING:
    from protomask.run.opened import Run

SAMPLES = 50


def audit_run(
    run: Run, localizer: Localizers | None = None, *, samples: int = SAMPLES, seed: int | None = None
) -> Audit:
    """Audit a run's pictures on its test images, and write ``audit.json`` and ``audit.html``.

    Args:
        run: its data are needed.
        localizer: whose pictures; the run's first by default.
        samples: test images, each with its own class's most similar prototype, of several findings each by itself;
            fewer than ten decide nothing.
        seed: of the choice of images and of all changes; by default the run's.

    Raises:
        InputError: an unknown name, several localizers, a number out of range, data not found.
    """
    samples = as_count(samples, "samples")
    seed = as_count(run.options.seed if seed is None else seed, "seed", 0)
    chosen = run.localizers(localizer)
    if localizer is not None and len(chosen) > 1:
        raise InputError(f"localizer names {len(chosen)}; audit one at a time")
    name, method = next(iter(chosen.items()))
    setup, data = run.setup, run.test
    found = audit(
        run.network,
        data,
        method,
        choose_pairs(run.network, data, samples, seed, setup.device),
        name=name,
        seed=seed,
        batch_size=setup.batch_size,
        device=setup.device,
        progress=setup.progress,
    )
    content = json_text("audit.json", found.to_json())
    page = audit_page(found, f"{type(run.network).__name__} on {run.options.data}")
    write_together(
        {
            run.files / "audit.json": lambda path: path.write_text(content, encoding="utf-8"),
            run.files / "audit.html": lambda path: path.write_text(page, encoding="utf-8", errors="backslashreplace"),
        }
    )
    return found
