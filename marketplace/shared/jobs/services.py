"""The life of a job: asked for, run, cancelled, and taken up again when its process died.

The committed row is the truth, and a message only says that there is one. A process that runs a job
writes a heartbeat. Where that stops, the sweep queues the job again while it has attempts left.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from marketplace.shared.jobs.kinds import JobKind, job_kinds, task_name
from marketplace.shared.jobs.messages import message_send
from marketplace.shared.jobs.models import STATES_OPEN, Job, JobState
from marketplace.shared.jobs.periodic import TIME_LIMIT_S, PeriodicTask, task_register
from marketplace.shared.jobs.processes import process_start
from marketplace.shared.jobs.spans import job_span_send
from marketplace.shared.observing.work import Work, working
from router.domain.tracing import span_ids

BEAT_EVERY_S = 5.0
LOST_AFTER = timedelta(seconds=30)
"""A job whose heartbeat is older has lost its process."""
BEGIN_WITHIN = timedelta(minutes=2)
"""A claimed job without a heartbeat for this long never got a process. Where the machine is so busy
that one begins later, a second one would make it busier still."""
SWEEP_EVERY_S = 15.0
PROGRESS_EVERY_S = 0.5
KILL_AFTER_S = 10.0
"""What is left to a job to end by itself once it has taken too long."""
CLAIM_LOCK_SPACE = 0x5750_4A42  # "WPJB"
UNEXPECTED = "It failed; the log of the jobs has more."
TOO_LONG = "It took longer than %g s."
LOST = "Its process was lost; ask again."

log = logging.getLogger(__name__)


class JobFailed(Exception):
    """The work cannot be done; the message tells the caller why. It is not tried again."""


class JobYields(Exception):
    """There is more to do: the job waits for its next turn, and this was no attempt of its own.

    For long work that keeps what it has done.
    """


class JobStopped(Exception):
    """Somebody cancelled the job, or another process has it by now."""


def job_register(kind: JobKind) -> None:
    """Make a kind, and the task that runs the next of its jobs, known to the process."""

    def run() -> None:
        job_run_next(kind.model)

    limit_s = TIME_LIMIT_S if kind.command else kind.time_limit_s + KILL_AFTER_S
    task_register(PeriodicTask(task_name(kind.model), run, kind.model.queue, time_limit_s=limit_s))
    job_kinds[kind.model] = kind


def job_ask(job: Job) -> None:
    """Queue a new job. Once it is committed, a job process gets a message."""
    job.save(force_insert=True)
    log.info("%s is asked for", _named(job))
    transaction.on_commit(partial(message_send, type(job)))


def job_cancel(job: Job) -> bool:
    """Cancel at once what waits; what runs is asked to stop. What is over stays as it is.

    Returns whether this ended it.
    """
    rows = _rows(type(job)).filter(pk=job.pk, state__in=STATES_OPEN)
    rows.update(cancel_requested=True)
    waiting = rows.filter(state=JobState.QUEUED)
    is_ended = waiting.update(state=JobState.CANCELLED, ended_at=timezone.now())
    job.refresh_from_db()
    return bool(is_ended)


class Run:
    """One attempt at a job, as its work sees it.

    What an attempt writes counts only while the job is its own: a process that was taken for dead
    and goes on changes nothing.
    """

    def __init__(
        self, kind: JobKind, job: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.job = job
        self.own: QuerySet[Job] = _rows(type(job)).filter(
            pk=job.pk, state=JobState.RUNNING, attempts=job.attempts
        )
        self._clock = clock
        self._share = 0.0
        self._next_s = clock()
        self._limit_s = kind.time_limit_s
        self._ends_s = self._next_s + self._limit_s

    def progress(self, share: float, **columns: Any) -> None:
        """Keep how far it is, and these columns.

        Raises :class:`JobStopped` or :class:`JobFailed` where it must end.
        """
        self._share = max(self._share, min(share, 1.0))
        now_s = self._clock()
        if now_s < self._next_s:
            return
        if now_s > self._ends_s:
            raise JobFailed(TOO_LONG % self._limit_s)
        self._next_s = now_s + PROGRESS_EVERY_S
        if self.is_stopped() or not self.own.update(progress=self._share, **columns):
            raise JobStopped

    def is_stopped(self) -> bool:
        """Whether somebody cancelled it, or it is another process's."""
        return not self.own.filter(cancel_requested=False).exists()


def job_run_next(model: type[Job]) -> Any:
    """Run the next job of this kind; returns it, None if none may run now.

    Of a kind with a command, begin the processes of all that may run now.
    """
    kind = job_kinds[model]
    job = job_claim(kind)
    if job is None:
        return None
    if not kind.command:
        job_run(kind, job)
        return job
    process_start(kind, job)
    while (further := job_claim(kind)) is not None:
        process_start(kind, further)
    return job


def job_run(kind: JobKind, job: Any) -> None:
    """Run a claimed job to its end, here; does nothing where another process has begun it."""
    ids = span_ids(job.traceparent)
    with working(Work(job=_named(job), trace_id=ids.trace_id if ids else "")):
        _run(kind, Run(kind, job))


