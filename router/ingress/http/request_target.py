"""The target of a request: its path and its query."""

import re
from urllib.parse import unquote

ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
"""The beginning of a target in absolute form."""


def path_and_query(target: bytes) -> tuple[str, str]:
    """Path and query of a target, which proxies' clients send as a whole URL (RFC 9112, 3.2.2)."""
    if target[:4].lower() == b"http" and (absolute := ABSOLUTE.match(target)):
        rest = target[absolute.end() :]
        target = rest if rest.startswith(b"/") else b"/" + rest
    path, _, query = target.decode("ascii", "replace").partition("?")
    return unquote(path) if "%" in path else path, query
