"""The clock of benchmarks: starting what is queued, each night, and when something is new."""

import logging

from django.conf import settings

from marketplace.benchmarks.schedule import lacking_request, nightly_request
from marketplace.benchmarks.starting import benchmarks_bury, benchmarks_start
from marketplace.shared.jobs.periodic import Queue, daily, every

AUTOMATIC = settings.WAYPOST_BENCHMARKS_AUTO
HOURS = settings.WAYPOST_BENCHMARK_HOURS if AUTOMATIC else ()
NEWS_EVERY_S = 120.0 if AUTOMATIC else 0.0

log = logging.getLogger(__name__)


@every(5.0, queue=Queue.CONTROL)
def start_benchmarks() -> list[int]:
    """Start what is queued, in processes of their own; returns the ids."""
    if buried := benchmarks_bury():
        log.warning("benchmarks whose process is gone: %s", buried)
    return benchmarks_start()


@daily(HOURS, queue=Queue.WORK)
def benchmark_every_deployment() -> int:
    """Queue a benchmark of each live deployment; returns how many."""
    return len(nightly_request())


@every(NEWS_EVERY_S, queue=Queue.WORK)
def benchmark_what_is_new() -> int:
    """Queue what is new or changed since it was measured; returns how many."""
    asked = lacking_request()
    for benchmark in asked:
        log.info("benchmark #%s of %s: %s", benchmark.pk, benchmark.model, benchmark.reason)
    return len(asked)
