"""Ports of a local cluster are free and stay out of outgoing connections' way."""

import socket

import pytest

from devcluster.ports import FIRST_PORT, LAST_PORT, LOOPBACK, free_ports, is_free


def test_ports_are_different_and_below_the_range_of_outgoing_connections() -> None:
    ports = free_ports(40)
    assert len(set(ports)) == 40
    assert all(FIRST_PORT <= port <= LAST_PORT < 32_768 for port in ports)


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_taken_ports_are_skipped() -> None:
    assert all(port % 2 == 0 for port in free_ports(5, free=lambda port: port % 2 == 0))


def test_no_free_port_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(OSError, match="no 1 free ports"):
        free_ports(1, free=lambda _: False, attempts=10)
