"""A finding, and how checks become findings whatever happens to them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

REASON_MAX = 300


class Verdict(StrEnum):
    """``UNKNOWN`` is what could not be looked at, since what it takes is down or off."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``advice`` says what to do next where the verdict is bad."""

    name: str
    verdict: Verdict
    text: str
    advice: str = ""


def good(name: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(name, Verdict.GOOD, text)


def bad(name: str, text: str, advice: str) -> Finding:
    """Something to do."""
    return Finding(name, Verdict.BAD, text, advice)


def unknown(name: str, text: str) -> Finding:
    """Not looked at."""
    return Finding(name, Verdict.UNKNOWN, text)


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked at. ``advice`` is given if it cannot be, ``needs`` names checks before it."""

    name: str
    look: Callable[[], list[Finding]]
    advice: str
    needs: tuple[str, ...] = ()


def examine(checks: tuple[Check, ...]) -> list[Finding]:
    """Every check's findings, in order. Never raises: what a check raises is its finding."""
    found: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        if missing := [name for name in check.needs if name in failed]:
            findings = [unknown(check.name, f"not looked at without: {', '.join(missing)}")]
        else:
            findings = _looked(check)
        if any(finding.verdict is not Verdict.GOOD for finding in findings):
            failed.add(check.name)
        found += findings
    return found


def _looked(check: Check) -> list[Finding]:
    try:
        return check.look()
    except Exception as error:  # noqa: BLE001 - whatever is down, the others are looked at
        return [bad(check.name, reason_of(error), check.advice)]


def reason_of(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:REASON_MAX]
