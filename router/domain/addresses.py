"""Which addresses a worker may have: public ones, and inside networks that an operator names.

A provider names the URLs of its workers. Without this, one could make the router call what only the
router can reach: its database, a neighbour's machine, a cloud's metadata service.
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


class AddressPolicy:
    """``networks`` are CIDR blocks that may be reached beside what is public."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(one) for one in networks)

    def allows(self, text: str) -> bool:
        """Whether an address, in its usual notation, may be connected to."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        address = _embedded(address)
        return (address.is_global and not address.is_multicast) or self._is_named(address)

    def _is_named(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only wraps: mapped, 6to4, Teredo or NAT64."""
    if isinstance(address, IPv4Address):
        return address
    teredo = address.teredo
    inner = address.ipv4_mapped or address.sixtofour or (teredo and teredo[1])
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
