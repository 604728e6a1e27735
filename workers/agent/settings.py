"""The agent's settings: from its arguments, a TOML file and the environment."""

import argparse
import os
import re
import shlex
import socket
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from workers.agent.addresses import EVERYWHERE, EVERYWHERE_V6, is_v6
from workers.agent.engines import KINDS, WARM_UPS
from workers.agent.launch import COMMANDS, LaunchWrong, Split

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,59}$")
PATH = re.compile(r"^(/[A-Za-z0-9._~-]+)+$")
TASKS = (*WARM_UPS, "tensors")
SLOTS_MAX = 10_000
GANG_SIZE_MAX = 64
DEVICES_MAX = 1_024
PORT_MAX = 65_500
"""There must be room for those of further servers."""
MODEL_CHARACTERS, VERSION_CHARACTERS, URL_CHARACTERS = 200, 80, 300
"""The marketplace takes no report with more."""
ADDRESS_CHARACTERS = URL_CHARACTERS - len("http://:65535")


class SettingsWrong(Exception):
    """One line that names what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An inference server: one that runs already (``adopt``), or how one is started.

    Two that are equal are the same server; a change is a new version. One of a ``gang`` is a part
    of a server: only that of rank 0 answers calls.
    """

    engine: str
    model: str = ""
    served_name: str = ""
    model_version: str = ""
    task: str = "chat"
    slots: int = 1
    adopt: str = ""
    command: tuple[str, ...] = ()
    path: str = ""
    gang: str = ""
    gang_size: int = 1
    rank: int = 0

    @property
    def called(self) -> str:
        """The name that clients know the model by."""
        return self.served_name or self.model


@dataclass(frozen=True, slots=True)
class Settings:
    """One agent. ``port`` is the first of its servers' ports.

    ``advertise`` is the host by which routers reach them, or a URL with ``{port}``; "" is that of
    the server which is adopted. ``server_key`` is what they ask for, "" for none.
    """

    marketplace: str
    token: str
    state: Path
    name: str
    advertise: str
    port: int
    gpus: tuple[int, ...]
    drain_s: float
    start_timeout_s: float
    engine: EngineSpec
    server_key: str = ""


def settings_read(words: Sequence[str]) -> Settings:
    """Of the command line, over its ``--config`` file. Raises :class:`SettingsWrong`."""
    parser = _parser()
    config = parser.parse_known_args(words)[0].config
    if config is not None:
        parser.set_defaults(**_file_read(config, parser))
    given = parser.parse_args(words)
    for wanted in ("marketplace", "engine"):
        if not getattr(given, wanted):
            raise SettingsWrong(f"--{wanted} is needed")
    return Settings(
        marketplace=_marketplace(given.marketplace, given.insecure_http),
        token=given.token or os.environ.get("WAYPOST_WORKER_TOKEN", ""),
        state=Path(given.state).expanduser(),
        name=_name(given.name),
        advertise=_advertise(given.advertise, bool(given.adopt)),
        port=int(_within("port", given.port, 1, PORT_MAX)),
        gpus=_gpus(given.gpus),
        drain_s=_within("drain-s", given.drain_s, 0, 86_400),
        start_timeout_s=_within("start-timeout-s", given.start_timeout_s, 1, 86_400),
        engine=_engine(given),
        server_key=_server_key(os.environ.get("WAYPOST_SERVER_KEY", "")),
    )


