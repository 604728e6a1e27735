"""Chats of several turns: the simulator's plan, which has no texts, said aloud.

A turn's text is as long as the plan says, and begins as no other does.
"""

import asyncio
import json
from collections.abc import Sequence
from random import Random

from router.domain.request import BYTES_PER_TOKEN
from router.simulator.engines.kv_cache import BLOCK_TOKENS
from router.simulator.engines.scenarios import EVENT_TOKENS
from router.simulator.engines.sessions import Load as Chats
from router.simulator.engines.sessions import Session, plan
from tests.judge.callers.load import MAX_TOKENS, WORDS, Load
from tests.judge.callers.targets import Call
from tests.judge.figures.results import TIMEOUT
from tests.judge.timer import now_s
from tests.judge.workers.engines import TEMPLATE_TOKENS, answer_text
from tests.judge.workers.fleet import MODEL, call_text

POOL_WORDS = 40_000
TURNS_MAX = 100
"""Of a session, so that no two calls have one number."""


class Writer:
    """Texts of a given length, from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"texts {seed}")
        self._pool = " ".join(self._random.choices(WORDS, k=POOL_WORDS))
        self._systems: dict[int, str] = {}

    def said(self, session: Session) -> list[tuple[str, str]]:
        """Everything that is said in a session, role and text: the system's, then turn by turn."""
        said: list[tuple[str, str]] = []
        (name, blocks), *_ = session.turns[0].chain
        known = blocks * BLOCK_TOKENS if name < 0 else 0  # Shared beginnings are below 0.
        if known:
            if name not in self._systems:
                self._systems[name] = self._text(f"system {-name}: ", known, "system")
            said.append(("system", self._systems[name]))
        for at, turn in enumerate(session.turns):
            number = call_number(session, at)
            begin = call_text(number, turn.answer_events)
            said.append(("user", self._text(begin, turn.prompt_tokens - known, "user")))
            said.append(("assistant", answer_text(number, turn.answer_events)))
            known = turn.prompt_tokens + turn.answer_events * EVENT_TOKENS
        return said

    def _text(self, begin: str, tokens: int, role: str) -> str:
        chars = (tokens - TEMPLATE_TOKENS[role]) * BYTES_PER_TOKEN
        at = self._random.randrange(len(self._pool) - chars)
        return (begin + self._pool[at : at + chars])[:chars]


def call_number(session: Session, turn: int) -> int:
    """Its own, whoever is asked."""
    return session.id * TURNS_MAX + turn


async def hold(
    session: Session, messages: list[str], load: Load, *, seconds: float, start_s: float
) -> None:
    """Turn after turn; those before the first are history. One that failed leaves its answer there
    too; whoever waited to the end of their patience leaves.
    """
    system, due_s = len(messages) % 2, session.at_s
    for at in range(session.first, len(session.turns)):
        turn = session.turns[at]
        await load.timer.until(start_s + due_s)
        body = _body(session, messages[: system + 2 * at + 1])
        number, name = call_number(session, at), _name(session)
        record = await load.ask(Call(number, due_s, body, turn.answer_events, name), start_s)
        due_s = now_s() - start_s + turn.think_s
        if record.error == TIMEOUT or due_s >= seconds:
            return


def conversations(chats: Chats, *, seconds: float, seed: int) -> list[tuple[Session, list[str]]]:
    """The plan's sessions, each with its messages as JSON."""
    writer = Writer(seed)
    return [
        (
            session,
            [json.dumps({"role": role, "content": text}) for role, text in writer.said(session)],
        )
        for session in plan(chats, seconds, EVENT_TOKENS, seed)
    ]


async def hold_all(
    load: Load, start_s: float, *, planned: Sequence[tuple[Session, list[str]]], seconds: float
) -> None:
    """Every session of the plan, to its end."""
    async with asyncio.TaskGroup() as group:
        for session, messages in planned:
            group.create_task(hold(session, messages, load, seconds=seconds, start_s=start_s))


def _name(session: Session) -> str:
    return f"u{session.id}"


def _body(session: Session, messages: list[str]) -> bytes:
    return (
        f'{{"model": "{MODEL}", "max_tokens": {MAX_TOKENS}, "user": "{_name(session)}", '
        f'"stream": true, "stream_options": {{"include_usage": true}}, '
        f'"messages": [{", ".join(messages)}]}}'
    ).encode()
