"""The immutable copy of the catalog that the control plane publishes and the router swaps in.

PostgreSQL holds it in ``routing_snapshot(version, schema, body, published_at)``; each publication
sends ``NOTIFY waypost_snapshot, '<version>'``. The router keeps a copy on disk and goes on with
the last good one when the database is away.
"""

import msgspec

from router.domain.catalog import (
    ApiKey,
    Budget,
    Canary,
    Deployment,
    Model,
    Organisation,
    Policy,
    Pool,
    Preset,
    Worker,
)
from router.domain.keys import EndedSession
from router.domain.protocols import PROTOCOL_KINDS, TASKS

SNAPSHOT_SCHEMA = 1
SNAPSHOT_CHANNEL = "waypost_snapshot"


class Snapshot(msgspec.Struct, frozen=True):
    """Everything the router needs to authenticate, plan and price. ``version`` only grows."""

    version: int
    published_at_ms: int
    models: tuple[Model, ...] = ()
    pools: tuple[Pool, ...] = ()
    workers: tuple[Worker, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    policies: tuple[Policy, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    organisations: tuple[Organisation, ...] = ()
    budgets: tuple[Budget, ...] = ()
    canaries: tuple[Canary, ...] = ()
    ended_sessions: tuple[EndedSession, ...] = ()
    presets: tuple[Preset, ...] = ()
    schema: int = SNAPSHOT_SCHEMA


_decoder = msgspec.json.Decoder(Snapshot)
_encoder = msgspec.json.Encoder()


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON, as stored in PostgreSQL and on the router's disk."""
    return _encoder.encode(snapshot)


def decode_snapshot(body: bytes | str) -> Snapshot:
    """Parse and check a snapshot; raises ``ValueError`` that names the field at fault."""
    snapshot = _decoder.decode(body)
    if snapshot.schema != SNAPSHOT_SCHEMA:
        raise ValueError(
            f"snapshot schema {snapshot.schema} is not {SNAPSHOT_SCHEMA}: "
            "router and marketplace must run the same release"
        )
    return snapshot


def understood(snapshot: Snapshot) -> tuple[Snapshot, list[str]]:
    """The part that this release can serve, and texts about what it leaves out.

    While releases are exchanged, the catalog may name tasks and protocols that only the next one
    knows.
    """
    models = [row for row in snapshot.models if row.task not in TASKS]
    workers = [row for row in snapshot.workers if row.protocol not in PROTOCOL_KINDS]
    known = msgspec.structs.replace(
        snapshot,
        models=tuple(row for row in snapshot.models if row.task in TASKS),
        workers=tuple(row for row in snapshot.workers if row.protocol in PROTOCOL_KINDS),
    )
    left_out = [f"model {row.name} (task {row.task})" for row in models]
    left_out += [f"worker {row.id} (protocol {row.protocol})" for row in workers]
    return known, left_out
