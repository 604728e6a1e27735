"""What every snapshot source promises: the current one at once, then each newer one."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from router.adapters.memory import MemorySnapshotSource
from router.adapters.postgres.snapshots import PostgresSnapshotSource
from router.adapters.snapshot_file import SnapshotFile
from router.contracts.snapshot import Snapshot, encode_snapshot
from router.domain.catalog import Model
from tests.databases import as_routers

TIMEOUT_S = 30


def catalog(name: str) -> Snapshot:
    return Snapshot(version=0, published_at_ms=1, models=(Model(name, "chat", "1", 0),))


class Publisher:
    """Publishes to the source under test, as the control plane does."""

    def __init__(self, source: MemorySnapshotSource | PostgresSnapshotSource, url: str) -> None:
        self.source = source
        self._url = url

    async def publish(self, name: str, *, body: str = "") -> None:
        if isinstance(self.source, MemorySnapshotSource):
            self.source.publish(catalog(name))
            return
        text = body or encode_snapshot(catalog(name)).decode()
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            cursor = await connection.execute(
                "INSERT INTO routing_snapshot (schema, body, digest) VALUES (1, %s, '') "
                "RETURNING version::text",
                [text],
            )
            row = await cursor.fetchone()
            await connection.execute("SELECT pg_notify('waypost_snapshot', %s)", row)


@pytest.fixture(params=["memory", "postgres"])
async def publisher(request: pytest.FixtureRequest) -> AsyncIterator[Publisher]:
    if request.param == "memory":
        yield Publisher(MemorySnapshotSource(catalog("a/first")), "")
        return
    url = request.getfixturevalue("ledger_database")
    made = Publisher(PostgresSnapshotSource(as_routers(url)), url)
    await made.publish("a/first")
    yield made


async def test_the_current_snapshot_comes_at_once_and_newer_ones_follow(
    publisher: Publisher,
) -> None:
    snapshots = publisher.source.snapshots()
    async with asyncio.timeout(TIMEOUT_S):
        assert (await anext(snapshots)).models[0].name == "a/first"
        await publisher.publish("a/second")
        assert (await anext(snapshots)).models[0].name == "a/second"


async def test_a_broken_snapshot_is_passed_over(ledger_database: str) -> None:
    made = Publisher(PostgresSnapshotSource(as_routers(ledger_database)), ledger_database)
    await made.publish("a/good")
    snapshots = made.source.snapshots()
    async with asyncio.timeout(TIMEOUT_S):
        assert (await anext(snapshots)).models[0].name == "a/good"
        await made.publish("", body='{"version": "nonsense"}')
        await made.publish("a/better")
        assert (await anext(snapshots)).models[0].name == "a/better"


def test_a_kept_snapshot_is_read_back_and_is_nobody_elses(tmp_path: Path) -> None:
    kept = SnapshotFile(tmp_path / "deep" / "snapshot.json")
    assert kept.load() is None
    kept.save(catalog("a/kept"))
    assert kept.load() == catalog("a/kept")
    assert (tmp_path / "deep" / "snapshot.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "deep" / "snapshot.json").write_text("{")
    with pytest.raises(ValueError, match="truncated"):
        kept.load()


def test_routers_that_share_the_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    kept = SnapshotFile(tmp_path / "snapshot.json")
    with ThreadPoolExecutor(8) as routers:
        for saved in [routers.submit(kept.save, catalog(f"a/{n}")) for n in range(200)]:
            saved.result()
    assert kept.load() is not None
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot.json"]
