"""Which network addresses an action may reach: the public ones, and those the operator names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")
METADATA = frozenset([ipaddress.ip_address("168.63.129.16")])
"""Public by number, and yet answered by the machine's host: what Azure tells a machine about itself."""


class AddressRefused(Exception):
    """The address is not one that actions may reach."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(
            f"{host} is {address}, a private, loopback, link-local or otherwise not public address; "
            "an operator can allow it with HTTP_ALLOW_HOSTS (hosts, .suffixes or CIDRs)"
        )
        self.host = host
        self.address = address


@dataclass(frozen=True, slots=True)
class AllowList:
    """Hosts, `.suffixes` and networks that actions may reach although they are not public."""

    hosts: frozenset[str]
    suffixes: tuple[str, ...]
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AllowList:
        """Read `HTTP_ALLOW_HOSTS`: `*` allows every host, `.example.org` and `*.example.org` what ends so."""
        hosts, suffixes, networks = set(), [], []
        for entry in (e.strip().lower().rstrip(".") for e in entries):
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
                continue
            except ValueError:
                pass
            if entry == "*":
                suffixes.append("")
            elif entry.startswith(("*.", ".")):
                suffixes.append(entry.lstrip("*"))
            elif entry:
                hosts.add(entry)
        return cls(frozenset(hosts), tuple(suffixes), tuple(networks))

    def allows(self, host: str, address: str) -> bool:
        """Whether a connection to `address`, which `host` resolved to, may be made."""
        name = host.lower().rstrip(".")
        if name in self.hosts or any(name.endswith(suffix) for suffix in self.suffixes):
            return True
        number = embedded(ipaddress.ip_address(address.split("%", 1)[0]))
        if any(number in network for network in self.networks):
            return True
        return is_public(number)


def is_public(number: Address) -> bool:
    """Whether an address is one of the internet's, and not that of a cloud's own services."""
    if number in METADATA or number.is_multicast or number.is_reserved or not number.is_global:
        return False
    return isinstance(number, ipaddress.IPv4Address) or number in UNICAST


def embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
