"""Chat sessions on real engines: llama.cpp with four sequences, which keep their conversations."""

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

from tests.backend import backend
from tests.ports import free_ports

KEY = "a-key"
MODEL = "huggingfacetb/smollm2-135m-instruct"
ENGINES = 2
SEQUENCES = 4
SESSIONS = 3
TURNS = 3
TOKENS = 8
TOPICS = ("rivers", "engines", "violins", "comets")
LONG = "The {topic} of chapter {n} are unlike those of any other chapter. "


@dataclass
class Session:
    """A conversation, and the results of its turns."""

    messages: list[dict[str, str]]
    firsts_s: list[float] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """Of a router in front of two engines that nobody has measured."""
    folder = tmp_path_factory.mktemp("sessions")
    *ports, port = free_ports(ENGINES + 1)
    with contextlib.ExitStack() as running:
        for place, engine in enumerate(ports):
            running.enter_context(engine_on(engine, folder / f"engine-{place}.log"))
        fleet = [
            {
                "id": f"engine-{place}",
                "url": f"http://127.0.0.1:{engine}",
                "class": "cpu",
                "slots": SEQUENCES,
                "model": MODEL,
            }
            for place, engine in enumerate(ports)
        ]
        (folder / "fleet.json").write_text(json.dumps(fleet))
        words = ["router", "--fleet", str(folder / "fleet.json"), "--port", str(port)]
        running.enter_context(
            backend([*words, "--key", KEY], f"http://127.0.0.1:{port}/readyz", folder / "log")
        )
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0)


def engine_on(port: int, log: Path) -> contextlib.AbstractContextManager[object]:
    words = ["workers.backends.llama_cpp", "--port", str(port), "--slots", str(SEQUENCES)]
    return backend([*words, "--threads", "1"], f"http://127.0.0.1:{port}/health", log)


def take_turn(client: openai.OpenAI, session: Session, question: str) -> None:
    """Stream one more answer, and keep what was seen of it."""
    session.messages.append({"role": "user", "content": question})
    began = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=session.messages,
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    said, first_s = "", 0.0
    for chunk in raw.parse():
        if chunk.choices and chunk.choices[0].delta.content:
            first_s = first_s or time.monotonic() - began
            said += chunk.choices[0].delta.content
        if chunk.usage is not None:
            session.prompts.append(chunk.usage.prompt_tokens)
            details = chunk.usage.prompt_tokens_details
            session.cached.append(details.cached_tokens or 0 if details else 0)
    session.firsts_s.append(first_s)
    session.messages.append({"role": "assistant", "content": said})


@pytest.mark.chaos
@pytest.mark.nightly  # A real language model at work for half a minute.
def test_later_turns_go_back_to_where_their_beginning_is(client: openai.OpenAI) -> None:
    sessions = [
        Session(
            [
                {
                    "role": "system",
                    "content": "".join(LONG.format(topic=topic, n=n) for n in range(12)),
                }
            ]
        )
        for topic in TOPICS[:SESSIONS]
    ]
    for turn in range(TURNS):
        # In another order each time: whose turn it is says nothing of where it belongs.
        for session in sessions[turn:] + sessions[:turn]:
            take_turn(client, session, f"What is question number {turn} about?")
    found = [
        cached / before
        for session in sessions
        for before, cached in zip(session.prompts, session.cached[1:], strict=False)
    ]
    assert all(session.cached[0] < 0.2 * session.prompts[0] for session in sessions)
    # Not each: one that is disturbed looks slow, and another is worth computing it again.
    assert statistics.median(found) > 0.9
    cold_s = statistics.median(session.firsts_s[0] for session in sessions)
    later_s = statistics.median(one for session in sessions for one in session.firsts_s[1:])
    assert later_s < cold_s / 2
