"""Who waits for a change hears of it, also over a connection that breaks."""

import asyncio

import psycopg
import pytest
from django.db import connection

from marketplace.config.front import listening
from marketplace.config.front.listening import Listener
from marketplace.shared.changes import changed
from tests.integration.marketplace.shop import Shop
from tests.patience import PATIENCE_S


def tell(topic: str) -> None:
    changed(topic)
    connection.close()


async def heard(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()
    event.clear()


async def test_only_those_who_wait_for_it_hear_of_a_change(committed_shop: Shop) -> None:
    listener = Listener()
    with listener.listening("a") as first, listener.listening("b") as second:
        await heard(first)  # It listens from now on: what was before is looked at.
        second.clear()
        await asyncio.to_thread(tell, "a")
        await heard(first)
        assert not second.is_set()
        await asyncio.to_thread(tell, "b")
        await heard(second)
    assert not listener._waiting


async def test_a_connection_that_breaks_is_made_again(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "AGAIN_S", 0.01)
    parameters = listening._parameters()
    listener = Listener()
    with listener.listening("a") as event:
        await heard(event)
        async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as other:
            ended = await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'waypost listener' AND datname = current_database()"
            )
            assert ended.rowcount == 1
        await heard(event)
        await asyncio.to_thread(tell, "a")
        await heard(event)
