"""A small pool of connections, and one statement on one of them within a bound."""

import asyncio
import contextlib
import logging
import os
import socket
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from router.domain.errors import LedgerUnavailable

POOL_SIZE_MAX = 4
WAIT_S = 3.0
"""The longest wait for a connection."""
ANSWER_S = 5.0
"""The longest wait for an answer: a database that hangs refuses nothing by itself."""
RECONNECT_S = 1.0
RETRY_S = 2.0
"""How long the pool tries to connect with growing pauses before it starts over."""

NOTICES_LOSS: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}
"""Of every connection: a network that was cut is noticed within seconds. The kernel's own
retransmissions come ever later, and would find it healed a minute late."""

log = logging.getLogger(__name__)

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def open_pool(database_url: str) -> Pool:
    """A small pool that is not open yet and does not need a running database."""
    return AsyncConnectionPool(
        database_url,
        min_size=1,
        max_size=POOL_SIZE_MAX,
        open=False,
        timeout=WAIT_S,
        reconnect_timeout=RETRY_S,
        kwargs={"autocommit": True, **NOTICES_LOSS},
        name="router",
    )


async def fetch(
    pool: Pool,
    sql: str,
    parameters: tuple[Any, ...] | dict[str, Any],
    *,
    answer_s: float = ANSWER_S,
) -> TupleRow | None:
    """The first row of a statement's answer. Raises ``LedgerUnavailable``."""
    task = asyncio.current_task()
    cancelled = task.cancelling() if task is not None else 0
    try:
        async with pool.connection() as connection:
            hanging_up = asyncio.get_running_loop().call_later(answer_s, _hang_up, connection)
            try:
                cursor = await connection.execute(sql.encode(), parameters)
                return await cursor.fetchone()
            finally:
                hanging_up.cancel()
    except psycopg.Error as error:
        if not isinstance(error, psycopg.OperationalError):
            log.error("the ledger does not do what it is asked: %s", error)
        raise LedgerUnavailable(
            "the ledger cannot be reached, try again", retry_after_s=2
        ) from error
    finally:
        # The pool waits by wait_for, which can lose a cancellation (before Python 3.12), and an
        # error can hide one: this task must still be cancelled.
        if task is not None and task.cancelling() > cancelled:
            raise asyncio.CancelledError


def _hang_up(connection: AsyncConnection[TupleRow]) -> None:
    """End it as if the server had: a cancellation would ask the server and wait for it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
