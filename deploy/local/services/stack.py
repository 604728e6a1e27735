"""Which services make up Waypost on one machine, and how each is started."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from deploy.local import ROOT
from deploy.local.home.secrets import (
    BROKER_PASSWORD,
    DATABASE_PASSWORD,
    NOT_FOR_SERVICES,
    OWNER_URL,
    ROUTERS_PASSWORD,
    SERVICES_PASSWORD,
)
from deploy.local.processes import child
from deploy.local.processes.health import answers_http, logged, once_logged
from deploy.local.processes.ports import HOST, free_ports
from deploy.local.services import postgres, valkey
from deploy.local.services.payments import stand_in
from deploy.local.services.postgres import Postgres
from deploy.local.services.supervisor import Service
from deploy.local.services.valkey import Valkey
from marketplace.shared.jobs.periodic import Queue
from workers.backends.emulator.fleet import WORKERS as EMULATED_WORKERS

# What llama.cpp's backend says after a first inference; its own `/health` is earlier.
WARM = "llama.cpp: warm, "
# Django's checks import every page and what those compute with, which these processes never use.
SKIPS_CHECKS = {"CELERY_SKIP_CHECKS": "1"}
ROUTERS_MAX = 16
# The port after the routers' shared one is gRPC's.
OWN_PORTS_FROM = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What the person chose. A URL given replaces the embedded service."""

    home: Path
    web_port: int = 8000
    router_port: int = 8080
    router_grpc_port: int = 8081
    routers: int = 1
    emulated: bool = True
    database_url: str | None = None
    owner_url: str | None = None
    broker_url: str | None = None

    @property
    def web_url(self) -> str:
        """Where the pages are."""
        return f"http://{HOST}:{self.web_port}"

    @property
    def router_url(self) -> str:
        """Where the routers are."""
        return f"http://{HOST}:{self.router_port}"

    @property
    def own_router_ports(self) -> tuple[int, ...]:
        """Each router's own port, which is not ``router_port`` where several share that.

        It is the same in every start: a router's name and journal go by it.
        """
        if self.routers == 1:
            return (self.router_port,)
        first = self.router_port + OWN_PORTS_FROM
        return tuple(range(first, first + self.routers))


class Worker(TypedDict):
    """One entry of the fleet file that `manage.py seed_demo` reads."""

    worker: str
    pool: str
    url: str
    protocol: str  # "openai", "oip" or "oip_grpc"
    slots: int
    emulated: bool
    priors: dict[str, float]  # mean service time in ms by public model name; {}: not known
    engines: dict[str, dict[str, Any]]  # of LLM engines, what is known of them by the same name
    left_out: str  # why it could not be started, "" where it was


