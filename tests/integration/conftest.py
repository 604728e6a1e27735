"""Real inference servers, started once for all tests of a process."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.backend import backend
from tests.examples import rest_nightly
from tests.ports import free_ports
from tests.rabbitmq import rabbitmq

REPOSITORY = Path(__file__).parent / "router" / "repository"


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    with rabbitmq() as url:
        yield url


@pytest.fixture(scope="module", params=rest_nightly(["valkey", "rabbitmq"], ["valkey"]))
def broker_url(request: pytest.FixtureRequest) -> str:
    """The URL of each broker in turn; no service of the run sends to it."""
    if request.param == "rabbitmq":
        return str(request.getfixturevalue("rabbitmq_url"))
    return urlsplit(request.getfixturevalue("valkey_url"))._replace(path="/7").geturl()


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = free_ports(1)
    words = ["workers.backends.llama_cpp", "--port", str(port), "--slots", "2", "--threads", "1"]
    log = tmp_path_factory.mktemp("llama") / "log"
    with backend(words, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def triton_addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One Triton's ``host:port`` by ``http`` and ``grpc``."""
    home = tmp_path_factory.mktemp("a triton (1)")
    http, grpc, metrics = map(str, free_ports(3))
    words = ["workers.backends.triton", "--profile", "batched", "--home", str(home)]
    words += ["--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics]
    with backend(words, f"http://127.0.0.1:{http}/v2/health/ready", home / "log"):
        yield {"http": f"127.0.0.1:{http}", "grpc": f"127.0.0.1:{grpc}"}


@pytest.fixture(scope="session")
def counter_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The gRPC ``host:port`` of a Triton with a decoupled model, and its log."""
    home = tmp_path_factory.mktemp("a counter (1)")
    http, grpc, metrics = map(str, free_ports(3))
    words = ["workers.backends.triton", "--repository", str(REPOSITORY), "--home", str(home)]
    words += ["--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics]
    with backend(words, f"http://127.0.0.1:{http}/v2/health/ready", home / "log"):
        yield f"127.0.0.1:{grpc}", home / "log"


@pytest.fixture(scope="session")
def triton_url(triton_addresses: dict[str, str]) -> str:
    return f"http://{triton_addresses['http']}"


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("emulator") / "log"
    words = ["workers.backends.emulator", "--port", str(port)]
    with backend(words, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}"
