"""The router's settings, read once from the environment. An invalid one stops the start."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec import Struct, field

from router.domain.addresses import EVERYWHERE, AddressPolicy, host_and_port

N = TypeVar("N", int, float)
EVERY_INTERFACE = "::"
"""As ``host``: all addresses of the machine, IPv4 and IPv6, or those that it has."""


class SettingsInvalid(Exception):
    """A setting is missing or invalid; the message names it and what would be right."""


class Limits(Struct, frozen=True):
    """Every bound of the data plane. Environment: ``ROUTER_`` + the name in capitals."""

    body_bytes_max: int = 10 * 1024 * 1024
    """Largest request body; 413 beyond it."""
    file_bytes_max: int = 201_000_000
    """Largest body of a ``POST`` to ``/v1/files``; 413 beyond it."""
    jobs_max: int = 256
    """Most requests about files, batches, pipelines and predictions at once; 503 beyond it."""
    jobs_silence_s: float = 120.0
    """Longest time that the web process takes nothing of such a request and says nothing."""
    pending_body_bytes_max: int = 512 * 1024 * 1024
    """Most bytes of all HTTP bodies together, as they arrive and as their calls run; 503 beyond."""
    header_bytes_max: int = 32 * 1024
    """Largest head of a request; 431 beyond it."""
    header_timeout_s: float = 10.0
    """Longest time for the head of a request to come; 408 beyond it."""
    body_timeout_s: float = 60.0
    """Longest time for the body of a request to come; 408 beyond it."""
    idle_timeout_s: float = 75.0
    """How long a client's connection without a call is kept."""
    client_stall_s: float = 60.0
    """Longest time that a client may not read its answer; its call ends beyond it."""
    calls_max: int = 20_000
    """Most calls that run or wait on one router; 503 beyond it."""
    watchers_max: int = 16
    """Most streams of ``/admin/state``; 503 beyond it."""
    watch_interval_s: float = 1.0
    """How often such a stream tells the state."""
    idempotent_bytes_max: int = 1024 * 1024
    """Largest answer that is kept for an Idempotency-Key; larger ones run again."""
    idempotency_ttl_s: float = 86_400.0
    """How long such an answer is kept."""
    idempotency_claim_s: float = 600.0
    """How long a call keeps a key without renewing it; a running call renews it."""
    response_ttl_s: float = 30 * 86_400.0
    """How long a response that is stored can be gone on from."""
    progress_s: float = 2.0
    """How often a stream that asks for it (``X-Route-Progress: 1``) is told where its call stands
    until its answer begins."""
    quiet_s: float = 20.0
    """How long a stream is silent before its answer begins; then it gets such comments too. 0:
    none."""
    queue_max: int = 2_000
    """Most requests that may wait for a worker, and as many for one to start; 429 beyond it."""
    queue_wait_s: float = 30.0
    """Longest wait for a worker; 429 beyond it."""
    start_wait_s: float = 300.0
    """Longest wait of a call for a pool without workers to start one; 503 beyond it."""
    batch_slot_share: float = 0.1
    """Share of a worker's slots for batch work while others call, one slot at least; 1: all."""
    batch_quiet_s: float = 5.0
    """How long a worker is sent nothing else before batch work takes all of its slots."""
    connect_timeout_s: float = 1.0
    """Longest time to open a connection to a worker."""
    silence_timeout_s: float = 60.0
    """Longest silence of a worker, before its first byte or within an answer."""
    stream_max_s: float = 3_600.0
    """Longest that a stream may take; it is cut off, and what was delivered is billed."""
    event_bytes_max: int = 1024 * 1024
    """Largest server-sent event accepted from a worker."""
    answer_bytes_max: int = 64 * 1024 * 1024
    """Largest whole answer accepted from a worker."""
    grpc_ahead_bytes: int = 1024 * 1024
    """How far a sender of gRPC may be ahead of its reader, for each stream."""
    attempts_max: int = 3
    """Most workers that one request is tried on."""
    hardware_max_s: float = 600.0
    """Longest hardware time that a call priced by the second is held and charged for."""
    lease_nano: int = 500_000_000
    """Credit that the router takes in advance for an account, in nano-USD."""
    lease_ttl_s: int = 600
    """How long a slice of credit is used before a new one is taken."""
    unsettled_max: int = 100_000
    """Most finished calls that may wait for the database; admission stops beyond it."""
    snapshot_age_max_s: float = 300.0
    """Longest time on a catalog that the database has not confirmed; 503 beyond it."""
    learned_max_age_s: float = 86_400.0
    """Oldest knowledge of workers that is used after a restart; 0 keeps none."""
    member_ttl_s: float = 3.0
    """How long a router is a member, and holds its leases on slots, after its last beat."""
    engine_poll_s: float = 1.0
    """How often an engine is asked how many requests it has; 0 asks none."""
    engine_poll_timeout_s: float = 0.5
    """How long that may take."""
    engine_poll_bytes_max: int = 2_000_000
    """Most that an engine's metrics may have."""
    prefix_blocks_max: int = 200_000
    """Most blocks of prompts that are remembered, of all engines together."""
    kv_blocks_max: int = 500_000
    """Most blocks of KV caches that are followed, of all engines together."""
    kv_message_bytes_max: int = 1_000_000
    """Largest message about a KV cache that is accepted from an engine."""
    drain_s: float = 60.0
    """How long a stopping router lets running calls finish."""


