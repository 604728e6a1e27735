"""``manage.py whatif``: replay recorded calls under another policy, fleet or price."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.benchmarks.recorded_calls.fleet import Basis
from marketplace.benchmarks.recorded_calls.replay import recording_read
from marketplace.catalog.models import AIModel
from marketplace.planning.whatif.answer import answer
from marketplace.planning.whatif.question import Question, question_of
from marketplace.planning.whatif.replay.scene import ARRIVALS_MAX, Unanswerable
from marketplace.planning.whatif.report import report
from marketplace.routing.models import PolicyKind


def _pair(what: Callable[[str], Any], shape: str) -> Callable[[str], tuple[str, Any]]:
    def parse(text: str) -> tuple[str, Any]:
        name, _, value = text.partition("=")
        try:
            return name, what(value)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} does not look like {shape}") from None

    return parse


class Command(BaseCommand):
    help = "Replay recorded calls of a model under another policy, fleet or price."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL")
        parser.add_argument("--since", required=True, type=_time, metavar="TIME", help="UTC")
        parser.add_argument("--until", required=True, type=_time, metavar="TIME", help="excluded")
        parser.add_argument("--kind", choices=[kind.value for kind in PolicyKind])
        parser.add_argument("--wait-weight", type=float)
        parser.add_argument("--usd-weight", type=float, dest="usd_weight_s", metavar="SECONDS")
        parser.add_argument("--hedge-share", type=float)
        pairs = (
            ("weight", float, "DEPLOYMENT=FACTOR", "taken for so much faster"),
            ("workers", int, "POOL=±N", "so many more or fewer"),
            ("slots", int, "POOL=N", "of each of its workers"),
            ("speed", float, "POOL=FACTOR", "0.5 is half as fast"),
            ("profile", int, "POOL=ID", "a pool that is not there, out of a profile"),
            ("price", float, "DEPLOYMENT=FACTOR", "0.8 is a fifth cheaper"),
        )
        for name, what, shape, help_ in pairs:
            parser.add_argument(
                f"--{name}",
                action="append",
                default=[],
                type=_pair(what, shape),
                metavar=shape,
                help=help_,
            )
        parser.add_argument("--scale", type=float, default=1.0, help="so many times the calls")
        parser.add_argument("--slo", type=float, default=0.0, metavar="MS")
        parser.add_argument("--speeds", choices=[basis.value for basis in Basis])
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--export", type=Path, metavar="FILE.jsonl", help="the arrivals only")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            question = question_of(_asked(options))
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["export"]:
            return self._export(question, options["export"])
        try:
            made = answer(question)
        except Unanswerable as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            return self.stdout.write(msgspec.json.format(msgspec.json.encode(made)).decode())
        self.stdout.write(report(made))

    def _export(self, question: Question, path: Path) -> None:
        model = AIModel.objects.filter(name=question.model).first()
        if model is None:
            raise CommandError(f"no model {question.model!r}")
        recording = recording_read(
            model=model, since=question.since, until=question.until, limit=ARRIVALS_MAX
        )
        lines = (msgspec.json.encode(arrival) + b"\n" for arrival in recording.arrivals)
        path.write_bytes(b"".join(lines))
        self.stdout.write(f"{len(recording.arrivals)} of {recording.total} arrivals in {path}")


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """The options as a question in JSON's values."""
    policy = {
        name: options[name]
        for name in ("kind", "wait_weight", "usd_weight_s", "hedge_share")
        if options[name] is not None
    }
    if options["weight"]:
        policy["weights"] = dict(options["weight"])
    pools: dict[str, dict[str, Any]] = {}
    for name in ("workers", "slots", "speed", "profile"):
        for pool, value in options[name]:
            pools.setdefault(pool, {})[name] = value
    asked = {name: options[name] for name in ("model", "since", "until", "scale")}
    asked |= {"policy": policy, "pools": pools, "prices": dict(options["price"])}
    asked["slo_ms"] = options["slo"]
    return asked | ({"speeds": options["speeds"]} if options["speeds"] else {})


def _time(text: str) -> datetime:
    """ISO 8601; UTC without a zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} does not look like 2026-11-24T15:00 or 2026-11-24"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
