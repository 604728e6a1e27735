"""Files on the router's own disk that are there whole or not at all."""

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, body: bytes) -> None:
    """Have the file hold this instead, also after a power loss. Blocking; raises ``OSError``.

    The temporary one is its own, since several routers may share a file, and nobody else may read
    either: what a router keeps holds digests of keys and addresses of workers.
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
