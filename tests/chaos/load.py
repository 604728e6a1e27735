"""Load from a separate process, so that the test's own work is not counted as the router's.

``python -m tests.chaos.load`` takes a plan (JSON) on its standard input and prints what it got.
Calls are due at moments that nothing which happens can move: a caller that waited for an answer
before it asked again would ask least where it would have waited longest (coordinated omission).
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from router.settings import Limits

ATTEMPTS_MAX = 3
HEADSTART_S = 0.1
SLOW_WITHIN_S = 1.0
SLOW_LINE_EVERY_S = 1.0
ENDED_WITHIN_S = 90.0
IDLE_MAX_S = Limits().idle_timeout_s / 2


@dataclass(frozen=True)
class Flow:
    """Calls of one caller. ``windows`` are when, in seconds from the beginning.

    ``per_s`` calls arrive by chance (Poisson), or ``at_once`` are always under way, or ``slow``
    ones begin within a second and go on sending their headers, as ``slowhttptest`` does.
    ``wishes`` are the ``provider`` field of their bodies.
    """

    windows: list[tuple[float, float]]
    per_s: float = 0.0
    at_once: int = 0
    slow: int = 0
    key: str = "k"
    wishes: dict[str, object] = field(default_factory=dict)

    def due_s(self, seed: int) -> Iterator[float]:
        """When calls are due."""
        rng = random.Random(seed)
        for start_s, end_s in self.windows:
            moment_s = start_s
            while (moment_s := moment_s + rng.expovariate(self.per_s)) < end_s:
                yield moment_s


@dataclass(frozen=True)
class Call:
    """The result of one call. Times are seconds from the start; ``status`` is 0 for no answer."""

    flow: int
    due_s: float
    sent_s: float
    ended_s: float
    status: int
    retry_after_s: int

    @property
    def seconds(self) -> float:
        """From sending to the last byte."""
        return self.ended_s - self.sent_s


async def load(port: int, *crowds: Sequence[Flow], lag_max_s: float = 0.05) -> list[list[Call]]:
    """Results of callers that follow the plan, each crowd in its own process.

    It is done again where one whose calls count (slow ones do not) was itself later than
    ``lag_max_s`` with one call in a hundred, as it can judge nobody then. Raises ``AssertionError``
    when it always was.
    """
    for _ in range(ATTEMPTS_MAX):
        logs = await _load(port, crowds)
        lags_s = [
            percentile([call.sent_s - call.due_s for call in calls], 0.99)
            for calls, flows in zip(logs, crowds, strict=True)
            if not any(flow.slow for flow in flows)
        ]
        received = ", ".join(f"{lag_s * 1e3:.1f}" for lag_s in lags_s)
        print(f"{sum(map(len, logs))} calls; p99 of the generators' own lag in ms: {received}")
        if max(lags_s) <= lag_max_s:
            return logs
    raise AssertionError("the load generators had no processor in time: nothing can be said")


async def _load(port: int, crowds: Sequence[Sequence[Flow]]) -> list[list[Call]]:
    async with contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_generator()) for _ in crowds]
        for process in processes:
            await _output(process).readline()  # It is ready.
        began_s = time.monotonic() + HEADSTART_S
        for process, flows in zip(processes, crowds, strict=True):
            plan = {"port": port, "began_s": began_s, "flows": [asdict(flow) for flow in flows]}
            assert process.stdin is not None
            process.stdin.write(json.dumps(plan).encode())
            process.stdin.close()
        printed = await asyncio.gather(*(_output(process).read() for process in processes))
    return [[Call(*line) for line in json.loads(lines)] for lines in printed]


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


@contextlib.asynccontextmanager
async def _generator() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    assert process.stdout is not None
    return process.stdout


class _Caller:
    """Calls of one flow, on connections that are kept."""

    def __init__(self, port: int, number: int, flow: Flow, began_s: float) -> None:
        self._port = port
        self._number = number
        self._flow = flow
        self._began_s = began_s
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._sent = _request(flow)
        self.calls: list[Call] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._flow.per_s:
                for due_s in self._flow.due_s(self._number):
                    await self._until(due_s)
                    group.create_task(self._call(due_s))
            for _ in range(self._flow.at_once):
                group.create_task(self._again_and_again())
            for start_s, _ in self._flow.windows if self._flow.slow else ():
                for number in range(self._flow.slow):
                    due_s = start_s + number / self._flow.slow * SLOW_WITHIN_S
                    await self._until(due_s)
                    group.create_task(self._call(due_s))

    async def _again_and_again(self) -> None:
        for start_s, end_s in self._flow.windows:
            await self._until(start_s)
            while (now_s := self._now_s()) < end_s:
                await self._call(now_s)

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    async def _until(self, moment_s: float) -> None:
        if (left_s := moment_s - self._now_s()) > 0:
            await asyncio.sleep(left_s)

    async def _call(self, due_s: float) -> None:
        sent_s = self._now_s()
        status = retry_after_s = 0
        try:
            async with asyncio.timeout(ENDED_WITHIN_S):
                asking = self._ask_slowly() if self._flow.slow else self._ask()
                status, retry_after_s = await asking
        except (OSError, asyncio.IncompleteReadError):
            pass  # Nothing arrived: record that.
        ended_s = self._now_s()
        self.calls.append(Call(self._number, due_s, sent_s, ended_s, status, retry_after_s))

    async def _ask(self) -> tuple[int, int]:
        reader, writer = await self._connection()
        writer.write(self._sent)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(_header(head, b"content-length"))
        self._free.append((self._now_s(), reader, writer))
        return int(head[9:12]), _header(head, b"retry-after")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The last used connection, unless the router may be about to close it."""
        if self._free:
            used_s, reader, writer = self._free.pop()
            if self._now_s() - used_s < IDLE_MAX_S:
                return reader, writer
            for _, _, unused in [*self._free, (used_s, reader, writer)]:
                unused.close()
            self._free.clear()
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _ask_slowly(self) -> tuple[int, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._sent.partition(b"\r\n")[0] + b"\r\n")
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        while not answer.done():
            await asyncio.wait({answer}, timeout=SLOW_LINE_EVERY_S)
            writer.write(b"x-a: b\r\n")
        writer.close()
        return int((await answer)[9:12]), 0


def _header(head: bytes, name: bytes) -> int:
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def _request(flow: Flow) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "provider": flow.wishes}
    raw = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {flow.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


async def _main() -> None:
    print("ready", flush=True)
    plan = json.load(sys.stdin)
    callers = [
        _Caller(plan["port"], number, Flow(**flow), plan["began_s"])
        for number, flow in enumerate(plan["flows"])
    ]
    await asyncio.gather(*(caller.run() for caller in callers))
    lines = [list(asdict(call).values()) for caller in callers for call in caller.calls]
    json.dump(lines, sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main())
