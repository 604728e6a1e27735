"""Promises of the data plane, each against real processes with a log kept on both sides.

The short forms run with every test run; ``make chaos`` runs longer and larger ones. Where the
machine's noise would decide, the figure is a ratio of two measurements taken in turn in one run.
"""

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from router.settings import Limits
from tests.chaos.harness import SCALE, Router, Told, Worker, ask, request, routing, working
from tests.chaos.load import Flow, load, percentile
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


async def calls(port: int, seconds: float, at_once: int) -> tuple[list[Told], int]:
    """What repeated callers received, and how many received nothing."""
    until_s = time.perf_counter() + seconds
    told: list[Told] = []
    lost = 0

    async def one() -> None:
        nonlocal lost
        while time.perf_counter() < until_s:
            try:
                told.append(await ask(port))
            except OSError:
                lost += 1

    await asyncio.gather(*(one() for _ in range(at_once)))
    return told, lost


async def test_6_a_worker_that_dies_before_its_first_byte_costs_nobody_a_call(
    tmp_path: Path,
) -> None:
    async with working(*(Worker(service_s=0.05) for _ in range(3))) as workers:
        with routing(tmp_path, *workers) as router:
            running = asyncio.ensure_future(calls(router.port, 3 * SCALE, 8))
            await asyncio.sleep(SCALE)
            while (busiest := max(workers, key=lambda worker: worker.running)).running < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # Otherwise its death might hit no call.
            busiest.die()
            received, lost = await running
    made = lost + len(received)
    failed = lost + sum(answer.status != 200 for answer in received)
    retries = sum(
        int(answer.headers["x-route-attempts"]) - 1 for answer in received if answer.status == 200
    )
    print(f"{made} calls, {failed} failed, {retries} retries")
    assert made > 100
    assert failed <= made * 0.001
    assert 0 < retries <= made * 0.2


GOODPUT_MIN = 0.95
REFUSED_WITHIN_S = 0.05
PEAK_S = OVERLOAD_S = 2.5
FILLING_S = 0.7
"""Of either, before it counts: the queue fills or empties."""


async def test_9_three_times_too_much_is_refused_early_and_the_rest_is_served(
    tmp_path: Path,
) -> None:
    rounds = max(round(2 * SCALE), 2)
    # Slow enough for the slots to be what is short, on any machine, and not its processors.
    workers = [Worker(service_s=0.2, spread=0.15, slots=8) for _ in range(2)]
    slots = sum(worker.slots for worker in workers)
    turn_s = PEAK_S + OVERLOAD_S
    peaks = [(n * turn_s, n * turn_s + PEAK_S) for n in range(rounds)]
    overloads = [(end, end + OVERLOAD_S) for _, end in peaks]
    busy = Flow(peaks, at_once=slots + len(workers) + 2)
    too_much = Flow(overloads, per_s=3.2 * slots / workers[0].service_s)
    async with working(*workers):
        with routing(tmp_path, *workers, queue_max=40) as router:
            await load(router.port, [Flow([(0.0, 0.5)], at_once=slots)])
            ((*calls,),) = await load(router.port, [busy, too_much], lag_max_s=REFUSED_WITHIN_S / 2)

    def per_s(windows: list[tuple[float, float]], moments_s: list[float]) -> float:
        counted = [(start + FILLING_S, end) for start, end in windows]
        inside = sum(start <= at_s < end for at_s in moments_s for start, end in counted)
        return inside / sum(end - start for start, end in counted)

    served = [call.ended_s for call in calls if call.status == 200]
    peak, goodput = per_s(peaks, served), per_s(overloads, served)
    offered = per_s(overloads, [call.due_s for call in calls if call.flow == 1])
    refused = [call for call in calls if call.status != 200]
    late_s = percentile([call.seconds for call in refused], 0.99)
    print(
        f"{goodput:.1f}/s of {offered:.0f}/s served, {goodput / peak:.1%} of the peak; p99 of "
        f"{len(refused)} refusals {late_s * 1e3:.1f} ms"
    )
    assert offered >= 3 * peak
    assert goodput >= GOODPUT_MIN * peak
    assert {call.status for call in refused} <= {429, 503}
    assert all(call.retry_after_s >= 1 for call in refused)
    assert late_s < REFUSED_WITHIN_S


