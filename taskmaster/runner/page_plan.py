"""Where a run's page is served, and what it is called there, from the options of a command."""

from __future__ import annotations

import errno
import importlib.util
import socket
from pathlib import Path

from taskmaster.errors import ListenError, UsageError
from taskmaster.options.page import PageOptions
from taskmaster.records import record
from taskmaster.runtime.tracebacks import reason
from taskmaster.transport.address import Address, is_loopback, parse

__all__ = ["PagePlan", "plan_of"]

ALONE = Address("127.0.0.1", 8050)
PORTS_TRIED = 50
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@record(slots=False)
class PagePlan:
    """The address of a page, and how it is protected.

    Attributes:
        address: The address to listen on.
        is_exact: Whether only that port will do; if not, the next free one is taken.
        readonly: Whether nobody may steer on the page.
        new_tokens: Whether to make new tokens.
        certificate: The file with the certificate; "" for plain HTTP.
        private_key: The file with the key of the certificate; "" for plain HTTP.
        proxy: The name of a proxy in front of the page; "" if there is none.
        prefix: The path under which the proxy serves the page, such as "/backfill"; "" for "/".
        open_metrics: Whether /metrics needs no token.
    """

    address: Address
    is_exact: bool
    readonly: bool
    new_tokens: bool
    certificate: str
    private_key: str
    proxy: str
    prefix: str
    open_metrics: bool

    def listen(self) -> socket.socket:
        """Return a socket that listens.

        Raises:
            ListenError: The address is taken, or is none of this machine's.
        """
        host, port = self.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        problem: OSError | None = None
        for number in [port] if self.is_exact else [*range(port, port + PORTS_TRIED), 0]:
            try:
                return socket.create_server((host, number), family=family, backlog=128)
            except (OSError, OverflowError, UnicodeError) as exc:
                problem = exc if isinstance(exc, OSError) else OSError(errno.EINVAL, str(exc))
                if problem.errno != errno.EADDRINUSE:
                    break
        raise ListenError(
            f"The page cannot be served on {self.address}: {reason(problem or OSError())}. Choose another address with "
            "--web=HOST:PORT; --web alone takes a free port of this machine."
        )

    def names(self, port: int) -> list[str]:
        """Return what the ``Host`` header of a request may be: names, with a port where that is not
        the usual one.
        """
        host = self.address.host
        names = {f"[{host}]" if ":" in host else host.lower()}
        if self.address.is_everywhere:
            own = socket.gethostname().lower()
            names = {own, socket.getfqdn().lower(), *LOOPBACK, *_addresses(own)}
        elif is_loopback(host):
            names |= set(LOOPBACK)
        found = {f"{name}:{port}" for name in names}
        if port == (443 if self.certificate else 80):
            found |= names
        if self.proxy:
            found |= {self.proxy, f"{self.proxy}:443"}
        return sorted(found)

    def origins(self, port: int) -> list[str]:
        """Return the origins that commands may come from: those of the page itself."""
        behind = {f"https://{self.proxy}"} if self.proxy else set()
        return sorted({f"{self.scheme}://{name}" for name in self.names(port)} | behind)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, as browsers reach the address."""
        return "https" if self.certificate else "http"

    def url(self, port: int) -> str:
        """Return the page's address, without a token."""
        if self.proxy:
            return f"https://{self.proxy}{self.prefix}/"
        host = socket.gethostname() if self.address.is_everywhere else self.address.host
        return f"{self.scheme}://{Address(host, port)}/"


def plan_of(options: PageOptions) -> PagePlan | None:
    """Return where the page is to be served; None if none is asked for.

    Raises:
        UsageError: What the options say does not go together, or a package is missing.
    """
    given = options.web
    if given is None:
        return None
    alone = given is True or given == "auto"
    address = ALONE if alone else _address(str(given))
    for name in ("uvicorn", "h11", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"The page needs {name}, which is not installed: pip install '.[web]' where setup.py is.")
    certificate, private_key = options.web_cert or "", options.web_key or ""
    proxy, _, prefix = (options.web_behind_proxy or "").partition("/")
    for option, file in (("--web-cert", certificate), ("--web-key", private_key)):
        if file and not Path(file).is_file():
            raise UsageError(f"{option} is {file!r}, and there is no such file.")
    if not is_loopback(address.host) and not certificate and not proxy:
        raise UsageError(
            f"--web={address} can be reached from other machines, and the token would cross the network for all to "
            "read: give --web-cert and --web-key, or --web-behind-proxy=NAME if a proxy of that name has the "
            f"certificate. Or leave it on this machine, and reach it with: ssh -L {address.port}:127.0.0.1:"
            f"{address.port} {socket.gethostname()}"
        )
    return PagePlan(
        address,
        not alone,
        options.web_readonly,
        options.web_new_token,
        certificate,
        private_key,
        proxy.lower(),
        f"/{prefix.rstrip('/')}" if prefix.strip("/") else "",
        options.web_open_metrics,
    )


def _address(text: str) -> Address:
    """Read the address of a page; a host alone has the port of a page."""
    bare = text.strip()
    _, colon, port = bare.rpartition(":")
    has_port = bare.isdigit() or (colon and port.isdigit() and (bare.count(":") == 1 or "]" in bare))
    try:
        return parse(bare if has_port else f"[{bare.strip('[]')}]:8050" if ":" in bare else f"{bare}:{ALONE.port}")
    except UsageError:
        raise UsageError(
            f"--web is {text!r}, which is no address: write --web as the last word, or with its address, as in "
            f"--web={ALONE}."
        ) from None


def _addresses(name: str) -> list[str]:
    """Return this machine's addresses, as a browser writes them."""
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [f"[{host}]" if ":" in (host := str(one[4][0])) else host for one in found]
