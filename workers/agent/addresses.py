"""Hosts and ports, as they are written together."""

LOOPBACK, LOOPBACK_V6 = "127.0.0.1", "::1"
EVERYWHERE, EVERYWHERE_V6 = "0.0.0.0", "::"  # noqa: S104  # routers are on other hosts


def host_and_port(host: str, port: int | str | None) -> str:
    """As in a URL: an IPv6 address in brackets, and nothing behind it without a port."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def is_v6(host: str) -> bool:
    """Whether it is an IPv6 address; a name may be one of both."""
    return ":" in host and "://" not in host
