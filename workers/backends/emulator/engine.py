"""An emulated LLM engine at run time: the simulator's engine, stepped as real time passes.

What it does with its requests (batches, chunks of prompts, blocks of KV cache) and how long each
step takes is :mod:`router.simulator.engines.batching`'s to say; here it only waits until a step is
over, and tells those whose tokens came.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from router.simulator.engines.batching import EngineSpec, EngineState, Sequence
from router.simulator.engines.kv_cache import BLOCK_TOKENS

LATE_MAX_S = 0.25
"""An engine that is behind by more (it hung, or its process got no time) does not catch up."""


class Answer:
    """What a caller hears of its generation: each token, or that it is over."""

    def __init__(self, engine: EngineState, sequence: Sequence, *, streams: bool) -> None:
        self._engine = engine
        self._sequence = sequence
        self._streams = streams
        self._news = asyncio.Event()

    def tell(self) -> None:
        """There is a new token."""
        if self._streams or self._sequence.over:
            self._news.set()

    async def more(self) -> int:
        """How many tokens there are, once there are more than before."""
        await self._news.wait()
        self._news.clear()
        return self._engine.generated(self._sequence)

    async def whole(self) -> None:
        """Wait for the end."""
        await self._news.wait()


class Engine:
    """``pace`` says of an engine at each step how many times as long as it should it takes; None:
    for ever, until :meth:`go_on`.
    """

    def __init__(self, spec: EngineSpec, pace: Callable[["Engine"], float | None]) -> None:
        self.state = EngineState(spec)
        self._pace = pace
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a step is under way."""
        return self.state.ends_s < inf

    @property
    def room_tokens(self) -> int:
        """The longest prompt with its answer that can be worked on."""
        return self.state.cache.capacity * BLOCK_TOKENS

    @contextmanager
    def answering(self, sequence: Sequence, *, streams: bool) -> Iterator[Answer]:
        """Give the engine a generation, and take it away at the end if it is not over.

        Raises ``ValueError`` for one that needs more than :attr:`room_tokens`.
        """
        state = self.state
        answer = sequence.owner = Answer(state, sequence, streams=streams)
        state.slow = self._pace(self) or 1.0
        if state.submit(sequence, asyncio.get_running_loop().time()):
            self._wait()
        try:
            yield answer
        finally:
            state.abort(sequence)

    def go_on(self) -> None:
        """It may no longer hang."""
        if self.is_busy and self._timer is None:
            self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self.state.ends_s, self._step)

    def _step(self) -> None:
        self._timer = None
        state, pace = self.state, self._pace(self)
        if pace is None:
            return
        now_s = asyncio.get_running_loop().time()
        if now_s - state.ends_s > LATE_MAX_S:
            state.ends_s = now_s
        state.slow = pace
        joined, ended = state.finish()
        for sequence in (*state.decoding, *joined, *ended):
            if isinstance(sequence.owner, Answer):
                sequence.owner.tell()
        if self.is_busy:
            self._wait()
