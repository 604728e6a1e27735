"""Emulated workers over real sockets, and the load on them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from router.simulator.engines.batching import EngineSpec
from tests.judge.callers import load
from tests.judge.callers.http_client import Answer, Client
from tests.judge.callers.load import Load
from tests.judge.callers.targets import PATH, Call, InTurn
from tests.judge.figures.results import Record
from tests.judge.oracles.engine_oracle import EngineOracle
from tests.judge.oracles.slot_oracle import SlotOracle
from tests.judge.timer import Timer, now_s
from tests.judge.workers.engines import EngineServer, answer_text
from tests.judge.workers.fleet import Server, call_text
from tests.judge.workers.hardware import Hardware, SlotClass, Trouble, Window, Worker
from tests.judge.workers.slots import SlotServer
from tests.ports import free_ports

AT_ONCE = SlotClass("Z", 0, events=3)
LONG_MS = 60_000.0
BOUND_S = 60.0
ENGINE = EngineSpec("e", "e", 1e6, 1e-3, 1e-5, 1e-8, 4096, 1024, 8, event_tokens=8)


@asynccontextmanager
async def fleet(
    *hardware: Hardware, windows: tuple[Window, ...] = ()
) -> AsyncGenerator[list[Server]]:
    """Workers that listen; the windows are the first one's."""
    timer = Timer()
    ports = free_ports(len(hardware))
    servers: list[Server] = []
    for at, (kind, port) in enumerate(zip(hardware, ports, strict=True)):
        worker = Worker(f"w{at:02}", kind, () if at else windows)
        if isinstance(kind, SlotClass):
            servers.append(SlotServer(worker, port, timer, "sglang", seed=1))
        else:
            servers.append(EngineServer(worker, port, timer, "vllm"))
    try:
        for server in servers:
            await server.listen()
        async with asyncio.timeout(BOUND_S):
            yield servers
    finally:
        for server in servers:
            server.close()
        timer.close()


def body(number: int = 1, events: int = 0) -> bytes:
    return load.body(number, seed=1, events=events)


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def asked(server: Server, ask: Awaitable[Answer]) -> asyncio.Future[Answer]:
    """A call that has reached the worker."""
    calls = server.tally.calls
    asking = asyncio.ensure_future(ask)
    await until(lambda: server.tally.calls > calls)
    return asking


async def test_a_timer_calls_in_order_and_soon() -> None:
    timer = Timer()
    rang: list[str] = []
    start_s = now_s()
    timer.at(start_s + 0.004, lambda: rang.append("later"))
    timer.at(start_s + 0.002, lambda: rang.append("sooner"))
    timer.at(start_s + 0.003, lambda: rang.append("never")).cancel()
    timer.at(start_s - 1, lambda: rang.append("passed"))
    await timer.until(start_s + 0.005)
    assert rang == ["passed", "sooner", "later"]
    timer.close()


async def test_slots_take_turns_and_who_hangs_up_leaves_one_free() -> None:
    async with fleet(SlotClass("A", LONG_MS, slots=1)) as (server,):
        client = Client(server.port, PATH)
        first = await asked(server, client.ask(body()))
        second = await asked(server, client.ask(body()))
        assert (server.load().running, server.load().waiting) == (1, 1)
        first.cancel()
        await until(lambda: server.tally.aborted == 1)
        assert (server.load().running, server.load().waiting) == (1, 0)
        second.cancel()
        await until(lambda: server.tally.aborted == 2)
        assert (server.load().running, server.load().waiting) == (0, 0)


async def test_a_stream_is_whole() -> None:
    async with fleet(AT_ONCE) as (server,):
        seen = Load(InTurn([server.port]), server.timer, timeout_s=BOUND_S)
        record = await seen.ask(Call(1, 0.0, body(events=3), events=3), now_s())
        assert (record.error, record.worker, record.events) == ("", "w00", 3)


