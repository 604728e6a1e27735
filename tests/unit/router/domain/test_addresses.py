"""Which addresses workers may have."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.addresses import EVERYWHERE, AddressPolicy, host_and_port


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "193.0.6.139"])
def test_public_addresses_may_be_reached(address: str) -> None:
    assert AddressPolicy().allows(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1"),
        *("ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2001:db8::1"),
        *("192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.0.192", "192.88.99.1", "::ffff:0:7f00:1"),
        *("64:ff9b:1::7f00:1", "64:ff9b:1::a9fe:a9fe", "fec0::1", "feff::1", "100::1"),
        *("::127.0.0.1", "::10.0.0.1", "2001:10::1", "2001:20::1", "3fff::1", "5f00::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:0:0:0:0:0:80ff:fffe"),
        *("2130706433", "0x7f000001", "127.1", "localhost", ""),
    ],
)
def test_inside_addresses_may_not(address: str) -> None:
    assert not AddressPolicy().allows(address)


def test_an_operators_own_network_may_be_named() -> None:
    policy = AddressPolicy(["10.1.0.0/16", "fd00::/8"])
    assert policy.allows("10.1.2.3")
    assert policy.allows("::ffff:10.1.2.3")
    assert policy.allows("fd12::1")
    assert not policy.allows("10.2.0.1")


def test_without_public_ones_only_the_named_networks_may_be_reached() -> None:
    policy = AddressPolicy(["10.1.0.0/16"], public=False)
    assert policy.allows("10.1.2.3")
    assert not policy.allows("8.8.8.8")
    assert not policy.allows("10.2.0.1")


@given(st.ip_addresses(v=4))
def test_a_wrapped_address_is_judged_by_what_it_wraps(address: IPv4Address) -> None:
    policy = AddressPolicy()
    for wrapped in (
        IPv6Address(0xFFFF << 32 | int(address)),
        IPv6Address(0x2002 << 112 | int(address) << 80),
        IPv6Address(0x0064FF9B << 96 | int(address)),
    ):
        assert policy.allows(str(wrapped)) == policy.allows(str(address))


@given(st.ip_addresses(v=4))
def test_an_address_is_wrapped_whole(address: IPv4Address) -> None:
    """Of a neighbour's wrapping nothing is allowed by naming this one."""
    policy = AddressPolicy([f"{address}/32"])
    assert policy.allows(str(IPv6Address(0x0064FF9B << 96 | int(address))))


@given(st.ip_addresses())
def test_everywhere_is_everywhere(address: IPv4Address | IPv6Address) -> None:
    assert AddressPolicy(EVERYWHERE).allows(str(address))


@pytest.mark.parametrize(
    ("host", "written"), [("::1", "[::1]:80"), ("127.0.0.1", "127.0.0.1:80"), ("w-0", "w-0:80")]
)
def test_a_host_and_its_port_are_written_as_in_a_url(host: str, written: str) -> None:
    assert host_and_port(host, 80) == written
