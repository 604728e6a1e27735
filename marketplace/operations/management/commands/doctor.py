"""`manage.py doctor`: what is wrong with this installation, and what to do about it."""

import json
import logging
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from marketplace.operations.doctor.checks import CHECKS
from marketplace.operations.doctor.findings import Finding, Verdict, examine

MARKS = {Verdict.GOOD: "✓", Verdict.BAD: "✗", Verdict.UNKNOWN: "–"}


class Command(BaseCommand):
    help = "Say what is wrong and what to do; exit status 1 if anything is."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for scripts")

    def handle(self, *args: Any, **given: Any) -> None:
        # The line of a part that is down already has what libraries log about it.
        logging.disable(logging.CRITICAL)
        try:
            found = examine(CHECKS)
        finally:
            logging.disable(logging.NOTSET)
        is_healthy = all(finding.verdict is not Verdict.BAD for finding in found)
        if given["json"]:
            said = {"healthy": is_healthy, "findings": [asdict(finding) for finding in found]}
            self.stdout.write(json.dumps(said, indent=2))
        else:
            self.stdout.write(as_lines(found))
        if not is_healthy:
            sys.exit(1)


def as_lines(found: Sequence[Finding]) -> str:
    """A line for each finding, and what to do below those that are bad."""
    width = max(len(finding.name) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{MARKS[finding.verdict]} {finding.name:<{width}}  {finding.text}")
        if finding.advice:
            lines.append(f"  {'':<{width}}  → {finding.advice}")
    wrong = sum(finding.verdict is Verdict.BAD for finding in found)
    lines.append(f"{wrong} of {len(found)} are wrong." if wrong else "Nothing is wrong.")
    return "\n".join(lines)
