"""The two clients: the same operations, one blocks and the other is awaited."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType

import httpx

from waypost.api.batches import Batches, Files
from waypost.api.calls import Calls
from waypost.api.management import AdviceOf, Benchmarks, Presets, UsageOf, WhatIfs
from waypost.api.models import Models
from waypost.api.predictions import Predictions
from waypost.config import QUIET_S, Config, Settings, config_of
from waypost.operations import IO, Core
from waypost.retries import Retries
from waypost.transports import Awaiting, Blocking


class _Client(Calls[IO]):
    def __init__(self, io: IO, config: Config, retries: Retries | None) -> None:
        core = Core(retries or Retries())
        super().__init__(io, core)
        self._datatypes: dict[str, Mapping[str, str]] = {}
        self.config = config
        self.models: Models[IO] = Models(io, core)
        self.predictions: Predictions[IO] = Predictions(io, core)
        self.files: Files[IO] = Files(io, core)
        self.batches: Batches[IO] = Batches(io, core)
        self.usage: UsageOf[IO] = UsageOf(io, core)
        self.benchmarks: Benchmarks[IO] = Benchmarks(io, core)
        self.presets: Presets[IO] = Presets(io, core)
        self.advice: AdviceOf[IO] = AdviceOf(io, core)
        self.what_ifs: WhatIfs[IO] = WhatIfs(io, core)


class Client(_Client[Blocking]):
    """Calls Waypost, and blocks until it answers.

    What is not given comes from the environment (``WAYPOST_API_KEY``, ``WAYPOST_BASE_URL``,
    ``WAYPOST_MANAGEMENT_URL``, ``WAYPOST_SESSION``), then from the file that ``waypost login``
    wrote. ``quiet_s`` is how long nothing may come of an answer. Threads may share a client.
    Raises :class:`NotConfigured`.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        management_url: str | None = None,
        session: str | None = None,
        retries: Retries | None = None,
        quiet_s: float = QUIET_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        given = Settings(api_key, base_url, management_url, session)
        config = config_of(given, environ=os.environ, quiet_s=quiet_s)
        super().__init__(Blocking(config, transport), config, retries)

    def close(self) -> None:
        """Close its connections."""
        self._io.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Client[Awaiting]):
    """The same for asyncio: every operation is awaited, every stream read by ``async for``."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        management_url: str | None = None,
        session: str | None = None,
        retries: Retries | None = None,
        quiet_s: float = QUIET_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        given = Settings(api_key, base_url, management_url, session)
        config = config_of(given, environ=os.environ, quiet_s=quiet_s)
        super().__init__(Awaiting(config, transport), config, retries)

    async def close(self) -> None:
        """Close its connections."""
        await self._io.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