def _engine(given: argparse.Namespace) -> EngineSpec:
    if given.engine not in KINDS:
        raise SettingsWrong(f"--engine {given.engine!r} is none of {', '.join(KINDS)}")
    if given.task not in TASKS:
        raise SettingsWrong(f"--task {given.task!r} is none of {', '.join(TASKS)}")
    gang = _gang(given)
    command = tuple(shlex.split(given.command)) or _command(given)
    if bool(given.adopt) == bool(command):
        raise SettingsWrong("one of --adopt URL and --command WORDS is needed, and not both")
    if command and not given.rank and not any("{port}" in word for word in command):
        raise SettingsWrong("--command has no {port}: the agent chooses the port of each server")
    if given.adopt:
        _url("adopt", given.adopt)
    if given.path and not PATH.match(given.path):
        raise SettingsWrong(f"--path must look like /inside, not {given.path!r}")
    if given.task in WARM_UPS and not given.rank and not (given.served_name or given.model):
        raise SettingsWrong("--served-name is needed: a first call warms the model up")
    _at_most("served-name", given.served_name or given.model, MODEL_CHARACTERS)
    _at_most("model-version", given.model_version, VERSION_CHARACTERS)
    _at_most("adopt", given.adopt, URL_CHARACTERS)
    _at_most("advertise and --path", given.advertise + given.path, ADDRESS_CHARACTERS)
    values = {field.name: getattr(given, field.name) for field in fields(EngineSpec)}
    values |= {
        **gang,
        "command": command,
        "adopt": given.adopt.rstrip("/"),
        "slots": int(_within("slots", given.slots, 1, SLOTS_MAX)),
    }
    return EngineSpec(**values)


def _gang(given: argparse.Namespace) -> dict[str, object]:
    size, rank = int(given.gang_size), int(given.rank)
    if (size > 1) != bool(given.gang):
        raise SettingsWrong("--gang NAME and --gang-size, of 2 or more, belong together")
    if not 0 <= rank < size <= GANG_SIZE_MAX:
        raise SettingsWrong(f"--rank must be from 0 to --gang-size - 1, at most {GANG_SIZE_MAX}")
    if rank and given.adopt:
        raise SettingsWrong("--adopt is for rank 0: of the others the agent sees only its own")
    return {"gang": _name(given.gang) if given.gang else "", "gang_size": size, "rank": rank}


def _command(given: argparse.Namespace) -> tuple[str, ...]:
    """The command of an engine that we know how to start; empty if it is adopted or unknown."""
    if given.adopt or given.engine not in COMMANDS or not given.model:
        return ()
    split = Split(
        tensor=int(_within("tensor-parallel", given.tensor_parallel, 1, DEVICES_MAX)),
        pipeline=int(_within("pipeline-parallel", given.pipeline_parallel, 1, DEVICES_MAX)),
        hosts=int(given.gang_size),
        rank=int(given.rank),
        head=given.head,
        gang=given.gang,
    )
    try:
        here = split.devices_here
        chosen = len(_gpus(given.gpus))
        if chosen and chosen != here:
            raise SettingsWrong(f"--gpus names {chosen} devices, but this host's part takes {here}")
        make = COMMANDS[given.engine]
        host = EVERYWHERE_V6 if is_v6(given.advertise) else EVERYWHERE
        return make(given.model, given.served_name or given.model, int(given.slots), split, host)
    except LaunchWrong as error:
        raise SettingsWrong(f"{given.engine}: {error}") from error


def _file_read(path: Path, parser: argparse.ArgumentParser) -> dict[str, object]:
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsWrong(f"--config {path}: {error}") from error
    kinds = {action.dest: type(action.default) for action in parser._actions}
    values: dict[str, object] = {}
    for name, value in found.items():
        dest = name.replace("-", "_")
        if dest not in kinds or dest in ("config", "help", "token"):
            raise SettingsWrong(f"--config {path}: there is no setting {name!r} for a file")
        wanted = kinds[dest]
        if type(value) is not wanted and (type(value), wanted) != (int, float):
            raise SettingsWrong(f"--config {path}: {name} must be {wanted.__name__}, not {value!r}")
        values[dest] = value
    return values


def _advertise(wanted: str, adopts: bool) -> str:
    if not wanted:
        return "" if adopts else socket.gethostname()
    if "://" not in wanted:
        return wanted.strip("[]")
    _url("advertise", wanted.replace("{port}", "1"))
    if "{port}" not in wanted and not adopts:
        raise SettingsWrong(
            f"--advertise {wanted} has no {{port}}: the next version's server is at another port"
        )
    return wanted.rstrip("/")