@dataclass(frozen=True, slots=True)
class Backend:
    """A service that is one or more workers."""

    service: Service
    workers: tuple[Worker, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """The services in the order that people see them, and the environment they share.

    ``owner_url`` is for commands that make or drop tables; "" where there is one role for all.
    """

    services: tuple[Service, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    owner_url: str = ""


@dataclass(frozen=True, slots=True)
class DataServices:
    """The embedded data services that are wanted, and the URLs of all.

    ``routers_url`` is that of the database for routers.
    """

    services: list[Service]
    urls: dict[str, str]
    owner_url: str
    routers_url: str


def build(options: Options, secrets: Mapping[str, str]) -> Stack:
    """Lay out a stack on ports that are free now. Starts nothing."""
    data = _data_services(options, secrets)
    backends = [*_llama_backends(), *_triton_backends(options.home)]
    if options.emulated:
        backends.append(_emulator())
    payments = stand_in(options.home, options.web_url, _python)
    data_names = tuple(service.name for service in data.services)
    settling = _settling(options)
    after = (*data_names, "seed", *(job.name for job in settling))
    routers = (*settling, *_routers(options, needs=after))
    services = (
        *data.services,
        _migrate(data.owner_url, needs=tuple(name for name in data_names if name == "postgres")),
        *(backend.service for backend in backends),
        _seed(options.home, backends),
        *(replace(item, env={"DATABASE_URL": data.routers_url, **item.env}) for item in routers),
        _web(options, needs=(*data_names, "seed")),
        *_jobs(needs=(*data_names, "seed")),
        *payments.services,
    )
    environment = _environment(options, secrets) | data.urls | dict(payments.environment)
    return Stack(
        tuple(replace(service, env={**environment, **service.env}) for service in services),
        environment,
        data.owner_url,
    )


def _environment(options: Options, secrets: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: value for name, value in secrets.items() if name not in NOT_FOR_SERVICES},
        "DJANGO_SETTINGS_MODULE": "marketplace.config.settings",
        "WAYPOST_HOME": str(options.home),
        "WAYPOST_PUBLIC_URL": options.web_url,
        "WAYPOST_ROUTER_URL": options.router_url,
        # Workers are on this machine: the router may call them, and so may checks of listings.
        "ROUTER_UPSTREAM_NETWORKS": "127.0.0.0/8",
        # So may receivers of webhooks, so that people can try them.
        "WAYPOST_WEBHOOK_NETWORKS": os.environ.get("WAYPOST_WEBHOOK_NETWORKS", "127.0.0.0/8"),
        # So may the endpoints that an organisation lists for itself.
        "WAYPOST_ENDPOINT_NETWORKS": os.environ.get("WAYPOST_ENDPOINT_NETWORKS", "127.0.0.0/8"),
        "WAYPOST_EMULATED": "1" if options.emulated else "0",
        "WAYPOST_TRIAL_CREDIT_CENTS": os.environ.get("WAYPOST_TRIAL_CREDIT_CENTS", "500"),
        # The demo's user is of the staff, and signs in with a password that is printed.
        "WAYPOST_STAFF_SECOND_FACTOR": os.environ.get("WAYPOST_STAFF_SECOND_FACTOR", "0"),
        "PYTHONUNBUFFERED": "1",
    }


def _python(*words: str) -> tuple[str, ...]:
    return (*child.prefix(signal.SIGTERM), sys.executable, *words)


def _manage(*words: str) -> tuple[str, ...]:
    return _python(str(ROOT / "manage.py"), *words)


def _migrate(owner_url: str, needs: tuple[str, ...]) -> Service:
    return Service(
        "migrate",
        _manage("migrate", "--no-input", "--skip-checks"),
        needs=needs,
        env={OWNER_URL: owner_url} if owner_url else {},
        job=True,
    )


def _seed(home: Path, backends: list[Backend]) -> Service:
    """The demo and the fleet; last of the preparations, when it is known which backends run."""
    fleet = home / "run" / "fleet.json"
    return Service(
        "seed",
        _manage("seed_demo", "--fleet", str(fleet)),
        needs=("migrate", *(backend.service.name for backend in backends)),
        job=True,
        prepare=_fleet_writer(fleet, backends),
    )


def _data_services(options: Options, secrets: Mapping[str, str]) -> DataServices:
    services = []
    database_url, broker_url = options.database_url, options.broker_url
    owner_url, routers_url = options.owner_url or "", database_url or ""
    database_port, broker_port = free_ports(2)
    if database_url is None:
        database = Postgres(
            options.home / "pg",
            database_port,
            secrets[DATABASE_PASSWORD],
            secrets[SERVICES_PASSWORD],
            secrets[ROUTERS_PASSWORD],
        )
        database_url, owner_url = database.url, database.owner_url
        routers_url = database.routers_url
        services.append(
            Service(
                "postgres",
                tuple(database.argv),
                ready=lambda log: database.is_ready(),
                prepare=lambda unavailable: database.prepare(),
                stop_signal=postgres.STOP_SIGNAL,
                stop_grace_s=30,
                address=f"{HOST}:{database_port}",
            )
        )
    if broker_url is None:
        broker = Valkey(options.home / "valkey", broker_port, secrets[BROKER_PASSWORD])
        broker_url = broker.url
        services.append(
            Service(
                "valkey",
                tuple(broker.argv),
                ready=lambda log: broker.is_ready(),
                prepare=lambda unavailable: broker.prepare(),
                stop_signal=valkey.STOP_SIGNAL,
                address=f"{HOST}:{broker_port}",
            )
        )
    urls = {"DATABASE_URL": database_url, "BROKER_URL": broker_url}
    return DataServices(services, urls, owner_url, routers_url)


def _worker(pool: str, url: str, protocol: str, slots: int) -> Worker:
    return Worker(
        worker=f"{pool}-0",
        pool=pool,
        url=url,
        protocol=protocol,
        slots=slots,
        emulated=False,
        priors={},
        engines={},
        left_out="",
    )


def _llama_backends() -> list[Backend]:
    """SmolLM2 on two pools of different speed, so that routing has something to decide."""
    backends = []
    for pool, slots, threads in (("llama-fast", 2, 2), ("llama-small", 1, 1)):
        (port,) = free_ports(1)
        words = ["--port", port, "--slots", slots, "--threads", threads]
        service = Service(
            pool,
            _python("-m", "workers.backends.llama_cpp", *map(str, words)),
            ready=once_logged(WARM, answers_http(port, "/health")),
            address=f"{HOST}:{port}",
            essential=False,
        )
        url = f"http://{HOST}:{port}"
        backends.append(Backend(service, (_worker(pool, url, "openai", slots),)))
    return backends


def _triton_backends(home: Path) -> list[Backend]:
    """The fraud scorer and the embeddings on two Tritons, with and without dynamic batching."""
    backends = []
    for profile, slots in (("batched", 16), ("single", 1)):
        pool = f"triton-{profile}"
        http_port, grpc_port, metrics_port = free_ports(3)
        service = Service(
            pool,
            _python(
                *("-m", "workers.backends.triton", "--profile", profile),
                *("--http-port", str(http_port), "--grpc-port", str(grpc_port)),
                *("--metrics-port", str(metrics_port), "--home", str(home / "triton" / profile)),
            ),
            ready=answers_http(http_port, "/v2/health/ready"),
            address=f"{HOST}:{http_port}",
            essential=False,
        )
        # One of the two is called over gRPC, so that both ways are always in use.
        over_grpc = f"grpc://{HOST}:{grpc_port}", "oip_grpc"
        url, protocol = (f"http://{HOST}:{http_port}", "oip") if slots > 1 else over_grpc
        backends.append(Backend(service, (_worker(pool, url, protocol, slots),)))
    return backends


def _emulator() -> Backend:
    """One process that stands for the whole emulated fleet."""
    (port,) = free_ports(1)
    service = Service(
        "emulator",
        _python("-m", "workers.backends.emulator", "--port", str(port)),
        ready=answers_http(port, "/health"),
        address=f"{HOST}:{port}",
        essential=False,
    )
    workers = tuple(
        Worker(
            worker=emulated.id,
            pool=emulated.pool.name,
            url=f"http://{HOST}:{port}/{emulated.id}",
            protocol=emulated.protocol,
            slots=emulated.slots,
            emulated=True,
            priors=emulated.priors_ms(),
            engines=emulated.engines(),
            left_out="",
        )
        for emulated in EMULATED_WORKERS.values()
    )
    return Backend(service, workers)


def _fleet_writer(path: Path, backends: list[Backend]) -> Callable[[Mapping[str, str]], None]:
    def write(unavailable: Mapping[str, str]) -> None:
        fleet = [
            {**worker, "left_out": unavailable.get(backend.service.name, "")}
            for backend in backends
            for worker in backend.workers
        ]
        path.write_text(json.dumps(fleet, indent=2) + "\n")

    return write


def _routers(options: Options, needs: tuple[str, ...]) -> list[Service]:
    ports = options.own_router_ports
    if len(ports) == 1:
        return [_router("router", options, ports[0], {}, needs)]
    return [
        _router(f"router-{number}", options, port, _one_of_several(options, port), needs)
        for number, port in enumerate(ports, start=1)
    ]


def _one_of_several(options: Options, port: int) -> dict[str, str]:
    return {"ROUTER_PUBLIC_PORT": str(options.router_port), "ROUTER_ID": _router_id(port)}


def _router_id(port: int) -> str:
    """As a router calls itself that is given no id."""
    return f"{socket.gethostname()}:{port}"


def _settling(options: Options) -> list[Service]:
    """For each router of an earlier start that is not in this one: settle what it left."""
    journals = options.home / "journal"
    kept = sorted(int(path.name) for path in journals.glob("*") if path.name.isdecimal())
    return [
        Service(
            f"settle-{port}",
            _python("-m", "router", "--settle"),
            needs=("seed",),
            env={"ROUTER_PORT": str(port), "ROUTER_ID": _router_id(port)},
            job=True,
            essential=False,
        )
        for port in kept
        if port not in options.own_router_ports
    ]


def _router(
    name: str, options: Options, port: int, env: Mapping[str, str], needs: tuple[str, ...]
) -> Service:
    return Service(
        name,
        _python("-m", "router"),
        ready=answers_http(port, "/readyz"),
        needs=needs,
        env={
            **env,
            "ROUTER_PORT": str(port),
            "ROUTER_GRPC_PORT": str(options.router_grpc_port),
            "ROUTER_JOBS_URL": options.web_url,
            "ROUTER_CORS_ORIGINS": f"{options.web_url},http://localhost:{options.web_port}",
            # Ctrl-C should not wait for a long answer to end.
            "ROUTER_DRAIN_S": "5",
        },
        address=f"http://{HOST}:{port}",
        build=os.environ.get("ROUTER_BUILD", "plain"),
        stop_grace_s=15,
    )


def _web(options: Options, needs: tuple[str, ...]) -> Service:
    return Service(
        "web",
        _python(
            *("-m", "granian", "--interface", "asginl", "--host", HOST),
            *("--port", str(options.web_port), "--workers", "1", "--backlog", "4096"),
            *("--http1-header-read-timeout", "10000", "marketplace.config.asgi:application"),
        ),
        # A refused or moved page is an answer too.
        ready=answers_http(options.web_port, "/", below=500),
        # Constant text: while the database is away no page is there, and a restart mends nothing.
        alive=answers_http(options.web_port, "/robots.txt"),
        needs=needs,
        address=options.web_url,
    )


def _jobs(needs: tuple[str, ...]) -> list[Service]:
    celery = ("-m", "celery", "-A", "workers.celery_app")

    def worker(queue: Queue) -> Service:
        words = ("--queues", queue, "--hostname", f"{queue}@%h")
        return Service(
            f"jobs-{queue}",
            _python(*celery, "worker", "--loglevel", "INFO", *words),
            ready=logged(" ready."),
            ready_once=True,
            needs=needs,
            env=SKIPS_CHECKS,
            essential=False,
        )

    return [
        *map(worker, Queue),
        Service(
            "beat",
            _python(*celery, "beat", "--loglevel", "INFO", "--pidfile", ""),
            ready=logged("beat: Starting"),
            ready_once=True,
            needs=needs,
            essential=False,
        ),
    ]
