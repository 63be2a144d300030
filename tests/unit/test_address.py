"""The client's address behind proxies."""

import ipaddress

import pytest

from controllers.address import client_address

PROXIES = [ipaddress.ip_network("10.0.0.0/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.9", None, "192.0.2.9"),
        ("192.0.2.9", "203.0.113.1", "192.0.2.9"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.7, 203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("local", "203.0.113.1", "local"),
    ],
)
def test_only_trusted_proxies_are_believed_from_the_right(peer, forwarded, client):
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_trusted_proxies_the_peer_is_the_client():
    assert client_address("127.0.0.1", "203.0.113.1", []) == "127.0.0.1"
