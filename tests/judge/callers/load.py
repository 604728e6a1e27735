"""The load: calls at their due times, whatever happened to earlier ones, or as fast as possible."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from random import Random

from tests.judge.callers.http_client import Answer
from tests.judge.callers.targets import Call, Target
from tests.judge.figures.results import TIMEOUT, Record, record_of
from tests.judge.scenarios import Phase
from tests.judge.timer import Timer, now_s
from tests.judge.workers.fleet import MODEL, call_text

SAYING = (
    "a caller asks and a worker answers while the clock of the one who waits runs on and a queue "
    "grows where many were sent so look at what is under way before you send one more"
)
WORDS = tuple(SAYING.split())
PROMPT_WORDS = 30
MAX_TOKENS = 64


def arrivals(phases: Sequence[Phase], seconds: float, seed: int) -> list[float]:
    """When calls are due, in seconds from the start: a Poisson process, phase after phase."""
    random, ends_s = Random(f"arrivals {seed}"), 0.0
    due: list[float] = []
    for phase in itertools.cycle(phases):
        at_s, ends_s = ends_s, min(ends_s + phase.seconds, seconds)
        while (at_s := at_s + random.expovariate(phase.calls_hz)) < ends_s:
            due.append(at_s)
        if ends_s >= seconds:
            return due
    return due


def body(number: int, *, seed: int, events: int) -> bytes:
    """A short chat, with some unique words."""
    words = " ".join(Random(f"{seed} {number}").choices(WORDS, k=PROMPT_WORDS))
    stream = ', "stream": true, "stream_options": {"include_usage": true}' if events else ""
    return (
        f'{{"model": "{MODEL}", "max_tokens": {MAX_TOKENS}{stream}, "messages": '
        f'[{{"role": "user", "content": "{call_text(number, events or 1)}{words}"}}]}}'
    ).encode()


def calls(phases: Sequence[Phase], *, seconds: float, events: int, seed: int) -> list[Call]:
    """Of an open loop, in order."""
    return [
        Call(number, due_s, body(number, seed=seed, events=events), events)
        for number, due_s in enumerate(arrivals(phases, seconds, seed))
    ]


class Load:
    """One load on one target. ``records`` are in the order in which answers came.

    ``late_s`` is how late each call of an open loop was sent.
    """

    def __init__(self, target: Target, timer: Timer, timeout_s: float) -> None:
        self.target, self.timer, self.timeout_s = target, timer, timeout_s
        self.records: list[Record] = []
        self.late_s: list[float] = []

    async def ask(self, call: Call, start_s: float) -> Record:
        """One call, due now; ``due_s`` of the call counts from the start."""
        due_s = start_s + call.due_s
        self.late_s.append(now_s() - due_s)
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self.target.ask(call)
        except TimeoutError:
            answer = Answer(0, b"", 0.0, now_s(), TIMEOUT)
        record = record_of(answer, due_s=due_s, start_s=start_s, events=call.events)
        self.records.append(record)
        return record

    async def send(self, start_s: float, *, calls: Sequence[Call]) -> None:
        """An open loop: each call when it is due. Returns with the last answer."""
        async with asyncio.TaskGroup() as group:
            for call in calls:
                await self.timer.until(start_s + call.due_s)
                group.create_task(self.ask(call, start_s))

    async def closed_loop(
        self, start_s: float, *, callers: int, seconds: float, events: int, seed: int
    ) -> None:
        """Callers that call again at once, for a given time."""
        numbers = itertools.count()
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._caller(numbers, seconds, events, seed, start_s))

    async def _caller(
        self, numbers: Iterator[int], seconds: float, events: int, seed: int, start_s: float
    ) -> None:
        text = body(0, seed=seed, events=events)
        while (due_s := now_s()) < start_s + seconds:
            call = Call(next(numbers), due_s - start_s, text, events)
            answer = await self.target.ask(call)
            self.records.append(record_of(answer, due_s=due_s, start_s=start_s, events=events))
