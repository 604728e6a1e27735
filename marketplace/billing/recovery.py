"""Manual recovery of a lost router: settle its journal, write its leases off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import Count

from marketplace.billing.models import Lease, LeaseState, WriteOff
from router.contracts.journal import newest_records, read_segment
from router.contracts.record import UsageRecord, encode_records
from router.domain.outcome import Outcome

BATCH_MAX = 500
NO_LIFE = "written off"
"""No router's life has this name, so the leases of all lives are closed."""


@dataclass(slots=True)
class JournalCopy:
    """The newest record of each call, oldest first, and damage in the files.

    ``running`` are streams that may still run in a live router; their records come when they end.
    ``torn`` segments end in bytes that are no record; ``damaged`` ones have such bytes before whole
    records.
    """

    records: list[UsageRecord] = field(default_factory=list[UsageRecord])
    running: list[UsageRecord] = field(default_factory=list[UsageRecord])
    unreadable: int = 0
    torn: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])


def journal_read(path: Path, *, alive: frozenset[str] = frozenset()) -> JournalCopy:
    """Read a journal folder, one segment, or a file of records set aside (JSON lines).

    Raises ``OSError``, and ``ValueError`` for a folder of several journals.
    """
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("*.journal"))
        if not files and any(path.glob("*/*.journal")):
            raise ValueError(f"{path} holds the journals of several ports: name one of its folders")
    copy = JournalCopy()
    frames: list[tuple[int, bytes]] = []
    for number, file in enumerate(files):
        raw = file.read_bytes()
        if file.suffix == ".jsonl":
            payloads = raw.splitlines()
        else:
            segment = read_segment(raw)
            payloads = segment.payloads
            if segment.lost_inside:
                copy.damaged.append(file.name)
            elif segment.lost_bytes:
                copy.torn.append(file.name)
        frames += [(number, payload) for payload in payloads]
    calls, unreadable = newest_records(frames)
    copy.unreadable = len(unreadable)
    for call in calls:
        # A record set aside is final; in a journal, only the router knows if a stream still runs.
        goes_on = call.record.outcome == Outcome.INTERRUPTED and path.suffix != ".jsonl"
        runs = goes_on and call.record.router_id in alive
        (copy.running if runs else copy.records).append(call.record)
    return copy


@dataclass(slots=True)
class Replay:
    """The result; ``refused`` has request ids with the ledger's errors."""

    new: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def records_settle(*, records: Sequence[UsageRecord]) -> Replay:
    """Settle records in batches. A record that the ledger already has changes nothing."""
    replay = Replay()
    for batch in _batches(records):
        _settle(batch, replay)
    return replay


def _batches(records: Sequence[UsageRecord]) -> Iterator[Sequence[UsageRecord]]:
    return (records[at : at + BATCH_MAX] for at in range(0, len(records), BATCH_MAX))


def _settle(records: Sequence[UsageRecord], replay: Replay) -> None:
    """Settle a batch. If the ledger refuses it, halve it until the faulty record is alone."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), count(*) FILTER (WHERE applied) FROM billing_settle(%s::jsonb)",
                [encode_records(records).decode()],
            )
            found, new = cursor.fetchone() or (0, 0)
    except OperationalError:
        raise
    except DatabaseError as error:
        if len(records) == 1:
            replay.refused.append((records[0].request_id, str(error).splitlines()[0]))
            return
        middle = len(records) // 2
        _settle(records[:middle], replay)
        _settle(records[middle:], replay)
    else:
        replay.new += new
        replay.known += found - new


@dataclass(frozen=True, slots=True)
class Comparison:
    """A journal compared with the ledger; ``waiting`` has seconds since the call's end, by id."""

    settled: int
    running: int
    waiting: dict[str, float]
    differing: tuple[str, ...]


def journal_compare(journal: JournalCopy, *, now_ms: int) -> Comparison:
    """Compare journalled calls with the ledger: is each settled, with the same charge?"""
    charged: dict[str, int] = {}
    for batch in _batches([*journal.records, *journal.running]):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT request_id::text, charge_nano FROM usage_event "
                "WHERE request_id = ANY (%s::uuid[])",
                [[record.request_id for record in batch]],
            )
            charged |= dict(cursor.fetchall())
    waiting: dict[str, float] = {}
    differing: list[str] = []
    for record in journal.records:
        settled = charged.get(record.request_id)
        if settled is None:
            ended_ms = record.created_at_ms + record.total_ms
            waiting[record.request_id] = max(now_ms - ended_ms, 0) / 1e3
        elif settled != record.charge_nano and record.outcome != Outcome.INTERRUPTED:
            differing.append(
                f"call {record.request_id} is charged {settled} nano, "
                f"its journal says {record.charge_nano}"
            )
    running = sum(record.request_id not in charged for record in journal.running)
    return Comparison(len(charged), running, waiting, tuple(differing))


@transaction.atomic
def router_write_off(*, router_id: str, reason: str, by: str, force: bool = False) -> WriteOff:
    """Close every open lease of a lost router, and record it.

    Customers get their held credit back. If a call of the router settles later, the account's
    available credit pays, and the platform the rest. Refused while the router is alive, unless
    ``force``.
    """
    if not force and (not _may_be_gone(router_id) or router_id in routers_alive()):
        raise ValidationError(f"router {router_id!r} runs: stop it, and it gives everything back")
    leases = Lease.objects.filter(router_id=router_id, state=LeaseState.OPEN).count()
    if not leases:
        raise ValidationError(f"router {router_id!r} has no open lease; {_those_that_have()}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_lease_close_earlier(%s, %s)", [router_id, NO_LIFE])
        (amount_nano,) = cursor.fetchone() or (0,)
    write_off = WriteOff(
        router_id=router_id, reason=reason, by=by, leases=leases, amount_nano=amount_nano
    )
    write_off.full_clean()
    write_off.save()
    return write_off


def routers_alive() -> frozenset[str]:
    """The ids of routers with a recent heartbeat (``routing_beat``)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT router_id FROM routing_router WHERE expires_at > clock_timestamp()")
        return frozenset(row[0] for row in cursor.fetchall())


def _may_be_gone(router_id: str) -> bool:
    """Whether the router is not connected, and cannot connect until this transaction ends.

    A router holds this lock while it is connected.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtext('waypost_router'), hashtext(%s))",
            [router_id],
        )
        return cursor.fetchone() == (True,)


def _those_that_have() -> str:
    held = Lease.objects.filter(state=LeaseState.OPEN).order_by("router_id").values("router_id")
    routers = [f"{row['router_id']} ({row['n']})" for row in held.annotate(n=Count("pk"))]
    return f"those that have: {', '.join(routers)}" if routers else "no router has any"
