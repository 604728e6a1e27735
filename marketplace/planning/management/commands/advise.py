"""``manage.py advise``: the cheapest fleet for a workload, and how sure that is."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.planning.advisor.answer import Answer, answer_json
from marketplace.planning.advisor.model import Fleet
from marketplace.planning.advisor.question import (
    KINDS,
    Question,
    QuestionInvalid,
    question_of,
    slo_parse,
)
from marketplace.planning.advisor.search import Checked
from marketplace.planning.advisor.services import CHECK_SECONDS, answer_question

PUBLISHED = "published, not measured here"


class Command(BaseCommand):
    help = "Say which hardware to have for a workload; --check also emulates it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="a model's name, or mlperf/<benchmark>")
        parser.add_argument("--rate", type=float, required=True, help="calls a second")
        parser.add_argument("--slo", required=True, help="p99=800 (ms) or p95=2s, end to end")
        parser.add_argument("--peak", type=float, default=1.0, help="peak over mean rate")
        parser.add_argument("--prompt-tokens", type=float, default=64.0)
        parser.add_argument("--completion-tokens", type=float, default=64.0)
        parser.add_argument("--rows", type=float, default=1.0, help="rows or images of a call")
        parser.add_argument("--size-cv", type=float, default=1.0, help="spread of the sizes")
        parser.add_argument("--budget", type=float, default=0.0, help="USD an hour; 0 is none")
        parser.add_argument("--regions", nargs="*", default=[])
        parser.add_argument("--kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
        parser.add_argument("--measured-only", action="store_true", help="no published figures")
        parser.add_argument("--utilisation", type=float, default=0.9, help="most at the peak")
        parser.add_argument("--spare", action="store_true", help="n+1: with any instance gone")
        parser.add_argument(
            "--price", action="append", default=[], metavar="OPTION=USD", help="an hour of it"
        )
        parser.add_argument("--check", action="store_true", help="emulate, and refine by that")
        parser.add_argument("--seconds", type=float, default=CHECK_SECONDS, help="of checking")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            question = _question(options)
            seconds = options["seconds"] if options["check"] else 0.0
            made = answer_question(question, check_seconds=seconds)
        except QuestionInvalid as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(answer_json(made), indent=1))
            return
        self.stdout.write("\n".join([*_head(question), *_fleet(made), *_check(made), *_more(made)]))


def _question(options: dict[str, Any]) -> Question:
    share, slo_ms = slo_parse(options["slo"])
    prices: dict[str, float] = {}
    for text in options["price"]:
        name, _, usd = text.rpartition("=")
        try:
            prices[name] = float(usd)
        except ValueError as error:
            raise QuestionInvalid("price", f"must look like OPTION=USD, got {text!r}") from error
    return question_of(
        {
            "model": options["model"],
            "rate_hz": options["rate"],
            "slo_ms": slo_ms,
            "share": share,
            "peak_factor": options["peak"],
            "prompt_tokens": options["prompt_tokens"],
            "completion_tokens": options["completion_tokens"],
            "rows": options["rows"],
            "size_cv": options["size_cv"],
            "budget_usd": options["budget"],
            "regions": options["regions"],
            "kinds": options["kinds"],
            "published": not options["measured_only"],
            "utilisation_max": options["utilisation"],
            "spare": options["spare"],
            "prices": prices,
        }
    )


def _head(question: Question) -> list[str]:
    return [
        f"{question.model}: {question.rate_hz:g} calls a second (peak {question.peak_hz:g}), "
        f"{question.share:.1%} within {question.slo_ms:g} ms"
    ]


def _fleet(made: Answer) -> list[str]:
    if made.fleet is None:
        return [f"No fleet does that. It would take another: {', '.join(made.binding) or 'SLO'}."]
    fleet = made.fleet
    lines = [
        f"  {line.count} x {line.option} ({line.hardware}; {_label(line.evidence)}): "
        f"${line.cost_usd:.2f}/h, {line.traffic:.0%} of the calls, {line.utilisation:.0%} busy"
        for line in fleet.lines
    ]
    lines += [
        f"  ${fleet.cost_usd:.2f} an hour; ${fleet.usd_per_1k_calls:.4f} per 1k calls"
        + (f", ${fleet.usd_per_1m_tokens:.4f} per 1M tokens" if fleet.usd_per_1m_tokens else "")
        + (
            f", ${fleet.usd_per_1k_met:.4f} per 1k that meet the SLO"
            if fleet.usd_per_1k_met
            else ""
        ),
        f"  by the queueing model: {_latency(fleet)}, {fleet.within:.2%} within the SLO",
        f"  bound by: {', '.join(made.binding)}; enough up to {made.rate_until_hz:g} a second",
    ]
    return lines


def _latency(fleet: Fleet) -> str:
    parts = (("p50", fleet.p50_ms), ("p90", fleet.p90_ms), ("p99", fleet.p99_ms))
    return ", ".join(f"{name} {ms:.0f} ms" for name, ms in parts if ms is not None)


def _check(made: Answer) -> list[str]:
    check: Checked | None = made.check
    if check is None:
        return ["  not checked by emulation (--check does it)"]
    lines: list[str] = []
    if check.figures is not None:
        value, low, high = check.figures.within
        lines.append(
            f"  emulated: {value:.2%} within the SLO (95 % interval {low:.2%} to {high:.2%}, "
            f"{check.figures.calls:,} calls); p99 {check.figures.p99_ms:.0f} ms"
        )
    lines.append(
        f"  cheaper fleets: {check.ruled_out} ruled out by a bound, {check.runs} runs"
        + (", none meets the SLO" if check.complete else f"; NOT FINISHED, {check.left} left")
        + f" ({check.seconds:.0f} s, seed {check.seed})"
    )
    return lines


def _more(made: Answer) -> list[str]:
    lines = ["Beside it, by the model:"]
    for row in made.compared:
        told = "none does it"
        if row.fleet is not None:
            verdict = "meets the SLO" if row.fleet.meets else "misses the SLO"
            told = f"${row.fleet.cost_usd:.2f} an hour, {verdict} ({row.fleet.within:.1%})"
        lines.append(f"  {row.what}: {told}")
    lines.append(f"Confidence: {made.confidence}")
    lines += [f"  pilot needed for {pilot.option}: {pilot.reason}" for pilot in made.pilots]
    lines += [
        f"  not considered: {option.name} ({option.left_out}; {_label(option.evidence)})"
        for option in made.options
        if option.left_out
    ]
    return lines


def _label(evidence: str) -> str:
    return PUBLISHED if evidence == "published" else evidence
