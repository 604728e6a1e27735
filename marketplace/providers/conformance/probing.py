"""Choose an endpoint's checks and run them so that they can be followed and cancelled."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import httpx

from marketplace.catalog.addresses import AddressRefused, PinnedTransport, grpc_target
from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import FAIL, Finding, Target
from marketplace.providers.conformance.http import Client
from marketplace.providers.conformance.oip import check_oip, check_oip_grpc
from marketplace.providers.conformance.openai.endpoint import check_openai
from router.domain.addresses import AddressPolicy

RUN_S_MAX = 240.0
"""What was found by then is kept."""
LOOK_EVERY_S = 0.25

Found = Callable[[Target, Finding], None]


class Stopped(Exception):
    """Somebody cancelled it."""


async def check_endpoint(target: Target, policy: AddressPolicy) -> AsyncIterator[Finding]:
    """Every check of one endpoint, each as it is done."""
    try:
        numeric = await grpc_target(target.url, policy)
    except AddressRefused as error:
        yield Finding(
            Check.REACHABLE, FAIL, "address_refused", {"why": str(error)}, target.url, str(error)
        )
        return
    if target.protocol == "oip_grpc":
        async for finding in check_oip_grpc(numeric, target):
            yield finding
        return
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=8)
    transport = PinnedTransport(policy, httpx.AsyncHTTPTransport(limits=limits, trust_env=False))
    client = Client(target.url, transport)
    checks = check_openai if target.protocol == "openai" else check_oip
    try:
        async for finding in checks(client, target):
            yield finding
    finally:
        await client.close()


def check_all(
    targets: Sequence[Target],
    policy: AddressPolicy,
    *,
    tell: Found,
    is_cancelled: Callable[[], bool],
    seconds_max: float = RUN_S_MAX,
) -> None:
    """Check the endpoints in turn; blocks. ``tell`` and ``is_cancelled`` run in this thread.

    Raises :class:`Stopped` soon after ``is_cancelled`` says so, ``TimeoutError`` when the time is
    over.
    """
    said: queue.Queue[tuple[Target, Finding] | BaseException | None] = queue.Queue()
    work = _Work(targets, policy, said)
    thread = threading.Thread(target=work.run, name="conformance", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds_max
    try:
        while True:
            if is_cancelled():
                raise Stopped
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done within {seconds_max:g} s")
            try:
                one = said.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
            if one is None:
                return
            if isinstance(one, BaseException):
                raise one
            tell(*one)
    finally:
        work.stop()
        thread.join(timeout=2 * LOOK_EVERY_S + 5)


class _Work:
    """The checks on their own event loop, which another thread may stop."""

    def __init__(
        self,
        targets: Sequence[Target],
        policy: AddressPolicy,
        said: "queue.Queue[tuple[Target, Finding] | BaseException | None]",
    ) -> None:
        self._targets, self._policy, self._said = targets, policy, said
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._all())
            self._said.put(None)
        except asyncio.CancelledError:
            self._said.put(None)
        except BaseException as error:  # noqa: BLE001 # passed to the thread that waits
            self._said.put(error)

    def stop(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:
                return  # It has just closed: there is nothing left to stop.

    async def _all(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        for target in self._targets:
            async for finding in check_endpoint(target, self._policy):
                self._said.put((target, finding))
