"""What is sent of a job, and brokers that are away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from django.db import transaction

from marketplace.planning.models import WhatIf
from marketplace.shared.jobs.kinds import task_name
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.shared.jobs.working import Messages, ask
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("home")


def test_a_committed_job_is_announced_and_a_rolled_back_one_is_not(
    committed_shop: Shop, messages: Messages
) -> None:
    with transaction.atomic():
        ask(committed_shop)
        transaction.set_rollback(True)
    assert messages.taken() == []
    with transaction.atomic():
        ask(committed_shop)
        assert messages.taken() == []
    assert messages.taken() == [task_name(WhatIf)]


def test_a_job_is_taken_though_the_broker_is_away(committed_shop: Shop, settings: Any) -> None:
    # Port 9 (discard) refuses at once.
    settings.BROKER_URL = "redis://127.0.0.1:9"
    assert ask(committed_shop).state == JobState.QUEUED


def test_a_broker_that_fails_is_not_tried_twice_while_somebody_waits(
    committed_shop: Shop, settings: Any
) -> None:
    met: list[object] = []

    def hang_up() -> None:
        with suppress(OSError):  # The test is over.
            while True:
                met.append(broker.accept()[0].close())

    with socket.create_server(("127.0.0.1", 0)) as broker:
        thread = threading.Thread(target=hang_up)
        thread.start()
        settings.BROKER_URL = f"redis://127.0.0.1:{broker.getsockname()[1]}"
        assert ask(committed_shop).state == JobState.QUEUED
        broker.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(met) == 1


def test_jobs_run_in_turn_and_each_tells_of_the_next(shop: Shop, messages: Messages) -> None:
    first, second = ask(shop), ask(shop)
    assert job_run_next(WhatIf) == first
    assert messages.taken() == [task_name(WhatIf)]
    assert job_run_next(WhatIf) == second
    assert messages.taken() == []
