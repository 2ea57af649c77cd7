"""An audit as the plain values that pages print."""

from __future__ import annotations

from collections.abc import Mapping

from protomask.audit.results import written
from protomask.errors import InputError
from protomask.report.wording import localizer_label


def audit_view(audit: Mapping | None) -> dict | None:
    """Turn ``audit.json`` into what the templates print; None where there is none.

    Args:
        audit: see :meth:`protomask.audit.Audit.to_json`.

    Raises:
        InputError: a row of a change that it does not describe.
    """
    if audit is None:
        return None
    for row in audit["rows"]:
        if row["check"] not in audit["checks"]:
            raise InputError(f"audit.json has a row {row['check'][:40]!r} but no such check; audit the run again")
    return {
        "localizer": localizer_label(audit["localizer"]),
        "images": audit["images"],
        "verdict": audit["verdict"],
        "limits": audit["limits"],
        "rows": [
            {
                **audit["checks"][row["check"]],
                "outcome": row["outcome"],
                "cells": [written(row[name]) for name in ("answers", "moved", "overlap")],
            }
            for row in audit["rows"]
        ],
    }
