"""Who this agent is at its marketplace: kept in a file that only its user can read."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "agent.json"


class StateBroken(Exception):
    """The file is there and cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What registration gave: the name, the pool, and the credential."""

    marketplace: str
    name: str
    pool: str
    credential: str


def identity_read(folder: Path, marketplace: str) -> Identity | None:
    """The one of this marketplace, or None before the first registration.

    Raises :class:`StateBroken`.
    """
    path = folder / FILE
    try:
        found = Identity(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StateBroken(f"{path} cannot be read: {error}") from error
    if found.marketplace != marketplace:
        raise StateBroken(
            f"{path} is for {found.marketplace}: use another --state for {marketplace}"
        )
    return found


def folder_check(folder: Path) -> None:
    """Raises :class:`StateBroken` where no identity could be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StateBroken(f"{folder} cannot be written: {error}") from error


def identity_write(folder: Path, identity: Identity) -> None:
    """Whole or not at all. Raises :class:`StateBroken`."""
    folder_check(folder)
    partial = folder / f"{FILE}.new"
    try:
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(identity), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / FILE)
    except OSError as error:
        raise StateBroken(f"{folder} cannot be written: {error}") from error