@pytest.mark.parametrize(
    ("trouble", "status"), [(Trouble.HTTP_500, [500, 500]), (Trouble.LIMIT, [200, 429])]
)
async def test_what_is_turned_away_is_told_so(trouble: Trouble, status: list[int]) -> None:
    async with fleet(AT_ONCE, windows=(Window(trouble, 0, BOUND_S, 1),)) as (server,):
        server.begin(now_s())
        await until(lambda: server.trouble is not None)
        client = Client(server.port, PATH)
        assert [(await client.ask(body())).status for _ in range(2)] == status


@pytest.mark.parametrize("hardware", [SlotClass("A", LONG_MS), ENGINE])
@pytest.mark.parametrize("trouble", [Trouble.CRASH, Trouble.HANG])
async def test_what_a_worker_had_is_lost_with_it_and_it_comes_back(
    trouble: Trouble, hardware: Hardware
) -> None:
    window = Window(trouble, 0, BOUND_S)
    async with fleet(hardware) as (server,):
        client = Client(server.port, PATH)
        before = await asked(server, client.ask(body(events=400)))
        server.enter(window)
        if trouble is Trouble.CRASH:
            assert (await client.ask(body())).error == "refused"
            server.leave(window)
        else:
            during = await asked(server, client.ask(body()))
            server.leave(window)
            assert (await during).error == "reset"
        assert (await before).error == "reset"
        assert server.load().running == server.load().waiting == 0
        await server.listening()
        again = await asked(server, client.ask(body(events=400)))
        await until(lambda: server.load().running == 1)
        again.cancel()
        await until(lambda: server.load().running == 0)


async def test_an_engine_finds_what_it_has_computed_before() -> None:
    async with fleet(ENGINE) as (server,):
        client = Client(server.port, PATH)
        said = f"{call_text(1, 4)}{'word ' * 100}"
        question = f'{{"role": "user", "content": "{said}"}}'
        answer = f'{{"role": "assistant", "content": "{answer_text(1, 4)}"}}'
        first = await client.ask(f'{{"messages": [{question}]}}'.encode())
        assert answer_text(1, 4).encode() in first.body
        assert b'"cached_tokens":0' in first.body
        messages = f'[{question}, {answer}, {{"role": "user", "content": "and then?"}}]'
        second = await client.ask(f'{{"messages": {messages}}}'.encode())
        tokens = len(said) // 4 + 6 + 4 * 8
        assert f'"cached_tokens":{tokens // 16 * 16}'.encode() in second.body
        metrics = await Client(server.port, PATH).ask(b"")  # Not JSON: refused, not a crash.
        assert metrics.status == 400


@pytest.mark.parametrize("hardware", [SlotClass("A", 1), ENGINE])
async def test_an_oracle_asks_nobody_who_would_fail(hardware: Hardware) -> None:
    async with AsyncExitStack() as stack:
        hang = Window(Trouble.HANG, 0, BOUND_S)
        servers = await stack.enter_async_context(fleet(hardware, hardware, windows=(hang,)))
        workers = [server.worker for server in servers]
        ports = [server.port for server in servers]
        start_s = now_s()
        for server in servers:
            server.begin(start_s)
        await until(lambda: servers[0].trouble is not None)
        engines = [server for server in servers if isinstance(server, EngineServer)]
        if engines:
            oracle: SlotOracle | EngineOracle = EngineOracle(engines)
        else:
            oracle = SlotOracle(workers, ports, lambda _: 10.0)
            oracle.begin(start_s, servers[0].timer)
        seen = Load(oracle, servers[0].timer, timeout_s=BOUND_S)
        calls = [Call(number, 0.0, body(number)) for number in range(12)]
        await seen.send(start_s, calls=calls)
        oracle.close()
        assert {(record.error, record.worker) for record in seen.records} == {("", "w01")}


async def test_a_caller_that_waits_too_long_gives_up() -> None:
    async with fleet(SlotClass("A", LONG_MS)) as (server,):
        seen = Load(InTurn([server.port]), server.timer, timeout_s=0.01)
        record: Record = await seen.ask(Call(1, 0.0, body()), now_s())
        assert record.error == "timeout"
