"""``manage.py benchmark run|list|show|cancel|export``: measure with MLPerf's LoadGen."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from marketplace.benchmarks.loadgen.plan import Plan
from marketplace.benchmarks.models import (
    Benchmark,
    Point,
    Scenario,
    Target,
    Trigger,
)
from marketplace.benchmarks.results import export
from marketplace.benchmarks.runs.job import benchmark_claim, benchmark_run
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import AIModel, Deployment, Worker
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_cancel

LISTED_MAX = 30
OPTIONS = {
    "samples": "samples_min",
    "seconds": "seconds_max",
    "seconds_min": "seconds_min",
    "warm_up": "warm_up",
    "slo_ms": "slo_ms",
    "percentile": "percentile",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "rows": "rows",
    "seed": "seed",
}
"""Options of ``run`` and the fields of the plan that they set."""


class Command(BaseCommand):
    help = "Measure workers, deployments or a route with MLPerf's LoadGen."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        run = verbs.add_parser("run", help="measure now, with progress; exit 1 when it fails")
        run.add_argument("model", help="author/slug")
        what = run.add_mutually_exclusive_group()
        what.add_argument("--worker", metavar="W", help="one worker")
        what.add_argument("--deployment", metavar="D", type=int, help="a deployment, by its id")
        what.add_argument("--route", action="store_true", help="the router, with all workers")
        run.add_argument("--scenario", choices=Scenario.values, default=Scenario.OFFLINE)
        run.add_argument("--loads", metavar="1,2,4", help="concurrencies, or requests a second")
        for option, field in OPTIONS.items():
            kind = int if Plan.__annotations__[field] == "int" else float
            run.add_argument(f"--{option.replace('_', '-')}", type=kind)
        run.add_argument("--queue", action="store_true", help="leave it to the jobs")
        execute = verbs.add_parser("execute", help="run one that is queued, as the jobs do")
        execute.add_argument("id", type=int)
        verbs.add_parser("list", help="the newest ones")
        for verb, text in (("show", "its points"), ("cancel", "stop it"), ("export", "as a file")):
            one = verbs.add_parser(verb, help=text)
            one.add_argument("id", type=int)
        one.add_argument("--format", choices=export.FORMATS, default="json")
        one.add_argument("--out", type=Path, help="a file; a folder for tensorboard")

    def handle(self, *args: Any, **options: Any) -> None:
        # With a prefix, as BaseCommand has an ``execute`` of its own.
        getattr(self, f"do_{options['verb']}")(options)

    def do_run(self, options: dict[str, Any]) -> None:
        model = AIModel.objects.filter(name=options["model"]).first()
        if model is None:
            raise CommandError(f"there is no model {options['model']!r}")
        try:
            with transaction.atomic():
                benchmark = benchmark_request(
                    model=model,
                    scenario=options["scenario"],
                    trigger=Trigger.PERSON,
                    reason="manage.py benchmark run",
                    settings=_settings(options),
                    **_target(model, options),
                )
                if not options["queue"]:
                    # Before the job processes can see it.
                    benchmark_claim(benchmark)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        if options["queue"]:
            self.stdout.write(f"#{benchmark.pk} is queued")
            return
        self._run(benchmark)

    def do_execute(self, options: dict[str, Any]) -> None:
        self._run(_one(options["id"]))

    def do_list(self, options: dict[str, Any]) -> None:
        for row in Benchmark.objects.select_related("model", "worker", "deployment__pool")[
            :LISTED_MAX
        ]:
            where = row.worker or (row.deployment and row.deployment.pool) or "route"
            kind = " (emulated)" if row.emulated else ""
            self.stdout.write(
                f"#{row.pk} {row.created_at:%Y-%m-%d %H:%M} {row.state:<9} {row.progress:4.0%} "
                f"{row.model}{kind} {where} {row.scenario}"
            )

    def do_show(self, options: dict[str, Any]) -> None:
        self._show(_one(options["id"]))

    def do_cancel(self, options: dict[str, Any]) -> None:
        row = _one(options["id"])
        job_cancel(row)
        self.stdout.write(f"#{row.pk}: {row.state if row.is_over else 'asked to stop'}")

    def do_export(self, options: dict[str, Any]) -> None:
        benchmark, out = _one(options["id"]), options["out"]
        if options["format"] == "tensorboard":
            if out is None:
                raise CommandError("name a folder for the event files with --out")
            export.tensorboard_write(benchmark, out)
            self.stdout.write(f"wrote {out}; look at it with: tensorboard --logdir {out}")
            return
        text = (
            export.as_csv(benchmark)
            if options["format"] == "csv"
            else json.dumps(export.as_dict(benchmark), indent=2) + "\n"
        )
        if out is None:
            self.stdout.write(text, ending="")
        else:
            out.write_text(text)

    def _run(self, benchmark: Benchmark) -> None:
        shown = ""
        is_terminal = sys.stdout.isatty()

        def watch(row: Benchmark) -> None:
            nonlocal shown
            stage = row.stage_text.partition(",")[0]
            if is_terminal:
                line = f"\r\033[K{row.progress:4.0%} {row.stage_text}"
                self.stdout.write(line, ending="")
                self.stdout.flush()
            elif stage != shown:
                self.stdout.write(f"{row.progress:4.0%} {stage}")
            shown = stage

        try:
            benchmark_run(benchmark, watch=watch)
        finally:
            if shown and is_terminal:
                self.stdout.write("")
        if not benchmark.is_over:
            why = "its pool is" if benchmark.state == JobState.QUEUED else "it is"
            self.stdout.write(f"#{benchmark.pk} {benchmark.state}: {why} being measured already")
            return
        self._show(benchmark)
        if benchmark.state != JobState.SUCCEEDED:
            raise CommandError(f"#{benchmark.pk} {benchmark.state}: {benchmark.error or 'stopped'}")

    def _show(self, benchmark: Benchmark) -> None:
        kind = " (emulated)" if benchmark.emulated else ""
        self.stdout.write(
            f"#{benchmark.pk} {benchmark.model}{kind}: {benchmark.scenario}, {benchmark.state}"
        )
        self.stdout.write(
            f"{'load':>8} {'samples':>7} {'errors':>6} {'/s':>9} {'good/s':>9} {'tok/s':>8} "
            f"{'mean ms':>24} {'p50':>9} {'p90':>9} {'p99':>9} {'ttft':>8} {'tpot':>7}"
        )
        for point in benchmark.points.all():
            self.stdout.write(_line(point))
            if point.invalid_because:
                self.stdout.write(f"{'':>8} not valid: {point.invalid_because}")
        for profile in benchmark.profiles.all():
            curve = ", ".join(f"{n:g}: ×{factor:.2f}" for n, factor in profile.batch_curve)
            self.stdout.write(
                f"one worker: {profile.service_ms:.2f} ms alone; {curve}; knee at {profile.slots}; "
                f"{profile.capacity_hz:.1f}/s within {profile.slo_ms:g} ms"
            )


def _line(point: Point) -> str:
    total = point.latency.get("total_ms", {})
    mean = total.get("mean", [0, 0, 0])
    interval = f"{mean[0]:.2f} [{mean[1]:.2f}, {mean[2]:.2f}]"
    cells = " ".join(f"{total.get(name, [0])[0]:9.2f}" for name in ("p50", "p90", "p99"))
    chat = [point.latency.get(name, {}).get("mean", [0])[0] for name in ("ttft_ms", "tpot_ms")]
    return (
        f"{point.load:8g} {point.samples:7} {point.errors:6} {point.throughput_hz:9.2f} "
        f"{point.goodput_hz:9.2f} {point.tokens_per_s:8.1f} {interval:>24} {cells} "
        f"{chat[0]:8.1f} {chat[1]:7.2f}{' knee' if point.is_knee else ''}"
    )


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    found = {
        field: options[option] for option, field in OPTIONS.items() if options[option] is not None
    }
    if options["loads"]:
        try:
            found["loads"] = [float(load) for load in options["loads"].split(",")]
        except ValueError as error:
            raise CommandError(f"--loads are numbers like 1,2,4: {error}") from error
    if "seconds_max" in found and "seconds_min" not in found:
        found["seconds_min"] = min(5.0, found["seconds_max"] / 2)
    return found


def _target(model: AIModel, options: dict[str, Any]) -> dict[str, Any]:
    if options["worker"]:
        worker = Worker.objects.filter(worker_id=options["worker"]).first()
        if worker is None:
            raise CommandError(f"there is no worker {options['worker']!r}")
        return {"target": Target.WORKER, "worker": worker}
    if options["deployment"] is not None:
        deployment = Deployment.objects.filter(
            pk=options["deployment"], version__model=model
        ).first()
        if deployment is None:
            raise CommandError(f"the model has no deployment {options['deployment']}")
        return {"target": Target.DEPLOYMENT, "deployment": deployment}
    if options["route"]:
        return {"target": Target.ROUTE}
    raise CommandError("say what to measure: --worker W, --deployment D or --route")


def _one(pk: int) -> Benchmark:
    row = (
        Benchmark.objects.select_related("model", "deployment__pool", "worker")
        .filter(pk=pk)
        .first()
    )
    if row is None:
        raise CommandError(f"there is no benchmark {pk}")
    return row
