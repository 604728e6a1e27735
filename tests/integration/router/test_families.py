"""Servers that listen at ``::`` are reached over IPv4 and IPv6, and so are workers of IPv6."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from router.domain.addresses import host_and_port
from tests.backend import backend
from tests.ports import free_ports

KEY = "a-key-of-ones-own"
BOTH = ("127.0.0.1", "::1")
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "model": "a/m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def has_v6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind(("::1", 0))
        return True
    return False


pytestmark = pytest.mark.skipif(not has_v6(), reason="this machine has no IPv6")


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Worker(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


@contextlib.contextmanager
def worker() -> Iterator[str]:
    """The URL of a worker that is at ``::1`` alone."""
    with Worker(("::1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{host_and_port('::1', server.server_address[1])}"
        server.shutdown()
        thread.join()


def test_a_router_of_both_families_calls_a_worker_of_ipv6(tmp_path: Path) -> None:
    port, grpc_port = free_ports(2)
    path = tmp_path / "fleet.json"
    with worker() as url:
        path.write_text(
            json.dumps([{"id": "w", "url": url, "class": "c", "slots": 1, "model": "a/m"}])
        )
        words = ["router", "--fleet", str(path), "--host", "::", "--key", KEY]
        words += ["--port", str(port), "--grpc-port", str(grpc_port)]
        ready = f"http://127.0.0.1:{port}/readyz"
        with backend(words, ready, tmp_path / "router.log"):
            for host in BOTH:
                answer = httpx.post(
                    f"http://{host_and_port(host, port)}/v1/chat/completions",
                    json={"model": "a/m", "messages": [{"role": "user", "content": "hello"}]},
                    headers={"authorization": f"Bearer {KEY}"},
                )
                assert answer.json()["choices"][0]["message"]["content"] == "hi"
                with grpc.insecure_channel(host_and_port(host, grpc_port)) as channel:
                    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                    assert stub.ServerLive(service_pb2.ServerLiveRequest()).live


async def pages(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """As little of a site as there can be."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})


def test_the_pages_server_listens_on_both_families(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    words = ["granian", "--interface", "asginl", "--host", "::", "--port", str(port)]
    words += ["--workers", "1", f"{__name__}:pages"]
    with backend(words, f"http://127.0.0.1:{port}/", tmp_path / "pages.log"):
        for host in BOTH:
            assert httpx.get(f"http://{host_and_port(host, port)}/").text == "page"
