"""A home for what a job writes, and what is sent of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.marketplace.shared.jobs.working import Messages


@pytest.fixture
def home(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("WAYPOST_HOME", tmp_path), ("ROUTER_ADMIN_TOKEN", "")):
        setattr(settings, name, value)
        monkeypatch.setenv(name, str(value))  # Also for the processes that a test begins.


@pytest.fixture
def messages(settings: Any, broker_url: str) -> Iterator[Messages]:
    from tests.integration.marketplace.shared.jobs.working import Messages

    settings.BROKER_URL = broker_url
    found = Messages(broker_url)
    found.taken()
    yield found
    found.taken()
