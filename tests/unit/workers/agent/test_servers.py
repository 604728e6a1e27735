"""How an agent starts a server."""

import asyncio
import socket
from pathlib import Path

import pytest

from workers.agent.servers import process_start
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
