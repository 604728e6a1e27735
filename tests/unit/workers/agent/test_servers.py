"""How an agent starts a server."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from workers.agent.servers import Asked, NotReady, process_start
from workers.agent.settings import EngineSpec


def test_a_server_is_not_started_on_a_port_that_another_one_has(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for first, words in ((taken, "{port}"), (taken - 1, "{port+1}")):
            spec = EngineSpec("triton", command=("true", words))
            with pytest.raises(OSError, match=rf"port {taken} is not free .*another --port"):
                asyncio.run(process_start(spec, first, log, {}))
    assert not log.exists()


def test_a_server_is_asked_with_its_key_which_no_log_gets() -> None:
    key = "sk-of-the-server"

    def answer(request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("authorization", "")
        if sent != f"Bearer {key}":
            return httpx.Response(401, text=f"who is {sent}?")
        return httpx.Response(500, text=f"not you, {key}")

    async def refused(with_key: str) -> str:
        asked = Asked(httpx.MockTransport(answer), with_key)
        with pytest.raises(NotReady) as error:
            await asked.warm_up(EngineSpec("vllm", model="m"), "http://x:1")
        await asked.close()
        return str(error.value)

    assert "HTTP 401" in asyncio.run(refused(""))
    said = asyncio.run(refused(key))
    assert "HTTP 500: not you, •••" in said
    assert key not in said
