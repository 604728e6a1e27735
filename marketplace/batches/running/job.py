"""The work of a batch: its file is checked, its lines are sent in turns, its results delivered."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeVar, cast

from django.core.files.base import ContentFile
from django.core.files.base import File as Content
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from marketplace.accounts.models import ApiKey
from marketplace.batches.files.services import bytes_store, file_add, files_storage
from marketplace.batches.formats.capacity import window_of
from marketplace.batches.formats.kinds import Part, columns_for, contents, format_of
from marketplace.batches.formats.lines import Models
from marketplace.batches.formats.results import Covered, Finished, Item
from marketplace.batches.models import (
    STATUSES_OPEN,
    Batch,
    BatchPart,
    BatchStatus,
    File,
    Purpose,
)
from marketplace.batches.running.calls import Calls, Clients
from marketplace.batches.running.sending import Ending, Looked, Sender
from marketplace.catalog.selectors import models_published
from marketplace.inference.callers import Caller
from marketplace.inference.router_client import RouterClient
from marketplace.presets.selectors import presets_of
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import JobFailed, JobStopped, JobYields, Run

PATIENCE_S = 120.0
"""How long a batch waits for a database that is away."""
INVALID = "The file has errors, so nothing of it was sent."
INPUT_GONE = "The input file is gone."
EXPIRED = ("batch_expired", "The completion window ended before this line was sent.")

log = logging.getLogger(__name__)
T = TypeVar("T")


def _cheaper() -> RouterClient:
    """A batch pays the price of batches."""
    return RouterClient(batch=True)


def batch_work(run: Run, clients: Clients = _cheaper) -> Mapping[str, Any]:
    """The work of the job: one turn. Returns the columns to keep once the batch is over."""
    try:
        return _worked(run, clients)
    except JobYields:
        raise
    except Exception:
        # What was done is delivered, however the job ends.
        if _own(run).exists():
            deliver(run.job, _own(run))
        raise


def batch_over(batch: Batch) -> None:
    """The states of a job that did not finish, as statuses of the batch."""
    row = Batch.objects.filter(pk=batch.pk, status__in=STATUSES_OPEN)
    if batch.state == JobState.FAILED:
        error = {"code": "internal_error", "message": batch.error, "line": None, "param": None}
        row.update(status=BatchStatus.FAILED, failed_at=timezone.now(), errors=[error])
    elif batch.state == JobState.CANCELLED:
        row.update(status=BatchStatus.CANCELLED, cancelled_at=timezone.now())


def _worked(run: Run, clients: Clients) -> Mapping[str, Any]:
    batch: Batch = run.job
    run.progress(batch.share)
    if batch.status == BatchStatus.FAILED:
        # Who found the errors lost its process before the job's end.
        raise JobFailed(INVALID)
    if batch.cancelling_at is not None and batch.in_progress_at is None:
        return _ended(run, BatchStatus.CANCELLED)
    with tempfile.TemporaryFile() as read:
        if batch.status == BatchStatus.VALIDATING and not _check(run, read):
            return _ended(run, BatchStatus.CANCELLED)
        batch.refresh_from_db()
        ending = _turn(run, clients, read)
    if ending is Ending.TURN:
        completed, failed = _counted(batch)
        _own(run).update(turn_at=timezone.now(), completed=completed, failed=failed)
        raise JobYields
    _change(run, BatchStatus.FINALIZING, finalizing_at=timezone.now())
    deliver(batch, _own(run))
    if ending is Ending.CANCELLED:
        return _ended(run, BatchStatus.CANCELLED)
    expired = batch.expired_at is not None
    return _ended(run, BatchStatus.EXPIRED if expired else BatchStatus.COMPLETED)


# --- the file is checked --------------------------------------------------------------------------


def _check(run: Run, read: IO[bytes]) -> bool:
    """Whether it goes on. Raises ``JobFailed`` where the file is not as it should be.

    What was read does not have to be read again by the turn that follows.
    """
    batch: Batch = run.job
    models = _models(batch)
    with _input(batch) as file:
        columns = columns_for(batch, file)
        for name, value in columns.items():
            setattr(batch, name, value)
        kind, tell = format_of(batch), lambda: patiently(lambda: run.progress(0.0))
        found = kind.check(file, models, tell, read)
    if found.errors:
        _own(run).update(
            status=BatchStatus.FAILED,
            failed_at=timezone.now(),
            errors=[error.as_dict() for error in found.errors],
        )
        raise JobFailed(INVALID)
    _own(run).update(total=found.total, model_names=sorted(models.named), **columns)
    return _change(run, BatchStatus.IN_PROGRESS, in_progress_at=timezone.now())


def _models(batch: Batch) -> Models:
    tasks = dict(models_published().values_list("name", "task"))
    allowed = ApiKey.objects.filter(pk=batch.key_id).values_list("models_allowed", flat=True)
    only = set(allowed.first() or tasks)
    return Models(
        endpoint=batch.endpoint,
        callable_={name: task for name, task in tasks.items() if name in only},
        forbidden=frozenset(tasks.keys() - only),
        presets=presets_of(batch.organisation_id),
    )


def _change(run: Run, status: BatchStatus, **columns: Any) -> bool:
    """Put it into this status, unless somebody has cancelled it; returns whether."""
    _own(run).update(**columns)
    return bool(_own(run).filter(cancelling_at=None).update(status=status))


@contextmanager
def _input(batch: Batch) -> Iterator[Any]:
    file = File.objects.filter(public_id=batch.input_file_id).first()
    if file is None:
        raise JobFailed(INPUT_GONE)
    with files_storage().open(file.stored_as) as content:
        yield content


# --- its lines are sent ---------------------------------------------------------------------------


def _turn(run: Run, clients: Clients, read: IO[bytes]) -> Ending:
    batch: Batch = run.job
    caller = Caller(
        batch.organisation_id, batch.account_id, key_id=batch.key_id, user_id=batch.user_id
    )
    with _input(batch) as file, Calls(caller, clients) as calls:
        sender = _sender(run, calls, _items_left(batch, file, read))
        ending = sender.turn()
    if ending is Ending.EXPIRED:
        # Before its lines are failed: who takes over may find none that is left.
        _own(run).update(expired_at=timezone.now())
    if ending in {Ending.EXPIRED, Ending.HALTED}:
        with _input(batch) as file:
            code, message = sender.halted or EXPIRED
            for item in _items_left(batch, file, read):
                sender.fail(item, code, message)
            sender.keep()
            sender.tell()
    return ending


def _sender(run: Run, calls: Calls, items: Iterator[Item]) -> Sender:
    batch: Batch = run.job

    def look() -> Looked:
        now = Batch.objects.get(pk=batch.pk)
        left = (now.expires_at - timezone.now()).total_seconds()
        return Looked(now.cancelling_at is not None, left, window_of(now))

    def tell(completed: int, failed: int, rate_hz: float) -> None:
        share = (completed + failed) / max(batch.total, 1)
        columns: dict[str, Any] = {"completed": completed, "failed": failed}
        if rate_hz:
            columns["rate_hz"] = rate_hz
        patiently(lambda: run.progress(share, **columns))

    return Sender(
        batch_id=batch.public_id,
        path=batch.endpoint,
        items=items,
        calls=calls,
        look=lambda: patiently(look),
        keep=lambda finished: part_keep(run, finished),
        tell=tell,
        done=_counted(batch),
    )


def _items_left(batch: Batch, file: Any, read: IO[bytes]) -> Iterator[Item]:
    """What is in no part yet."""
    parts = BatchPart.objects.filter(batch=batch).values_list("ranges", "failed_ranges")
    covered = Covered(item for ranges in parts for some in ranges for item in some)
    return format_of(batch).items(file, covered, read)


def _counted(batch: Batch) -> tuple[int, int]:
    """Completed and failed lines, by the parts that are kept."""
    parts = list(BatchPart.objects.filter(batch=batch).values_list("completed", "failed"))
    return sum(part for part, _ in parts), sum(part for _, part in parts)


def part_keep(run: Run, finished: Finished) -> None:
    """Write a part: first its objects, then its row. Raises ``JobStopped`` for another's job."""
    batch: Batch = run.job
    names = {}
    for column, failed in (("output_as", False), ("errors_as", True)):
        content = b"".join(finished.texts(failed=failed))
        if content:
            names[column] = files_storage().save(f"{batch.folder}/part", ContentFile(content))

    def write() -> None:
        with transaction.atomic():
            if not _own(run).select_for_update().values_list("pk").first():
                raise JobStopped
            BatchPart.objects.create(
                batch=batch,
                ranges=finished.ranges(failed=False),
                failed_ranges=finished.ranges(failed=True),
                completed=finished.count(failed=False),
                failed=finished.count(failed=True),
                **names,
            )

    patiently(write)


