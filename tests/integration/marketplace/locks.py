"""Interleavings on purpose: what another session does while this one holds a lock."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from marketplace.billing.models import Account
from marketplace.billing.services import account_lock
from tests.embedded import wait_until
from tests.integration.marketplace.ledger import call
from tests.patience import PATIENCE_S


def _somebody_waits() -> bool:
    sql = (
        "SELECT count(*) FROM pg_locks"
        " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    return call(sql)[0][0] > 0


@contextlib.contextmanager
def meanwhile(
    work: Callable[[], Any], *, locked: QuerySet[Any] | Callable[[], Any]
) -> Iterator[list[Any]]:
    """Within: `work` waits, in a session of its own, for rows that this transaction has locked.

    Or for what a function has locked. Yields a list that has its result afterwards.
    """
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        if not isinstance(locked, QuerySet):
            locked()
        elif locked.model is Account:
            for account in locked:
                account_lock(account=account)
        else:
            list(locked.select_for_update())
        thread.start()
        wait_until(_somebody_waits, PATIENCE_S, "nobody waited for the lock")
        yield results
    thread.join(PATIENCE_S)
