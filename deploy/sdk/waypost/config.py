"""Where to call, and as whom: from arguments, the environment, or a file of its owner's."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from waypost.errors import NotConfigured

BASE_URL = "http://127.0.0.1:8080"
MANAGEMENT_URL = "http://127.0.0.1:8000"
QUIET_S = 300.0
"""How long nothing may come of an answer."""
CSRF = "0" * 32
"""A session's requests carry this as cookie and as header, which no other site could."""

ENVIRONMENT = {
    "api_key": "WAYPOST_API_KEY",
    "base_url": "WAYPOST_BASE_URL",
    "management_url": "WAYPOST_MANAGEMENT_URL",
    "session": "WAYPOST_SESSION",
}
PATH = "WAYPOST_CONFIG"
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Settings:
    """What may be kept in the file; None is not set."""

    api_key: str | None = None
    base_url: str | None = None
    management_url: str | None = None
    session: str | None = None


@dataclass(frozen=True)
class Config:
    """Checked and whole. Secrets are not in its text."""

    api_key: str
    base_url: str
    management_url: str
    session: str = ""
    quiet_s: float = QUIET_S

    def __repr__(self) -> str:
        return f"Config(base_url={self.base_url!r}, management_url={self.management_url!r})"

    def headers(self, *, is_router: bool) -> dict[str, str]:
        """Of every request. A session is only for the management API, and goes before the key."""
        if self.session and not is_router:
            return {
                "cookie": f"sessionid={self.session}; csrftoken={CSRF}",
                "x-csrftoken": CSRF,
                "origin": self.management_url,
            }
        if not self.api_key:
            raise NotConfigured(
                f"no API key: give api_key, set {ENVIRONMENT['api_key']}, or run `waypost login`"
            )
        return {"authorization": f"Bearer {self.api_key}"}


def config_of(given: Settings, *, environ: Mapping[str, str], quiet_s: float = QUIET_S) -> Config:
    """What is given wins over the environment, and that over the file.

    Without a management address it is the base address: a gateway in front of both; beside the
    default base address it is the default one of the pages. Raises :class:`NotConfigured`.
    """
    kept = settings_read(settings_path(environ))
    found: dict[str, str] = {}
    for name, variable in ENVIRONMENT.items():
        value = getattr(given, name) or environ.get(variable) or getattr(kept, name) or ""
        found[name] = value.strip()
    base_url = _origin(found["base_url"] or BASE_URL, ENVIRONMENT["base_url"])
    beside = MANAGEMENT_URL if base_url == BASE_URL else base_url
    management_url = _origin(found["management_url"] or beside, ENVIRONMENT["management_url"])
    for name in ("api_key", "session"):
        if found[name] and not _TOKEN.fullmatch(found[name]):
            raise NotConfigured(f"{ENVIRONMENT[name]} has characters that no {name} has")
    if ";" in found["session"]:
        raise NotConfigured(f"{ENVIRONMENT['session']} is the value of one cookie, not several")
    return Config(found["api_key"], base_url, management_url, found["session"], quiet_s)


def _origin(url: str, name: str) -> str:
    """The address without a slash at its end; OpenAI's ``/v1`` at its end is taken off."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise NotConfigured(f"{name} must look like https://host or http://host:8080, got {url!r}")
    return url.rstrip("/").removesuffix("/v1")


# --- the file ---------------------------------------------------------------------------------


def settings_path(environ: Mapping[str, str]) -> Path:
    """``WAYPOST_CONFIG``, or ``waypost/config.json`` in the user's folder of settings."""
    if path := environ.get(PATH):
        return Path(path)
    folder = environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "waypost" / "config.json"


def settings_read(path: Path) -> Settings:
    """What it has; nothing where there is no file. Raises :class:`NotConfigured`.

    A file that others may read is refused: it has a key.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise NotConfigured(f"{path} can be read by others (mode {mode:o}): chmod 600 it")
            read: Any = json.loads(file.read(64 * 1024))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise NotConfigured(f"{path} cannot be read: {error}") from error
    names = {field.name for field in fields(Settings)}
    if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
        raise NotConfigured(f"{path} must be an object of texts: {', '.join(sorted(names))}")
    if unknown := sorted(set(read) - names):
        raise NotConfigured(
            f"{path} has {unknown[0]!r}, which is none of {', '.join(sorted(names))}"
        )
    return Settings(**read)


def settings_write(path: Path, settings: Settings) -> None:
    """Keep them, for the owner alone, all or nothing. Raises :class:`NotConfigured`."""
    values = {name: value for name, value in asdict(settings).items() if value}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes files of mode 600.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(json.dumps(values, indent=1) + "\n")
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NotConfigured(f"{path} cannot be written: {error}") from error


def settings_changed(settings: Settings, name: str, value: str | None) -> Settings:
    """The same with another value of one of them. Raises :class:`NotConfigured`."""
    known = [field.name for field in fields(Settings)]
    if name not in known:
        raise NotConfigured(f"{name!r} is no setting; there are {', '.join(known)}")
    return replace(settings, **{name: value})
