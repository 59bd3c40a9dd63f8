"""The exact expectation of any loss's gradient, beside the true gradient."""

from agents.audits.audit import audit
from agents.audits.result import Audit

__all__ = ["Audit", "audit"]
