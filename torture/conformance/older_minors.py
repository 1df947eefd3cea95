"""What fails on an older kernel, and must."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from torture.conformance.tester import Result


@dataclass(frozen=True)
class Difference:
    below: int
    checks: str
    reason: str


DIFFERENCES: tuple[Difference, ...] = ()


class Expected:
    def __init__(self, filesystem: str, minor: int) -> None:
        self.rows = [row for row in DIFFERENCES if minor < row.below]

    def reason(self, result: Result) -> str:
        return next((row.reason for row in self.rows if fnmatchcase(result.label, row.checks)), "")