MAY_BE_ZERO = frozenset({"learned_max_age_s", "engine_poll_s", "quiet_s"})
"""Limits that 0 turns off."""


class Settings(Struct, frozen=True, kw_only=True):
    """What :func:`router.app.serve` needs. With ``fleet_path`` the router is standalone."""

    host: str = "127.0.0.1"
    port: int = 8080
    """Its own port: operators and other routers reach this very router there."""
    public_port: int = 0
    """A port that it shares with the machine's other routers, as their ``grpc_port``; 0 is none."""
    grpc_port: int = 0
    """The port of the Open Inference Protocol over gRPC; 0 is none."""
    router_id: str
    url: str = ""
    """Where other routers reach this one; if empty, its host and port."""
    home: Path
    key_pepper: bytes
    database_url: str = ""
    cors_origins: tuple[str, ...] = ()
    admin_token: str = ""
    upstream_networks: tuple[str, ...] = ()
    """Private networks (CIDR) in which workers may be; public addresses are always allowed."""
    endpoint_networks: tuple[str, ...] = ()
    """The same for organisations' own endpoints, which are called by plain http only there."""
    endpoint_secrets_keys: tuple[bytes, ...] = ()
    """What may have sealed the keys of organisations' own endpoints, the newest first."""
    pages_url: str = ""
    """Where people add credit, for the messages of refused calls; "": not known."""
    jobs_url: str = ""
    """The web process, which serves files, batches, pipelines and predictions; "": nobody does."""
    log_calls: bool = False
    """Whether each finished call is a line in the log."""
    trace_share: float | None = None
    """The share of traces beginning here that is exported; None exports no trace at all."""
    fleet_path: Path | None = None
    fleet_key: str = ""
    limits: Limits = field(default_factory=Limits)

    @property
    def advertised_url(self) -> str:
        """``url``, or the URL of host and port."""
        return self.url or f"http://{host_and_port(self.host, self.port)}"


