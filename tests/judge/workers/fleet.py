"""A fleet of emulated workers, each on its own port, and what happens to them."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from msgspec import Struct

from tests.judge.timer import Timer
from tests.judge.workers.hardware import Trouble, Window, Worker
from tests.judge.workers.http_server import Connection, Exchange

Speaks = Literal["vllm", "sglang"]
"""Whose load reports a worker offers in addition to OpenAI's API."""

MODEL = "m"
VERSION = "0.5.0"
BACKLOG = 1024
CALL = re.compile(rb"call (\d+), (\d+) events")
HEALTH = {"/", "/health", "/health_generate"}
SERVER_INFO = {"/server_info", "/get_server_info", "/model_info", "/get_model_info"}
PROMETHEUS = b"Content-Type: text/plain; version=0.0.4\r\n"


def call_text(number: int, events: int) -> str:
    """The start of a prompt, which sets the work, so that every worker has the same."""
    return f"call {number}, {events} events: "


def called(body: bytes) -> tuple[int, int]:
    """Number and events of the newest prompt in a body; a gateway's own check counts as small."""
    found = CALL.findall(body)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 1)


class Tally(Struct):
    """What a worker did since the load began."""

    name: str
    kind: str
    calls: int = 0
    answered: int = 0
    aborted: int = 0
    turned_away: int = 0
    busy_s: float = 0.0
    preempted: int = 0
    steps: int = 0
    late_ms_p99: float = 0.0


class Load(Struct, frozen=True):
    """What a worker says of itself. Tokens are those held, those of prompts that wait, and of these
    those to compute; ``tokens_hz`` are generated a second.
    """

    running: int
    waiting: int
    tokens: int
    waiting_tokens: int = 0
    waiting_uncached: int = 0
    tokens_max: int = 0
    running_max: int = 0
    tokens_hz: float = 0.0


class Server(ABC):
    """One worker. A subclass does the work; this is its process: the port, health and troubles."""

    def __init__(self, worker: Worker, port: int, timer: Timer, speaks: Speaks) -> None:
        self.worker, self.port, self.timer, self.speaks = worker, port, timer, speaks
        self.connections: set[Connection] = set()
        self.trouble: Window | None = None
        self.tally = Tally(worker.name, worker.hardware.kind)
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def hung(self) -> bool:
        """Whether it hangs."""
        return self.trouble is not None and self.trouble.trouble is Trouble.HANG

    @property
    def slow(self) -> float:
        """The factor by which everything is slower."""
        slow = self.trouble is not None and self.trouble.trouble is Trouble.SLOW
        return self.trouble.factor if slow and self.trouble else 1.0

    async def listen(self) -> None:
        """Take connections."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), "127.0.0.1", self.port, backlog=BACKLOG, reuse_address=True
        )

    async def listening(self) -> None:
        """Return when it takes connections."""
        await asyncio.gather(*self._tasks)

    def begin(self, start_s: float) -> None:
        """The load begins then. What runs already keeps running."""
        self.tally = Tally(self.worker.name, self.worker.hardware.kind)
        for window in self.worker.windows:
            self.timer.at(start_s + window.from_s, partial(self.enter, window))
            self.timer.at(start_s + window.to_s, partial(self.leave, window))

    def close(self) -> None:
        """The process ends."""
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.abort()

    @abstractmethod
    def take(self, exchange: Exchange) -> None:
        """A call to answer. It may come while the worker is hung."""

    @abstractmethod
    def gone(self, exchange: Exchange) -> None:
        """The caller hung up: as in vLLM and SGLang, the work is dropped."""

    @abstractmethod
    def freeze(self) -> None:
        """It hangs from now on."""

    @abstractmethod
    def restart(self) -> None:
        """Restart without any state."""

    @abstractmethod
    def load(self) -> Load:
        """What it is doing."""

    def report(self) -> Tally:
        """What it did."""
        return self.tally

    def handle(self, exchange: Exchange) -> None:
        if exchange.method == "POST" and exchange.path.endswith("/chat/completions"):
            self.tally.calls += 1
            self.take(exchange)
        elif not self.hung:
            self._describe(exchange)

    def _describe(self, exchange: Exchange) -> None:
        path = exchange.path
        if path in HEALTH:
            exchange.answer(200, {"status": "ok"})
        elif path.endswith("/models"):
            model = {"id": MODEL, "object": "model", "owned_by": "judge", "max_model_len": 32_768}
            exchange.answer(200, {"object": "list", "data": [model]})
        elif path in SERVER_INFO:
            exchange.answer(200, self._server_info())
        elif self.speaks == "sglang" and path == "/get_load":
            exchange.answer(200, [_get_load(self.load())])
        elif self.speaks == "sglang" and path == "/v1/loads" and self.load().tokens_max:
            loads = [_sglang_load(self.load())]
            about = {"timestamp": "", "version": VERSION, "dp_rank_count": 1}
            exchange.answer(200, {**about, "loads": loads})
        elif self.speaks == "vllm" and path == "/metrics" and self.load().tokens_max:
            exchange.answer_bytes(200, _vllm_metrics(self.load()), PROMETHEUS)
        else:
            exchange.answer(404, {"error": {"message": f"no {path} here"}})

    def _server_info(self) -> dict[str, object]:
        names = dict.fromkeys(("model_id", "model_path", "served_model_name"), MODEL)
        return {
            **names,
            "is_generation": True,
            "tp_size": 1,
            "dp_size": 1,
            "version": VERSION,
            "max_running_requests": self.load().running_max,
        }

    def enter(self, window: Window) -> None:
        """Trouble begins."""
        self.trouble = window
        if window.trouble is Trouble.HANG:
            self.freeze()
        elif window.trouble is Trouble.CRASH:
            self.close()
            self.restart()

    def leave(self, window: Window) -> None:
        """Trouble ends."""
        self.trouble = None
        if window.trouble is Trouble.HANG:
            self.restart()
            for connection in list(self.connections):
                if connection.busy:
                    connection.abort()
        elif window.trouble is Trouble.CRASH:
            task = asyncio.ensure_future(self.listen())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def begin(servers: Sequence[Server], start_s: float) -> None:
    """The load begins then."""
    for server in servers:
        server.begin(start_s)


def event(content: str, finish: str | None = None) -> dict[str, object]:
    """One event of a streamed chat."""
    delta = {"content": content} if content else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _chat("chat.completion.chunk", [choice])


def whole(content: str, usage: dict[str, object]) -> dict[str, object]:
    """A chat answered in one piece."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**_chat("chat.completion", [choice]), "usage": usage}