def _run(kind: JobKind, run: Run) -> None:
    job, name = run.job, _named(run.job)
    if not run.own.filter(heartbeat_at=None).update(heartbeat_at=timezone.now()):
        return
    log.info("%s begins, attempt %s", name, job.attempts)
    try:
        with _heartbeat(run.own):
            columns = kind.work(run)
        _end(kind, run, JobState.SUCCEEDED, progress=1.0, **columns)
    except JobYields:
        run.own.update(state=JobState.QUEUED, attempts=job.attempts - 1)
        job.refresh_from_db()
    except JobStopped:
        _end(kind, run, JobState.CANCELLED)
    except JobFailed as error:
        _end(kind, run, JobState.FAILED, error=_cut(str(error)))
    except KeyboardInterrupt:
        # A job that ran at a terminal gets no second attempt.
        _end(kind, run, JobState.CANCELLED)
        raise
    except Exception:
        log.exception("%s", name)
        _end(kind, run, JobState.FAILED, error=UNEXPECTED)
    log.info("%s: %s %s", name, job.state, job.error)
    _tell_of_next(kind.model)


@contextmanager
def claims_held(model: type[Job]) -> Iterator[None]:
    """Decide with nobody else which jobs of a kind run, in a transaction."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            space, table = CLAIM_LOCK_SPACE, model._meta.db_table
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [space, table])
        yield


def job_claim(kind: JobKind, pk: int | None = None) -> Any:
    """Make a job that waits one that runs: the kind's choice, of all or of one by its id.

    None where none may run now. Its process has :data:`BEGIN_WITHIN` to begin.
    """
    rows = _rows(kind.model)
    with claims_held(kind.model):
        if jobs_running(kind.model).count() >= kind.at_once:
            return None
        queued = rows.filter(state=JobState.QUEUED).order_by(*kind.turn)
        queued = queued if pk is None else queued.filter(pk=pk)
        job = kind.choose(queued.select_for_update(skip_locked=True, of=("self",)))
        if job is None:
            return None
        job.state, job.progress, job.attempts = JobState.RUNNING, 0.0, job.attempts + 1
        job.started_at, job.heartbeat_at = timezone.now(), None
        job.save(update_fields=["state", "progress", "attempts", "started_at", "heartbeat_at"])
        return job


def jobs_running(model: type[Job]) -> QuerySet[Any]:
    """Those that have a process, or soon will."""
    return _rows(model).filter(state=JobState.RUNNING).exclude(_lost())


def jobs_sweep() -> int:
    """Take back what lost its process, and tell of what waits; returns how many were lost."""
    lost = 0
    for kind in job_kinds.values():
        for job in jobs_lost(kind.model):
            try:
                lost += _take_back(kind, job)
            except Exception:
                # A failure after one job's end must not keep the others from being seen.
                log.exception("%s %s", kind.model._meta.label, job.pk)
        if jobs_running(kind.model).count() < kind.at_once:
            _tell_of_next(kind.model, expires_s=SWEEP_EVERY_S)
    return lost


def jobs_lost(model: type[Job]) -> QuerySet[Any]:
    """Running jobs that have no process any more, or never got one."""
    return _rows(model).filter(_lost(), state=JobState.RUNNING)


def state_after_loss(job: Job, attempts_max: int) -> JobState:
    """What happens to a running job whose process is gone."""
    if job.cancel_requested:
        return JobState.CANCELLED
    return JobState.QUEUED if job.attempts < attempts_max else JobState.FAILED


def _take_back(kind: JobKind, job: Job) -> bool:
    log.warning("%s has lost its process", _named(job))
    run = Run(kind, job)
    run.own = run.own.filter(heartbeat_at=job.heartbeat_at)
    state = state_after_loss(job, kind.attempts_max)
    if state == JobState.QUEUED:
        return bool(run.own.update(state=state))
    return _end(kind, run, state, error=LOST if state == JobState.FAILED else "")


def _end(kind: JobKind, run: Run, state: JobState, **columns: Any) -> bool:
    """End the job unless it is another process's by now; returns whether it was ended.

    What follows comes first: who cancels a job locks what it is about, and then the job.
    """
    job, is_own = run.job, run.own.exists()
    if is_own:
        columns |= {"state": state, "ended_at": timezone.now()}
        for name, value in columns.items():
            setattr(job, name, value)
        with transaction.atomic():
            kind.over(job)
            is_own = bool(run.own.update(**columns))
            transaction.set_rollback(not is_own)
    job.refresh_from_db()
    if is_own:
        job_span_send(job)
    return is_own


@contextmanager
def _heartbeat(own: QuerySet[Job]) -> Iterator[None]:
    """Say in the background that the process lives."""
    done = threading.Event()

    def beat() -> None:
        try:
            while not done.wait(BEAT_EVERY_S):
                try:
                    own.update(heartbeat_at=timezone.now())
                    # Between two beats another thread may need it.
                    connection.close()
                except DatabaseError as error:
                    log.warning("no heartbeat: %s", error)
                    connection.close()
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _lost() -> Q:
    now = timezone.now()
    never = Q(heartbeat_at=None, started_at__lt=now - BEGIN_WITHIN)
    return never | Q(heartbeat_at__lt=now - LOST_AFTER)


def _tell_of_next(model: type[Job], expires_s: float | None = None) -> None:
    if _rows(model).filter(state=JobState.QUEUED).exists():
        message_send(model, expires_s)


def _rows(model: type[Job]) -> QuerySet[Any]:
    return model._default_manager.all()


def _named(job: Job) -> str:
    return f"{job._meta.label} {job.pk}"


def _cut(text: str) -> str:
    return text[: Job._meta.get_field("error").max_length]
