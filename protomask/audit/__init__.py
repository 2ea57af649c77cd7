"""What can a network's pictures be trusted for? Changes that must not move them, and changes that must."""

from protomask.audit.measure import audit
from protomask.audit.results import CHECKS, Audit, Check, Row

__all__ = ["CHECKS", "Audit", "Check", "Row", "audit"]
