"""The page of an audit: one table and a verdict, in one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from protomask.audit import CHECKS, Audit
from protomask.audit.results import ANSWERS, MOVED, OVERLAP, written
from protomask.files import write_atomically
from protomask.report.templating import template
from protomask.report.wording import localizer_label


def write_audit_page(path: str | Path, audit: Audit, title: str) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the file.
        audit: what was found.
        title: names the run.
    """
    rows = [
        {
            "label": CHECKS[row.check].label,
            "keeps": CHECKS[row.check].keeps,
            "outcome": row.outcome,
            "cells": [written(each) for each in (row.answers, row.moved, row.overlap)],
        }
        for row in audit.rows
    ]
    page = template("audit.html.j2").render(
        title=title,
        localizer=localizer_label(audit.localizer),
        images=audit.images,
        verdict=audit.verdict,
        rows=rows,
        limits={"answers": ANSWERS, "moved": MOVED, "overlap": OVERLAP},
    )
    path = Path(path)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8", errors="backslashreplace"))
    return path
