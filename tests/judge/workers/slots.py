"""Workers that are slots: so many calls at once, each as long as it takes, others wait."""

import re
from collections import deque
from functools import partial
from math import exp
from random import Random

from tests.judge.timer import Alarm, Timer, now_s
from tests.judge.workers.fleet import Load, Server, Speaks, called, event, usage, usage_event, whole
from tests.judge.workers.hardware import Allowance, SlotClass, Trouble, Worker
from tests.judge.workers.http_server import Exchange

STREAM = re.compile(rb'"stream": ?true')
PROMPT_TOKENS = 30
TOKENS = 64
"""What one call weighs in a report of load."""


def service_s(hardware: SlotClass, seed: int, number: int) -> float:
    """How long a call takes there: its size is its own, wherever it goes."""
    if not hardware.mean_ms:
        return 0.0
    sigma = hardware.sigma
    size = exp(Random(f"{seed} {number}").gauss(0, sigma) - sigma**2 / 2)
    return size * hardware.mean_ms / 1e3


class _Job:
    __slots__ = ("alarm", "began_s", "events", "exchange", "number", "service_s", "streamed")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.number, _ = called(exchange.body)
        self.streamed = STREAM.search(exchange.body) is not None
        self.alarm: Alarm | None = None
        self.began_s = self.service_s = 0.0
        self.events = 0


class SlotServer(Server):
    """A worker with slots and a queue inside."""

    def __init__(self, worker: Worker, port: int, timer: Timer, speaks: Speaks, seed: int) -> None:
        super().__init__(worker, port, timer, speaks)
        assert isinstance(worker.hardware, SlotClass)
        self._hardware = worker.hardware
        self._seed = seed
        self._mark = f"{worker.name}: "
        self._running: dict[Exchange, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._allowance: Allowance | None = None

    def take(self, exchange: Exchange) -> None:
        trouble = self.trouble.trouble if self.trouble is not None else None
        if trouble is Trouble.HTTP_500:
            self.tally.turned_away += 1
            exchange.answer(500, {"error": {"message": "emulated", "type": "server_error"}})
        elif trouble is Trouble.LIMIT and not self._allows():
            self.tally.turned_away += 1
            error = {"message": "emulated", "type": "rate_limit_error"}
            exchange.answer(429, {"error": error}, b"Retry-After: 1\r\n")
        else:
            self._waiting.append(_Job(exchange))
            self._fill()

    def gone(self, exchange: Exchange) -> None:
        self.tally.aborted += 1
        job = self._running.get(exchange)
        if job is not None:
            self._leave_slot(job)
        else:
            self._waiting = deque(job for job in self._waiting if job.exchange is not exchange)

    def freeze(self) -> None:
        for job in self._running.values():
            if job.alarm is not None:
                job.alarm.cancel()

    def restart(self) -> None:
        self._waiting.clear()
        for job in list(self._running.values()):
            self._leave_slot(job)

    def load(self) -> Load:
        running, waiting = len(self._running), len(self._waiting)
        tokens, slots = TOKENS * running, self._hardware.slots
        return Load(running, waiting, tokens, TOKENS * waiting, running_max=slots)

    def _allows(self) -> bool:
        assert self.trouble is not None
        if self._allowance is None:
            self._allowance = Allowance(self.trouble.factor)
        if self._allowance.left(now_s()) < 1:
            return False
        self._allowance.take()
        return True

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._hardware.slots and not self.hung:
            job = self._waiting.popleft()
            job.began_s = now_s()
            job.service_s = self.slow * service_s(self._hardware, self._seed, job.number)
            self._running[job.exchange] = job
            if job.streamed:
                job.exchange.start_stream()
                self._stream(job)
            elif job.service_s:
                job.alarm = self.timer.at(job.began_s + job.service_s, partial(self._end, job))
            else:
                self._end(job)

    def _stream(self, job: _Job) -> None:
        """Send what is due, and come back for the next event."""
        hardware = self._hardware
        first_s = job.service_s * hardware.first_share
        each_s = (job.service_s - first_s) / hardware.events
        due_s = job.began_s + first_s + job.events * each_s
        while due_s <= now_s():
            if job.events == hardware.events:
                return self._end(job)
            job.exchange.event(event(f"{'' if job.events else self._mark}tok "))
            job.events += 1
            due_s += each_s
        job.alarm = self.timer.at(due_s, partial(self._stream, job))

    def _end(self, job: _Job) -> None:
        self.tally.answered += 1
        tokens = usage(PROMPT_TOKENS, self._hardware.events, 0)
        exchange = job.exchange
        if job.streamed:
            exchange.event(event("", "stop"))
            exchange.event(usage_event(tokens))
            exchange.end_stream()
        else:
            exchange.answer(200, whole(f"{self._mark}tok ", tokens))
        self._leave_slot(job)

    def _leave_slot(self, job: _Job) -> None:
        del self._running[job.exchange]
        if job.alarm is not None:
            job.alarm.cancel()
        self.tally.busy_s += now_s() - job.began_s
        self._fill()