def _server_key(key: str) -> str:
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsWrong("WAYPOST_SERVER_KEY must be ASCII without spaces, as in a header")
    return key


def _marketplace(url: str, insecure: bool) -> str:
    host = _url("marketplace", url)
    if not url.startswith("https://") and host not in LOOPBACK and not insecure:
        raise SettingsWrong(
            f"--marketplace {url} is not https: the agent's credential would be readable on the"
            " way; --insecure-http where the network is trusted"
        )
    return url.rstrip("/")


def _url(name: str, url: str) -> str:
    """Its host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise SettingsWrong(f"--{name} {url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https", "grpc") or not host or parts.query:
        raise SettingsWrong(f"--{name} must look like https://host[:port], not {url!r}")
    return host


def _name(wanted: str) -> str:
    if not NAME.match(wanted):
        raise SettingsWrong(
            f"--name {wanted!r}: lower case letters, digits, . _ and - only, 60 at most"
        )
    return wanted


def _within(name: str, value: float, least: float, most: float) -> int | float:
    if not least <= value <= most:
        raise SettingsWrong(f"--{name} must be from {least} to {most}, not {value}")
    return value


def _at_most(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise SettingsWrong(f"--{name} may have {most} characters, not {len(text)}")


def _gpus(text: str) -> tuple[int, ...]:
    words = [word for word in text.split(",") if word]
    if not all(word.isdecimal() for word in words):
        raise SettingsWrong(f"--gpus must look like 0,1, not {text!r}")
    return tuple(int(word) for word in words)


def _own_name() -> str:
    return re.sub(r"[^a-z0-9._-]", "-", socket.gethostname().lower()).strip("-._")[:60] or "host"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.agent")
    add = parser.add_argument
    add("--marketplace", default="", help="where the pages are: https://…")
    add("--token", default="", help="a one-time token, at the first start; or WAYPOST_WORKER_TOKEN")
    add("--config", type=Path, help="a TOML file of these settings; read again at SIGHUP")
    add("--state", default="~/.waypost-agent", help="a folder for the agent's credential")
    add("--name", default=_own_name(), help="what its workers are called by")
    add(
        "--advertise",
        default="",
        help="host by which routers reach the server (default: this host's name, or that of"
        " --adopt), or a URL like https://host/{port}",
    )
    add("--port", type=int, default=8000, help="of the server; a new version begins ten further")
    add("--gpus", default="", help="indices of the devices to use, like 0,1; default: all")
    add("--drain-s", type=float, default=120.0, help="how long running calls may take to end")
    add("--start-timeout-s", type=float, default=900.0, help="how long a server may take to start")
    add("--insecure-http", action="store_true", help="allow http to other hosts")
    add("--engine", default="", help=" | ".join(KINDS))
    add("--model", default="", help="what the server loads")
    add("--served-name", default="", help="the model's name for clients; default: --model")
    add("--model-version", default="", help="shown to people")
    add("--task", default="chat", help=f"how the model is warmed up: {' | '.join(TASKS)}")
    add("--slots", type=int, default=1, help="how many requests it runs at once")
    add("--adopt", default="", help="URL of a server that runs already")
    add("--command", default="", help="how it is started, with {port} in it; vLLM and SGLang: ours")
    add("--path", default="", help="what its URL has behind host and port, like /inside")
    add("--tensor-parallel", type=int, default=1, help="devices that share each layer")
    add("--pipeline-parallel", type=int, default=1, help="groups of them, one after the other")
    add("--gang", default="", help="name of the gang that this host has a part of")
    add("--gang-size", type=int, default=1, help="how many hosts serve as one")
    add("--rank", type=int, default=0, help="of this host in the gang; 0 answers calls")
    add("--head", default="", help="host of rank 0, where the others meet it")
    return parser
