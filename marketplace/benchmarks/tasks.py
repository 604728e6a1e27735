"""Running a benchmark is a job. Some are asked for each night, and when something is new."""

import logging

from django.conf import settings

from marketplace.benchmarks.runs.job import KIND
from marketplace.benchmarks.runs.rehearsals import rehearsals_request
from marketplace.benchmarks.runs.schedule import lacking_request, nightly_request
from marketplace.shared.jobs.periodic import Queue, daily, every
from marketplace.shared.jobs.services import job_register

AUTOMATIC = settings.WAYPOST_BENCHMARKS_AUTO
HOURS = settings.WAYPOST_BENCHMARK_HOURS if AUTOMATIC else ()
NEWS_EVERY_S = 120.0 if AUTOMATIC else 0.0

log = logging.getLogger(__name__)


job_register(KIND)


@daily(HOURS, queue=Queue.WORK)
def benchmark_every_deployment() -> int:
    """Queue a benchmark of each live deployment; returns how many."""
    return len(nightly_request())


@daily(settings.WAYPOST_REHEARSAL_HOURS, queue=Queue.WORK)
def rehearse_the_peak() -> int:
    """Queue rehearsals of the busiest models; returns how many."""
    return len(rehearsals_request())


@every(NEWS_EVERY_S, queue=Queue.WORK)
def benchmark_what_is_new() -> int:
    """Queue what is new or changed since it was measured; returns how many."""
    asked = lacking_request()
    for benchmark in asked:
        log.info("benchmark #%s of %s: %s", benchmark.pk, benchmark.model, benchmark.reason)
    return len(asked)
