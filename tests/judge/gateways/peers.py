"""How each gateway is installed and started, in one small adapter each.

For all: the scenario's timeout upstream, 1 s to connect and two retries where that can be set,
health checks every 2 s where there are any, no access log, else as it comes.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.bootstrap import UV
from tests.judge.workers.fleet import Speaks
from tests.judge.workers.hardware import Worker

ROOT = Path(__file__).parents[3]
KEY = "sk-judge"
NOTHING: Mapping[str, str] = {}
INSTALL_S = 600.0


class Site(Struct, frozen=True):
    """A gateway's place: its port, a spare port, its own folder, the fleet's ports."""

    port: int
    spare_port: int
    folder: Path
    tools: Path
    workers: tuple[Worker, ...]
    worker_ports: tuple[int, ...]
    timeout_s: float

    @property
    def addresses(self) -> list[str]:
        """Host and port of each worker."""
        return [f"127.0.0.1:{port}" for port in self.worker_ports]

    def file(self, name: str, text: str) -> str:
        """Write a configuration; returns its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


class Peer(Struct, frozen=True):
    """A gateway. ``package`` is pinned and from PyPI, ``program`` has to be on the machine."""

    command: Callable[[Site], list[str]]
    package: str = ""
    program: str = ""
    headers: Mapping[str, str] = NOTHING
    environment: Mapping[str, str] = NOTHING
    speaks: Speaks = "vllm"


class CannotInstall(Exception):
    """A peer that this machine does not have; the message is one line."""


def home(tools: Path, package: str) -> Path:
    """The environment of a package."""
    return tools / package.replace("==", "-")


def install(name: str, tools: Path) -> None:
    """Install a peer once: about 100 MB from PyPI. Raises ``CannotInstall``."""
    peer = PEERS[name]
    if peer.program and shutil.which(peer.program) is None:
        raise CannotInstall(f"{name}: there is no {peer.program} on this machine, left out")
    if not peer.package:
        return
    folder = home(tools, peer.package)
    if (folder / "installed").exists():
        return
    python = str(folder / "bin" / "python")
    make = ["venv", "--clear", "--python", sys.executable, str(folder)]
    for arguments in (make, ["pip", "install", "--python", python, peer.package]):
        try:
            subprocess.run(
                [str(UV), *arguments], capture_output=True, text=True, timeout=INSTALL_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            why = said.strip().splitlines()[-1]
            raise CannotInstall(f"{name}: {peer.package}: {why}, left out") from None
    (folder / "installed").touch()


def _ours(site: Site) -> list[str]:
    fleet = [
        {
            "id": worker.name,
            "url": f"http://{address}",
            "class": worker.hardware.kind,
            "slots": worker.slots,
        }
        for worker, address in zip(site.workers, site.addresses, strict=True)
    ]
    path = site.file("fleet.json", msgspec.json.encode(fleet).decode())
    command = [sys.executable, "-m", "router", "--fleet", path, "--port", str(site.port)]
    return [*command, "--key", KEY]


def _nginx(method: str) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        servers = "\n".join(f"    server {address};" for address in site.addresses)
        folder = site.folder
        path = site.file(
            "nginx.conf",
            f"""daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 128k;
  keepalive_requests 1000000;
  upstream fleet {{
    {method}
{servers}
    keepalive 128;
    keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{site.port} backlog=1024;
    location / {{
      proxy_pass http://fleet;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_connect_timeout 1s;
      proxy_read_timeout {site.timeout_s:g}s;
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504 http_429 non_idempotent;
      proxy_next_upstream_tries 3;
    }}
  }}
}}
""",
        )
        return ["nginx", "-c", path, "-e", f"{folder}/start.log"]

    return command


def _haproxy(balance: str, *, told_slots: bool = False) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        lines: list[str] = []
        for worker, address in zip(site.workers, site.addresses, strict=True):
            most = f" maxconn {worker.slots}" if told_slots else ""
            lines.append(f"  server {worker.name} {address} check inter 2s{most}")
        servers = "\n".join(lines)
        path = site.file(
            "haproxy.cfg",
            f"""global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout queue 15s
  timeout server {site.timeout_s:g}s
  retries 2
  option redispatch 1
  option http-no-delay
  option httpchk GET /health
  retry-on conn-failure empty-response response-timeout 500 502 503 504
  http-reuse always
frontend callers
  bind 127.0.0.1:{site.port}
  default_backend fleet
backend fleet
  balance {balance}
{servers}
""",
        )
        return ["haproxy", "-db", "-q", "-f", path]

    return command


def _rust(package: str, launch: tuple[str, ...], policy: str) -> Callable[[Site], list[str]]:
    """sglang-router, and vllm-router and smg, which come from it."""

    def command(site: Site) -> list[str]:
        program, *first = launch
        options = {
            "--host": "127.0.0.1",
            "--port": site.port,
            "--policy": policy,
            "--log-level": "error",
            "--prometheus-port": site.spare_port,
            "--request-timeout-secs": round(site.timeout_s),
            "--retry-max-retries": 3,
            "--health-check-interval-secs": 2,
            "--health-check-timeout-secs": 1,
            # sglang-router also reads the workers' load this often.
            "--worker-startup-check-interval": 2,
        }
        if package == SMG:
            options["--load-monitor-interval"] = 1
        named = [str(part) for option in options.items() for part in option]
        urls = [f"http://{address}" for address in site.addresses]
        path = str(home(site.tools, package) / "bin" / program)
        return [path, *first, *named, "--worker-urls", *urls]

    return command


SGLANG, VLLM, SMG = "sglang-router==0.3.2", "vllm-router==0.1.17", "smg==1.13.0"
SGLANG_LAUNCH = ("python", "-m", "sglang_router.launch_router")
VLLM_LAUNCH = ("python", "-m", "vllm_router.launch_router")
SMG_LAUNCH = ("smg", "launch")


def _sglang(policy: str) -> Peer:
    return Peer(_rust(SGLANG, SGLANG_LAUNCH, policy), package=SGLANG, speaks="sglang")


def _vllm(policy: str) -> Peer:
    return Peer(_rust(VLLM, VLLM_LAUNCH, policy), package=VLLM)


def _smg(policy: str) -> Peer:
    return Peer(_rust(SMG, SMG_LAUNCH, policy), package=SMG, speaks="sglang")


PEERS = {
    "ours": Peer(
        _ours,
        headers={"Authorization": f"Bearer {KEY}"},
        environment={"PYTHONPATH": str(ROOT)},
    ),
    "nginx-rr": Peer(_nginx(""), program="nginx"),
    "nginx-lc": Peer(_nginx("least_conn;"), program="nginx"),
    "haproxy-lc": Peer(_haproxy("leastconn"), program="haproxy"),
    "haproxy-slots": Peer(_haproxy("leastconn", told_slots=True), program="haproxy"),
    "sglang-p2c": _sglang("power_of_two"),
    "sglang-cache": _sglang("cache_aware"),
    "vllm-p2c": _vllm("power_of_two"),
    "vllm-cache": _vllm("cache_aware"),
    "vllm-hash": _vllm("consistent_hash"),
    "smg-least": _smg("least_load"),
    "smg-cache": _smg("cache_aware"),
    "smg-hash": _smg("prefix_hash"),
}
ORACLE, DIRECT = "oracle", "direct"
TARGETS = (ORACLE, DIRECT, *PEERS)
