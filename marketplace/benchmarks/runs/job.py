"""A run of a benchmark is a job, in its own process."""

from dataclasses import replace
from functools import partial
from typing import Any

from django.db import transaction

from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.runs.live_traffic import traffic_on
from marketplace.benchmarks.runs.measuring import Measurement, ReadTraffic, Watch
from marketplace.benchmarks.runs.queue import RUNS_MAX, next_on_free_pools, next_to_run
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import Run, job_claim, job_run
from marketplace.shared.signals import benchmark_ran

RUN_S_MAX = 86_400.0
"""A run that takes longer than a day counts as stuck."""


def _unwatched(benchmark: Benchmark) -> None:
    pass


def _measure(
    run: Run, *, watch: Watch = _unwatched, read_traffic: ReadTraffic = traffic_on
) -> dict[str, Any]:
    return {"error": Measurement(run, watch, read_traffic).points()}


def _over(benchmark: Benchmark) -> None:
    Benchmark.objects.filter(pk=benchmark.pk).update(stage="")
    transaction.on_commit(partial(benchmark_ran.send_robust, None))


KIND = JobKind(
    Benchmark,
    _measure,
    over=_over,
    time_limit_s=RUN_S_MAX,
    at_once=RUNS_MAX,
    choose=next_to_run,
    command=("benchmark", "execute"),
)


def benchmark_run(
    benchmark: Benchmark, *, watch: Watch = _unwatched, read_traffic: ReadTraffic = traffic_on
) -> Benchmark:
    """Run a benchmark that waits or is claimed to its end, here; blocks.

    ``watch`` sees each progress. It stays as it is where it may not run, or runs already.
    """
    benchmark_claim(benchmark)
    if benchmark.state == JobState.RUNNING:
        work = partial(_measure, watch=watch, read_traffic=read_traffic)
        job_run(replace(KIND, work=work), benchmark)
    return benchmark


def benchmark_claim(benchmark: Benchmark) -> None:
    """Claim it for this process, however many measure now: it waits for its turn."""
    job_claim(replace(KIND, choose=next_on_free_pools), benchmark.pk)
    benchmark.refresh_from_db()
