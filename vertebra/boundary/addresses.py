"""Which network addresses belong to the public: everything else is somebody's inside, and nobody is sent there.

The standard library knows most of the special blocks. It takes some inner addresses for global ones where IPv6 wraps an
IPv4 address, and knows nothing of the hosts that clouds keep at public addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_BESIDES: tuple[IPv4Network | IPv6Network, ...] = (
    IPv4Network("168.63.129.16/32"),  # the host agent of one cloud, at a public address
    IPv4Network("192.0.0.0/24"),  # protocol assignments, among them other metadata servers
    IPv4Network("192.88.99.0/24"),  # relays from 6to4, deprecated
    IPv6Network("2002::/16"),  # 6to4, deprecated: anybody's relay, and releases of Python differ about it
    IPv6Network("fec0::/10"),  # site-local, deprecated and still routed
    IPv6Network("64:ff9b:1::/48"),  # translation of a site's own choice: where it leads, nobody outside can tell
)


def is_public(text: str) -> bool:
    """Whether this address, and every IPv4 address that it wraps, is one of the public internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    return all(_is_good(one) for one in (address, *_inner(address)))


def _is_good(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    # the wrapping blocks count as reserved; what they wrap is looked at by itself
    if address.is_reserved and not (isinstance(address, IPv6Address) and address in _NAT64):
        return False
    return not any(address in block for block in _BESIDES if block.version == address.version)


def _inner(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses inside an IPv6 address."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, *(address.teredo or ())]
    if address in _COMPATIBLE or address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
