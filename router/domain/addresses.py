"""Which addresses a worker may have: public ones, and those in networks that an operator names.

A provider names the URLs of its workers. Without this check, a provider could make the router call
what only the router can reach: its database, a neighbour's machine, a cloud's metadata service.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

EVERYWHERE = ("0.0.0.0/0", "::/0")
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
"""All public IPv6 addresses are in it; the rest is private or reserved."""
_RESERVED = tuple(
    ip_network(block)
    # For protocol assignments (some clouds have a metadata service there), 6to4 relays and
    # documentation. Some versions of Python's `ipaddress` count them as global.
    for block in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "3fff::/20")
)


def host_and_port(host: str, port: int) -> str:
    """As they stand in a URL, and as gRPC and ZeroMQ take them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AddressPolicy:
    """``networks`` are CIDR blocks that may be reached besides public addresses.

    Without ``public`` they alone may.
    """

    def __init__(self, networks: Iterable[str] = (), *, public: bool = True) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(network) for network in networks)
        self._public = public

    def allows(self, text: str) -> bool:
        """Whether the router may connect to an address, given in its usual notation."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        address = _embedded(address)
        return (self._public and _is_public(address)) or _is_in(address, self._networks)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and not _is_in(address, _RESERVED)


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that wraps it: mapped, 6to4, Teredo or NAT64."""
    if isinstance(address, IPv4Address):
        return address
    teredo = address.teredo
    inner = address.ipv4_mapped or address.sixtofour or (teredo and teredo[1])
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
