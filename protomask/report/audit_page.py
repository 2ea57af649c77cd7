"""The page of an audit: one table and a verdict, in one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from protomask.audit import Audit
from protomask.files import write_atomically
from protomask.report.audit_view import audit_view
from protomask.report.templating import template


def write_audit_page(path: str | Path, audit: Audit, title: str) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the file.
        audit: what was found.
        title: names the run.
    """
    page = template("audit.html.j2").render(title=title, audit=audit_view(audit.to_json()))
    path = Path(path)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8", errors="backslashreplace"))
    return path
