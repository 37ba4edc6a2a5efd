"""What a scheduler of Dask's that cannot be used is answered with, without one."""

from __future__ import annotations

import socket
import threading

import pytest

from taskmaster.engine import dask_cluster
from taskmaster.engine.dask_cluster import DaskCluster
from taskmaster.errors import ConnectError, UsageError


def test_a_scheduler_that_takes_connections_and_says_nothing_is_given_up(monkeypatch):
    """Dask itself waits for its first word for ever: as where it is suspended, or where another
    service has its port.
    """
    monkeypatch.setattr(dask_cluster, "SCHEDULER_ALL_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectError, match="takes connections, and has said nothing") as caught:
            DaskCluster.at("r", address)

    assert "Start it with `dask scheduler`" in str(caught.value)
    for thread in threading.enumerate():  # nobody waits for it but this test: the next one makes clients, too
        if thread.name == "taskmaster-dask":
            thread.join(30.0)
            assert not thread.is_alive()


def test_what_is_no_address_is_wrong_usage():
    """And not a scheduler that is away."""
    with pytest.raises(UsageError, match=r"--scheduler=htp://127[.]0[.]0[.]1:8786 is no address of a Dask scheduler"):
        DaskCluster.at("r", "htp://127.0.0.1:8786")


def test_certificates_that_are_not_given_are_named():
    """As Dask's configuration reads them of the environment."""
    with pytest.raises(ConnectError, match=r"certificates: .*DASK_DISTRIBUTED__COMM__TLS__CA_FILE"):
        DaskCluster.at("r", "tls://127.0.0.1:8786")


def test_a_key_in_the_file_of_the_certificate_is_no_missing_file(tmp_path):
    """Then no file is named for it."""
    import dask

    certificate = tmp_path / "both.pem"
    certificate.write_text("no certificate")
    files = {"ca-file": certificate, "client.cert": certificate}
    with (
        dask.config.set({f"distributed.comm.tls.{name}": str(file) for name, file in files.items()}),
        pytest.raises(ConnectError, match="cannot be used: SSLError"),
    ):
        DaskCluster.at("r", "tls://127.0.0.1:8786")


@pytest.mark.parametrize(("key", "said"), [("nothere.pem", r"there is no file .*nothere\.pem"), ("ca.pem", "SSLError")])
def test_certificates_that_cannot_be_used_are_said(tmp_path, key, said):
    """A file that is not there, and one that is no certificate."""
    import dask

    certificate = tmp_path / "ca.pem"
    certificate.write_text("no certificate")
    files = {"ca-file": certificate, "client.cert": certificate, "client.key": tmp_path / key}
    with (
        dask.config.set({f"distributed.comm.tls.{name}": str(file) for name, file in files.items()}),
        pytest.raises(ConnectError, match=f"cannot be used: {said}") as caught,
    ):
        DaskCluster.at("r", "tls://127.0.0.1:8786")

    assert "TLS__CLIENT__KEY" in str(caught.value)
