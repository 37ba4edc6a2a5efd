"""Addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.errors import UsageError
from taskmaster.transport.address import Address, is_loopback, parse


@pytest.mark.parametrize(
    ("text", "here"),
    [("0.0.0.0:6060", "127.0.0.1:6060"), ("[::]:6060", "[::1]:6060"), ("10.0.0.1:6060", "10.0.0.1:6060")],
)
def test_what_listens_everywhere_is_reached_over_the_loopback(text: str, here: str):
    """From its own machine; any other address is reached as it is."""
    address = parse(text)

    assert str(address.from_here()) == here
    assert address.is_everywhere is (text != here)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:6060", ("10.0.0.1", 6060)),
        ("db.example.com:6060", ("db.example.com", 6060)),
        ("db.example.com", ("db.example.com", 5050)),
        ("10.0.0.1", ("10.0.0.1", 5050)),
        (":6060", ("127.0.0.1", 6060)),
        ("6060", ("127.0.0.1", 6060)),
        (":0", ("127.0.0.1", 0)),
        ("0.0.0.0:5050", ("0.0.0.0", 5050)),
        ("*:5050", ("0.0.0.0", 5050)),
        ("[::1]:6060", ("::1", 6060)),
        ("[::1]", ("::1", 5050)),
        ("::1", ("::1", 5050)),
        ("[fe80::1%eth0]:6060", ("fe80::1%eth0", 6060)),
        ("tcp://0.0.0.0:3050", ("0.0.0.0", 3050)),
        ("tcp://[::1]:3050", ("::1", 3050)),
        ("  10.0.0.1:6060\n", ("10.0.0.1", 6060)),
        ("bücher.example:1", ("bücher.example", 1)),
    ],
)
def test_an_address_is_read_as_it_is_meant(text, address):
    """Each form that people use gives the host and the port; what is left out is 127.0.0.1 and
    5050.
    """
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        "tcp://",
        "host:port",
        "host:65536",
        "65536",
        "host:-1",
        "host:+1",
        "host:\u0663",
        "host:" + "9" * 5000,
        "1.2.3.4:5:6",
        "a:b:c",
        "[]:5050",
        "[foo]:5050",
        "[::1",
        "[::1]5050",
        "http://host:5050",
        "tcp://host:5050/path",
        "user@host:5050",
        "two hosts:5050",
        "nul\0:5050",
        "line\nline:5050",
        "a" * 70 + ":5050",
        "a..b:5050",
    ],
)
def test_what_is_no_address_is_refused_with_the_text(text):
    """The message shows what was given, shortened if it is long, and how to write it."""
    with pytest.raises(UsageError, match=r"is not an address: give --host=HOST:PORT") as caught:
        parse(text)

    assert repr(text)[1:100].rstrip("'") in str(caught.value)
    assert len(str(caught.value)) < 2000


@given(st.text(alphabet=st.sampled_from("ab01.:[]%*/@- \0\u0663é"), max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text):
    """Nothing else comes out of it."""
    try:
        address = parse(text)
    except UsageError:
        return
    assert 0 <= address.port < 65536
    assert address.host


@pytest.mark.parametrize("address", [("127.0.0.1", 5050), ("::1", 5050), ("::", 0), ("db.example.com", 65535)])
def test_an_address_reads_back_what_it_says(address):
    """What is shown to a person can be given to --host."""
    assert parse(str(Address(*address))) == address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_loopback_hosts_are_known(host):
    """These need no key."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "127.0.0.1.example.com", "localhost.evil", ""]
)
def test_other_hosts_are_not_loopback(host):
    """These need a key, also those that only look like loopback."""
    assert not is_loopback(host)