STREAMS = 10_000
STREAMS_MIB_MAX = 600
SPARE_FILES = 500


async def test_11_ten_thousand_idle_streams_take_little_memory(tmp_path: Path) -> None:
    """The short form holds some and counts what each takes; the long one holds all of them, or as
    many as the machine lets a process have files.
    """
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each takes two of the router, and two of this.
    count = min(int(1_000 * SCALE), STREAMS, (files_max - SPARE_FILES) // 2)
    assert count >= 1_000, f"{files_max} open files are allowed: ulimit -Hn 2500, or more"
    writers: list[asyncio.StreamWriter] = []
    with open_files(2 * count + SPARE_FILES):
        async with working(Worker(events=1, idles=True, slots=count)) as (worker,):
            with routing(tmp_path, worker, silence_timeout_s=600) as router:
                await ask_and_leave(router.port, worker)
                before = router.rss_mib

                async def begin() -> None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
                    writers.append(writer)
                    writer.write(request(stream=True))
                    await reader.readuntil(b'"x "')

                for start in range(0, count, 100):
                    many = min(100, count - start)
                    await asyncio.gather(*(begin() for _ in range(many)))
                after = router.rss_mib
                for writer in writers:
                    writer.transport.abort()
                async with asyncio.timeout(PATIENCE_S):
                    while worker.cancelled < count + 1:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
    all_of_them = before + (after - before) / count * STREAMS
    print(
        f"{count} idle streams: {before:.0f} to {after:.0f} MiB, "
        f"{(after - before) / count * 1024:.1f} KiB each, so {all_of_them:.0f} MiB for {STREAMS}"
    )
    assert all_of_them <= STREAMS_MIB_MAX


@contextlib.contextmanager
def open_files(count: int) -> Iterator[None]:
    """Allow this process and its children that many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def ask_and_leave(port: int, worker: Worker, *, stream: bool = True) -> None:
    """Of a stream that has begun, or of a call that its worker has."""
    asked = worker.asked
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(stream=stream))
    if stream:
        await reader.readuntil(b'"x "')
    async with asyncio.timeout(PATIENCE_S):
        while worker.asked == asked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    writer.transport.abort()


SLOW = 1_000
SLOWER_MAX = 1.5
HEADER_TIMEOUT_S = Limits().header_timeout_s if SCALE > 1 else 3.0
COMING_S = 1.0
NOTICED_S = 2.0
QUIET_S = HEADER_TIMEOUT_S
SLOW_S = COMING_S + HEADER_TIMEOUT_S + NOTICED_S
HONEST_PER_S = 100.0


async def test_12_slow_headers_hold_nobody_up_and_are_ended(tmp_path: Path) -> None:
    assert Limits().header_timeout_s == 10
    rounds = max(round(SCALE / 2), 2)
    turn_s = QUIET_S + SLOW_S
    workers = [Worker(service_s=0.05, spread=0.5, slots=16) for _ in range(2)]
    slow = Flow([(n * turn_s + QUIET_S, (n + 1) * turn_s) for n in range(rounds)], slow=SLOW)
    async with working(*workers):
        limits = {} if SCALE > 1 else {"header_timeout_s": HEADER_TIMEOUT_S}
        with routing(tmp_path, *workers, **limits) as router:
            await load(router.port, [Flow([(0.0, 1.0)], per_s=HONEST_PER_S)])
            honest, ends = await load(
                router.port, [Flow([(0.0, rounds * turn_s)], per_s=HONEST_PER_S)], [slow]
            )
    last_s = max(call.ended_s - call.due_s for call in ends)
    received = {
        is_slow: [call.seconds for call in honest if (call.due_s % turn_s >= QUIET_S) is is_slow]
        for is_slow in (False, True)
    }
    before_s, beside_s = (percentile(received[is_slow], 0.99) for is_slow in (False, True))
    print(
        f"p99 {before_s * 1e3:.1f} ms alone, {beside_s * 1e3:.1f} ms beside {SLOW} slow sockets: "
        f"{beside_s / before_s:.2f} times; they were ended after {last_s:.1f} s at most"
    )
    assert {call.status for call in honest} == {200}
    assert beside_s <= SLOWER_MAX * before_s
    assert len(ends) == rounds * SLOW
    assert {call.status for call in ends} == {408}
    assert min(call.seconds for call in ends) >= HEADER_TIMEOUT_S - 0.1
    assert max(call.seconds for call in ends) <= HEADER_TIMEOUT_S + NOTICED_S


REFUSAL_MIB_MAX = 2.0
SETTLED_S = 0.2
UPLOAD_BYTES = Limits().body_bytes_max


async def test_13_a_body_over_the_limit_is_refused_without_being_kept(tmp_path: Path) -> None:
    """The client says how large it is; or sends in chunks, which are let in up to the limit; or
    leaves before it is over."""
    head = request().partition(b"content-length")[0]
    declared = head + b"content-length: %d\r\n\r\n"
    piece = b"x" * 65_536
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)

    async def upload(port: int, head: bytes, piece: bytes, times: int) -> bytes:
        """What begins the answer; nothing when the client leaves after so many pieces."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
        received = b"" if head == declared % UPLOAD_BYTES else await reader.read(12)
        writer.transport.abort()
        return received

    async def settled_mib(router: Router) -> float:
        """Its size once it has seen that they are gone: when it no longer changes."""
        earlier, mib = inf, router.rss_mib
        async with asyncio.timeout(PATIENCE_S):
            while mib != earlier:
                await asyncio.sleep(SETTLED_S)
                earlier, mib = mib, router.rss_mib
        return mib

    async with working(Worker()) as workers:
        with routing(tmp_path, *workers) as router:
            await asyncio.gather(*(ask(router.port) for _ in range(50)))
            before = router.rss_mib
            router.forget_peak()
            too_large = (router.port, declared % (100 * UPLOAD_BYTES), piece, 1)
            told = await asyncio.gather(*(upload(*too_large) for _ in range(50)))
            at_most = router.peak_mib - before
            kept: list[float] = []
            pieces = UPLOAD_BYTES // len(piece)
            for how in (
                (head + b"transfer-encoding: chunked\r\n\r\n", chunk, pieces + 1),
                (declared % UPLOAD_BYTES, piece, pieces - 1),
            ):
                told.append(await upload(router.port, *how))
                before = await settled_mib(router)
                for _ in range(10):
                    told.append(await upload(router.port, *how))
                kept.append(await settled_mib(router) - before)
    print(
        f"50 refused at once: {at_most:.2f} MiB more at most; of 10 refused at their end "
        f"{kept[0]:.2f} MiB are kept, of 10 abandoned {kept[1]:.2f} MiB"
    )
    assert set(told) == {b"HTTP/1.1 413", b""}
    assert at_most <= REFUSAL_MIB_MAX
    assert max(kept) <= REFUSAL_MIB_MAX


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_14_clients_that_leave_stop_their_workers_within_a_second(
    stream: bool, tmp_path: Path
) -> None:
    took_s: list[float] = []
    async with working(Worker(events=1, idles=True)) as (worker,):
        with routing(tmp_path, worker) as router:
            for number in range(1, max(int(5 * SCALE), 5) + 1):
                await ask_and_leave(router.port, worker, stream=stream)
                left_s = time.perf_counter()
                async with asyncio.timeout(PATIENCE_S):
                    while worker.cancelled < number:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                took_s.append(time.perf_counter() - left_s)
    print(f"stopped after {max(took_s) * 1e3:.0f} ms at most")
    assert max(took_s) < 1.0
