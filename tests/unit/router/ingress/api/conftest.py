"""A client of a router whose workers answer."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.router.ingress.api.edge import ANSWER, TENSORS, client_of
from tests.unit.router.pipeline.line import FakeUpstream, Line


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    upstream = FakeUpstream(lambda e: TENSORS if e.worker.protocol == "oip" else ANSWER)
    async with client_of(Line(upstream)) as made:
        yield made