def settings_from_env(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a router that serves the marketplace. Raises :class:`SettingsInvalid`."""
    env = os.environ if environ is None else environ
    port = _number(env, "ROUTER_PORT", 8080)
    return Settings(
        host=env.get("ROUTER_HOST", "127.0.0.1"),
        port=port,
        public_port=_number(env, "ROUTER_PUBLIC_PORT", 0, may_be_zero=True),
        grpc_port=_number(env, "ROUTER_GRPC_PORT", 0, may_be_zero=True),
        router_id=env.get("ROUTER_ID") or f"{socket.gethostname()}:{port}",
        url=env.get("ROUTER_URL", "").rstrip("/"),
        home=Path(env.get("WAYPOST_HOME", ".waypost")),
        key_pepper=_required(env, "WAYPOST_KEY_PEPPER").encode(),
        database_url=_required(env, "DATABASE_URL"),
        cors_origins=_list(env, "ROUTER_CORS_ORIGINS"),
        admin_token=env.get("ROUTER_ADMIN_TOKEN", ""),
        upstream_networks=_networks(env, "ROUTER_UPSTREAM_NETWORKS"),
        endpoint_networks=_networks(env, "WAYPOST_ENDPOINT_NETWORKS"),
        endpoint_secrets_keys=tuple(
            key.encode() for key in _list(env, "WAYPOST_ENDPOINT_SECRETS_KEYS")
        ),
        pages_url=env.get("WAYPOST_PUBLIC_URL", "").rstrip("/"),
        jobs_url=_jobs_url(env),
        log_calls=env.get("ROUTER_LOG_CALLS", "0") == "1",
        trace_share=_trace_share(env),
        limits=limits_from_env(env),
    )


def standalone_settings(
    *,
    fleet_path: Path,
    host: str,
    port: int,
    key: str,
    grpc_port: int = 0,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings of a standalone router over a static fleet: no marketplace, no database."""
    env = os.environ if environ is None else environ
    return Settings(
        host=host,
        port=port,
        grpc_port=grpc_port,
        router_id=f"standalone:{port}",
        home=Path(env.get("WAYPOST_HOME", ".waypost")),
        key_pepper=b"standalone",
        cors_origins=_list(env, "ROUTER_CORS_ORIGINS"),
        admin_token=key,
        upstream_networks=EVERYWHERE,  # The person who starts the router also names the workers.
        fleet_path=fleet_path,
        fleet_key=key,
        log_calls=env.get("ROUTER_LOG_CALLS", "0") == "1",
        trace_share=_trace_share(env),
        limits=limits_from_env(env),
    )


def limits_from_env(env: Mapping[str, str]) -> Limits:
    """The bounds, each of which the environment may override. A number must be positive, or 0
    where that turns the limit off.
    """
    defaults = Limits()
    values = {
        name: _number(
            env,
            f"ROUTER_{name.upper()}",
            getattr(defaults, name),
            may_be_zero=name in MAY_BE_ZERO,
        )
        for name in Limits.__struct_fields__
    }
    return Limits(**values)


def check_ports(settings: Settings) -> None:
    """Raises :class:`SettingsInvalid` if the router cannot listen on one of its ports."""
    shares = bool(settings.public_port)
    _check_port(settings.host, settings.port, shares=False)
    for port in filter(None, (settings.public_port, settings.grpc_port)):
        _check_port(settings.host, port, shares=shares)


def _check_port(host: str, port: int, *, shares: bool) -> None:
    if host == EVERY_INTERFACE and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - what is left of it where the kernel has no IPv6
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsInvalid(
                f"cannot listen on {host_and_port(host, port)} ({error.strerror}); choose another "
                "ROUTER_PORT or --port"
            ) from None


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise SettingsInvalid(f"{name} is not set; `manage.py up` sets it, or see docs/reference")
    return value


def _jobs_url(env: Mapping[str, str]) -> str:
    url = env.get("ROUTER_JOBS_URL", "").rstrip("/")
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.path):
        raise SettingsInvalid(f"ROUTER_JOBS_URL={url!r} must look like http://host[:port]")
    return url


def _trace_share(env: Mapping[str, str]) -> float | None:
    share = _number(env, "ROUTER_TRACE_SHARE", 1.0)
    if share > 1:
        raise SettingsInvalid(f"ROUTER_TRACE_SHARE={share} must be at most 1")
    return share if env.get("OTEL_EXPORTER_OTLP_ENDPOINT") else None


def _list(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, (item.strip() for item in env.get(name, "").split(","))))


def _networks(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    networks = _list(env, name)
    try:
        AddressPolicy(networks)
    except ValueError as error:
        raise SettingsInvalid(f"{name}: {error}; give CIDR blocks as 10.0.0.0/8") from None
    return networks


def _number(env: Mapping[str, str], name: str, default: N, *, may_be_zero: bool = False) -> N:
    text = env.get(name)
    if text is None:
        return default
    try:
        value = type(default)(text)
    except ValueError:
        raise SettingsInvalid(f"{name}={text!r} is not a number") from None
    if value < 0 or (value == 0 and not may_be_zero):
        raise SettingsInvalid(f"{name}={text} must be positive{' or 0' * may_be_zero}")
    return value
