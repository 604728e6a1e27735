"""Publishes policies, and the snapshot that puts every change in force."""

import hashlib
import time
from typing import TypedDict, Unpack

import msgspec
from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy, PolicyKind, PolicyState, SnapshotRow
from marketplace.routing.selectors import snapshot_build
from marketplace.routing.trials.events import event_record
from marketplace.routing.trials.models import EventKind, Trial
from router.contracts.snapshot import SNAPSHOT_SCHEMA, encode_snapshot

PUBLISH_LOCK = 0x5750_534E  # "WPSN": one publisher at a time over all processes.
SNAPSHOTS_KEPT = 50


@transaction.atomic
def snapshot_publish() -> SnapshotRow:
    """Publish the catalog as it is now; routers are notified at commit.

    Does nothing if the last snapshot is equal. Call it last in the transaction of a change: a
    publisher that waits here sees what the one before it committed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PUBLISH_LOCK])
    snapshot = snapshot_build()
    digest = hashlib.sha256(encode_snapshot(snapshot)).hexdigest()
    latest = SnapshotRow.objects.first()
    if latest is not None and latest.digest == digest:
        return latest
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('routing_snapshot', 'version'))")
        version = int((cursor.fetchone() or (0,))[0])
    stamped = msgspec.structs.replace(
        snapshot, version=version, published_at_ms=time.time_ns() // 1_000_000
    )
    row = SnapshotRow.objects.create(
        version=version, schema=SNAPSHOT_SCHEMA, body=msgspec.to_builtins(stamped), digest=digest
    )
    SnapshotRow.objects.filter(version__lte=version - SNAPSHOTS_KEPT).delete()
    return row


class PolicyWeights(TypedDict, total=False):
    """The tunable fields of :class:`~marketplace.routing.models.Policy`."""

    wait_weight: float
    usd_weight_s: float
    hedge_share: float
    shared: bool
    weights: dict[str, float]


@transaction.atomic
def policy_publish(
    *,
    model: AIModel,
    kind: PolicyKind,
    note: str = "",
    created_by: User | None = None,
    event: EventKind = EventKind.PUBLISHED,
    **weights: Unpack[PolicyWeights],
) -> Policy:
    """Put a new policy version of a model in force; open trials and proposals end."""
    policy = policy_make(model=model, kind=kind, note=note, created_by=created_by, **weights)
    for open_one in model.policies.filter(state__in=[PolicyState.CANARY, PolicyState.PROPOSED]):
        open_one.state = PolicyState.DISMISSED
        open_one.save(update_fields=["state"])
        Trial.objects.filter(policy=open_one).update(ended_at=Now(), ended_because="superseded")
        event_record(
            kind=EventKind.DISMISSED, model=model, policy=open_one, by=created_by, why="superseded"
        )
    event_record(kind=event, model=model, policy=policy, by=created_by, why=note)
    snapshot_publish()
    return policy


def policy_make(
    *,
    model: AIModel,
    kind: PolicyKind,
    state: PolicyState = PolicyState.PUBLISHED,
    note: str = "",
    created_by: User | None = None,
    **weights: Unpack[PolicyWeights],
) -> Policy:
    """Create the next version of a model's policy, in the caller's transaction."""
    AIModel.objects.select_for_update().get(pk=model.pk)
    last = model.policies.aggregate(last=Max("version"))["last"] or 0
    return Policy.objects.create(
        model=model,
        version=last + 1,
        kind=kind,
        state=state,
        note=note,
        created_by=created_by,
        **weights,
    )
