"""A finding, and what analyzers look at."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum

from controlplane.resources.declared import Declared, ObjectKey


class Severity(StrEnum):
    """How bad it is, the worst first."""

    ERROR = "error"
    """A part of what is declared does not work."""
    WARNING = "warning"
    """It works, and probably not as was meant."""
    INFO = "info"
    """Worth knowing."""

    def reaches(self, threshold: Severity) -> bool:
        """Whether it is as bad as that, or worse."""
        order = list(Severity)
        return order.index(self) <= order.index(threshold)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should be looked at."""

    severity: Severity
    code: str
    """`WEIR` and four digits; it never gets another meaning."""
    object: str
    """`Kind namespace/name`; empty where only the file is known."""
    file: str
    line: int
    message: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f" ({self.advice})" if self.advice else ""
        where = f"{self.file}:{self.line}"
        return f"{self.severity} [{self.code}] {self.object} {where}: {self.message}{advice}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is looked at."""

    declared: Declared
    now: datetime.datetime
    """With a time zone."""
    days: float = 30.0
    """A certificate that expires within these is reported."""

    def finding(
        self,
        severity: Severity,
        code: str,
        key: ObjectKey,
        message: str,
        advice: str = "",
        field: str = "",
    ) -> Finding:
        """Of an object, or of a field of it where the line of that is known."""
        source = self.declared.sources[key]
        line = source.lines.get(field, source.line)
        return Finding(severity, code, str(key), source.file, line, message, advice)