def usage_event(usage: dict[str, object]) -> dict[str, object]:
    """The event before the last."""
    return {**_chat("chat.completion.chunk", []), "usage": usage}


def usage(prompt: int, completion: int, cached: int) -> dict[str, object]:
    """Tokens, as OpenAI counts them."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _chat(kind: str, choices: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {"id": "chat-1", "object": kind, "created": 1, "model": MODEL, "choices": choices}


def _get_load(load: Load) -> dict[str, object]:
    return {
        "dp_rank": 0,
        "num_reqs": load.running + load.waiting,
        "num_waiting_reqs": load.waiting,
        "num_tokens": load.tokens + load.waiting_tokens,
    }


def _sglang_load(load: Load) -> dict[str, object]:
    return {
        "dp_rank": 0,
        "num_running_reqs": load.running,
        "num_waiting_reqs": load.waiting,
        "num_total_reqs": load.running + load.waiting,
        "num_waiting_uncached_tokens": load.waiting_uncached,
        "num_used_tokens": load.tokens,
        "num_total_tokens": load.tokens + load.waiting_tokens,
        "max_total_num_tokens": load.tokens_max,
        "token_usage": load.tokens / load.tokens_max if load.tokens_max else 0.0,
        "gen_throughput": load.tokens_hz,
        "cache_hit_rate": 0.0,
        "utilization": 0.0,
        "max_running_requests": load.running_max,
    }


def _vllm_metrics(load: Load) -> bytes:
    gauges = {
        "num_requests_running": load.running,
        "num_requests_waiting": load.waiting,
        "kv_cache_usage_perc": load.tokens / load.tokens_max,
    }
    labels = f'{{engine="0",model_name="{MODEL}"}}'
    return "".join(
        f"# TYPE vllm:{name} gauge\nvllm:{name}{labels} {value}\n" for name, value in gauges.items()
    ).encode()
