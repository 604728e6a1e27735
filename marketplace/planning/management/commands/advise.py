"""``manage.py advise``: the cheapest fleet for a workload, and how sure that is."""

import json
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.planning.advisor.answer import Answer
from marketplace.planning.advisor.fleets.emulation import WorkerModel
from marketplace.planning.advisor.fleets.model import Fleet
from marketplace.planning.advisor.fleets.search import Checked
from marketplace.planning.advisor.question import KINDS, Question, question_of, slo_parse
from marketplace.planning.advisor.services import CHECK_SECONDS, answer_question
from marketplace.planning.asking import QuestionInvalid

PUBLISHED = "published, not measured here"
WORKERS = {
    WorkerModel.ENGINES: "LLM engines: with batching and KV cache",
    WorkerModel.SLOTS: "machines with slots",
}


class Command(BaseCommand):
    help = "Say which hardware to have for a workload; --check also emulates it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("model", help="a model's name, or mlperf/<benchmark>")
        add("--rate", dest="rate_hz", type=float, required=True, help="calls a second")
        add("--slo", required=True, help="p99=800 (ms) or p95=2s, end to end")
        add("--peak", dest="peak_factor", type=float, default=1.0, help="peak over mean rate")
        add("--prompt-tokens", type=float, default=64.0)
        add("--completion-tokens", type=float, default=64.0)
        add("--rows", type=float, default=1.0, help="rows or images of a call")
        add("--size-cv", type=float, default=1.0, help="spread of the sizes")
        add("--budget", dest="budget_usd", type=float, default=0.0, help="USD an hour; 0 is none")
        add("--regions", nargs="*", default=[])
        add("--kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
        add("--measured-only", dest="published", action="store_false", help="no published figures")
        add(
            "--utilisation",
            dest="utilisation_max",
            type=float,
            default=0.9,
            help="most at the peak",
        )
        add("--spare", action="store_true", help="n+1: with any instance gone")
        add("--price", action="append", default=[], metavar="OPTION=USD", help="an hour of it")
        add("--check", action="store_true", help="emulate, and refine by that")
        add("--seconds", type=float, default=CHECK_SECONDS, help="of checking")
        add("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            question = _question(options)
            seconds = options["seconds"] if options["check"] else 0.0
            made = answer_question(question, check_seconds=seconds)
        except QuestionInvalid as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(msgspec.to_builtins(made), indent=1))
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
            raise QuestionInvalid(
                "price", f"price must look like OPTION=USD, got {text!r}"
            ) from error
    asked = {name: options[name] for name in Question.__struct_fields__ if name in options}
    return question_of(asked | {"slo_ms": slo_ms, "share": share, "prices": prices})


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
        f"  counted as {WORKERS[made.worker_model]}",
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
        f"  {check.judged} fleets judged in {check.runs} runs"
        + (": no cheaper one meets the SLO" if check.complete else "; NOT FINISHED")
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
