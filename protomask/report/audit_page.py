"""The page of an audit: one table and a verdict, in one file that needs nothing else."""

from __future__ import annotations

from protomask.audit import Audit
from protomask.report.audit_view import audit_view
from protomask.report.templating import template


def audit_page(audit: Audit, title: str) -> str:
    """Give the page.

    Args:
        audit: what was found.
        title: names the run.
    """
    return template("audit.html.j2").render(title=title, audit=audit_view(audit.to_json()))
