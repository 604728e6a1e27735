"""Writes files on the router's own disk whole or not at all."""

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, body: bytes) -> None:
    """Replace the file's content; it survives a power loss. Blocking; raises ``OSError``.

    Several routers may share a file, so each writes its own temporary one. Only the owner may read
    either, because they hold digests of keys and addresses of workers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