# --- its results are delivered --------------------------------------------------------------------


def deliver(batch: Batch, own: QuerySet[Batch]) -> None:
    """Join the parts into an output and an error file, where there are any.

    ``own`` has the batch for as long as the caller may change it. Raises ``JobStopped`` after that.
    """
    completed, failed = _counted(batch)
    parts = list(BatchPart.objects.filter(batch=batch))
    own.update(completed=completed, failed=failed)
    batch.refresh_from_db()
    outputs = [Part(part.ranges, part.output_as) for part in parts if part.output_as]
    errors = [part.errors_as for part in parts if part.errors_as]
    if outputs and batch.output_file_id is None:
        kind = format_of(batch)
        with _input(batch) as file:
            chunks = kind.output(file, outputs, files_storage())
            _file_of(batch, own, chunks, "output", kind.suffix)
    if errors and batch.error_file_id is None:
        _file_of(batch, own, contents(errors, files_storage()), "error", "jsonl")
    own.update(delivered_at=timezone.now())


def _file_of(
    batch: Batch, own: QuerySet[Batch], chunks: Iterator[bytes], kind: str, suffix: str
) -> None:
    column = f"{kind}_file"
    with tempfile.TemporaryFile() as joined:
        joined.writelines(chunks)
        joined.seek(0)
        stored = bytes_store(organisation=batch.organisation, content=Content(joined))

    @transaction.atomic
    def write() -> None:
        file = file_add(
            stored,
            organisation=batch.organisation,
            filename=f"{batch.public_id}_{kind}.{suffix}",
            purpose=Purpose.BATCH_OUTPUT,
        )
        if not own.filter(**{column: None}).update(**{column: file}):
            raise JobStopped

    patiently(write)
    batch.refresh_from_db()


def _ended(run: Run, status: BatchStatus) -> Mapping[str, Any]:
    batch: Batch = run.job
    completed, failed = _counted(batch)
    column = {
        BatchStatus.COMPLETED: "completed_at",
        BatchStatus.EXPIRED: "expired_at",
        BatchStatus.CANCELLED: "cancelled_at",
    }[status]
    return {"status": status, column: timezone.now(), "completed": completed, "failed": failed}


def _own(run: Run) -> QuerySet[Batch]:
    """The batch's row, while it is this process's."""
    return cast("QuerySet[Batch]", run.own)


def patiently(do: Callable[[], T]) -> T:
    """Do it, again and again while the database is away, for ``PATIENCE_S`` at most."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return do()
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > until_s or _in_transaction():
                raise
            log.warning("the database is away: %s", error)
            _reconnect()
            time.sleep(1.0)


def _in_transaction() -> bool:
    return connection.in_atomic_block


def _reconnect() -> None:
    connection.close()
