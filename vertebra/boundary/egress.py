"""The one way out: an HTTP client that reaches allowed, public hosts only, at exactly the address that it has checked.

The checks, in order: the address as its parser reads it, against the allow-list; one look-up of the name, all of whose
answers must be public; a connection to an answer that was checked, without a second look-up; redirects by hand, each as
if it were a new request. What comes back is cut at its limits, after decompression.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import NoReturn

import httpcore2
import httpx2

from vertebra.boundary.addresses import is_public
from vertebra.boundary.decoding import ASKED, read_body
from vertebra.policies.hosts import PORTS, Target, covers
from vertebra.schemas.errors import EgressRefused, HttpFailed

SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})
"""Never sent after a redirect, whoever they were meant for."""
OWN_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
        *("expect", "accept-encoding", "proxy-authorization", "proxy-connection"),
    }
)
"""What nobody but this client sets: they say where a request goes, and where it ends."""
CONNECTIONS = 1000
"""As many as a worker may have effects at once: no request lets its time run out waiting for another's connection."""
_ADDRESS_CHARS = 8192
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FIELD = re.compile(r"[\x20-\x7e\t]*")
_REDIRECTS = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Every address of a host, as text. Raises OSError."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long an exchange may take, and how much may come back."""

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 30.0
    body_bytes: int = 1_000_000
    """After decompression."""
    header_bytes: int = 32 * 1024
    headers: int = 100
    redirects: int = 3


DEFAULTS = Limits()


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Where this process may send requests: the operator's word, which nobody below can widen."""

    hosts: tuple[str, ...] = ()
    """Rules of `policies.hosts`; none = nothing leaves."""
    inside: tuple[str, ...] = ()
    """`host:port` of those whose addresses need not be public. This weakens the guard."""
    own: tuple[tuple[str, int], ...] = ()
    """Host and port of our own services: refused even where `inside` names them."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request."""

    method: str
    address: str
    headers: Mapping[str, str]
    body: bytes | None = None
    private: frozenset[str] = frozenset()
    """Names of headers, in lower case, that hold secrets: like those of SECRET_HEADERS they follow no redirect."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer, read to its end."""

    status: int
    headers: dict[str, str]
    """Names in lower case; of a repeated one all values, joined by `, `."""
    body: bytes
    address: str
    """Where it came from, after redirects."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """The system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """A transport for any httpx2 client. Every request through it is checked, whoever made it."""

    def __init__(self, reach: Reach, *, resolve: Resolve = look_up, tls: ssl.SSLContext | None = None) -> None:
        """`tls` None = the certificates that the client library trusts; never the environment's."""
        context = tls or httpx2.create_ssl_context(trust_env=False)
        # the transport takes no network backend; a contract test pins that this attribute is the one in use
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS // 4,
            keepalive_expiry=5.0,
            http1=True,
            http2=False,
            retries=0,
            network_backend=_Guard(reach, resolve),
        )
        self._reach = reach

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        check(target_of(request.url), self._reach.hosts)
        if "sni_hostname" in request.extensions:
            raise EgressRefused("a request may not name another host for TLS than it goes to")
        return await super().handle_async_request(request)


class _Guard(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, refuses it if any answer is bad, and connects to an answer."""

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach, self._resolve = reach, resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked(host, port)
                return await self._first(addresses, port, local_address, socket_options)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"no connection within {timeout} s") from None

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's signature
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> NoReturn:
        raise EgressRefused("a request to a local socket never leaves")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        addresses = await self._look_up(host, port)
        target = Target("", host.lower(), port)
        if port in {own for _, own in self._reach.own}:
            await self._check_own(addresses, port)
        if covers(self._reach.inside, target):
            return addresses
        bad = [address for address in addresses if not is_public(address)]
        if bad:
            do = "ask the operator; only public addresses are reached"
            raise EgressRefused(f"the host {host!r} has the address {bad[0]}, which is not public", do=do)
        return addresses

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError(f"the host {host!r} was not found") from None
        if not addresses:
            raise httpcore2.ConnectError(f"the host {host!r} has no address")
        return addresses

    async def _check_own(self, addresses: Sequence[str], port: int) -> None:
        for host in [name for name, own in self._reach.own if own == port]:
            if set(addresses) & set(await self._look_up(host, port)):
                raise EgressRefused(f"port {port} there is one of vertebra's own services")

    async def _first(
        self,
        addresses: Sequence[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure


class Egress:
    """What http nodes and tools send requests with: `async with Egress(reach) as out: await out.send(ask)`."""

    def __init__(
        self,
        reach: Reach,
        limits: Limits = DEFAULTS,
        *,
        resolve: Resolve = look_up,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.reach, self.limits = reach, limits
        transport = GuardedTransport(reach, resolve=resolve, tls=tls)
        # no run may send what a server has told another
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx2.AsyncClient(
            transport=transport, cookies=no_cookies, trust_env=False, follow_redirects=False
        )
        self._client.headers.clear()

    async def __aenter__(self) -> Egress:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def send(self, ask: Ask, *, within: Iterable[str], total_s: float | None = None) -> Fetched:
        """Send one request and read its answer. `within` narrows where it may go further; `["*"]` does not narrow.

        `total_s` takes the place of the limits on reading and on the whole. A GET or HEAD follows redirects on the same
        host; another method's redirect is its answer. Raises EgressRefused where nothing was sent,
        or nothing more; HttpFailed.
        """
        rules = tuple(within)
        seconds, read_s = (self.limits.total_s, self.limits.read_s) if total_s is None else (total_s, total_s)
        try:
            async with asyncio.timeout(seconds):
                return await self._followed(ask, rules, read_s)
        except TimeoutError:
            raise HttpFailed(f"the exchange took longer than {seconds:g} s", kind="timeout") from None

    async def _followed(self, ask: Ask, rules: tuple[str, ...], read_s: float) -> Fetched:
        for _ in range(self.limits.redirects + 1):
            answer = await self._once(ask, rules, read_s)
            to = answer.headers.get("location")
            if answer.status not in _REDIRECTS or to is None or ask.method not in ("GET", "HEAD"):
                return answer
            ask = _redirected(ask, to)
        raise EgressRefused(f"more than {self.limits.redirects} redirects")

    async def _once(self, ask: Ask, rules: tuple[str, ...], read_s: float) -> Fetched:
        url = parse(ask.address)
        check(target_of(url), self.reach.hosts)
        check(target_of(url), rules, "this graph")
        headers = {"user-agent": "vertebra", **checked_headers(ask.headers), "accept-encoding": ASKED}
        timeout = httpx2.Timeout(read_s, connect=self.limits.connect_s)
        request = self._client.build_request(ask.method, url, headers=headers, content=ask.body, timeout=timeout)
        async with _named_failures(), self._streamed(request) as response:
            self._check_head(response)
            body = b"" if ask.method == "HEAD" else await read_body(response, self.limits.body_bytes)
            found: dict[str, str] = {name.lower(): value for name, value in response.headers.items()}
            return Fetched(response.status_code, found, body, str(url))

    @asynccontextmanager
    async def _streamed(self, request: httpx2.Request) -> AsyncIterator[httpx2.Response]:
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    def _check_head(self, response: httpx2.Response) -> None:
        size = sum(len(name) + len(value) for name, value in response.headers.raw)
        if size > self.limits.header_bytes or len(response.headers.raw) > self.limits.headers:
            raise HttpFailed("the answer has too many or too large headers", kind="too_large")


def parse(address: str) -> httpx2.URL:
    """The address as the client reads it: text that two parsers could read in two ways is no address."""
    if len(address) > _ADDRESS_CHARS or not address.isprintable() or "\\" in address or " " in address:
        raise EgressRefused("the address is too long, or holds spaces, backslashes or control characters")
    try:
        return httpx2.URL(address).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError, UnicodeError):
        raise EgressRefused("the address cannot be read", do="write https://HOST/PATH") from None


def target_of(url: httpx2.URL) -> Target:
    """Where a parsed address leads. Raises EgressRefused for what is no plain web address."""
    if url.scheme not in PORTS:
        raise EgressRefused(f"{url.scheme or 'no'}: is neither http nor https", do="write https://HOST/PATH")
    if url.userinfo:
        raise EgressRefused("the address holds a user name or password", do="send it as a header")
    host = url.raw_host.decode("ascii").lower().strip("[]").rstrip(".")
    if not host or "%" in host:
        raise EgressRefused("the address names no host, or a network interface")
    return Target(url.scheme, host, url.port or PORTS[url.scheme])


def check(target: Target, rules: Iterable[str], whose: str = "the operator") -> None:
    """Raise EgressRefused unless a rule lets this target be reached."""
    if not covers(rules, target):
        where = "spine.hosts" if whose == "this graph" else "the setting egress_hosts"
        raise EgressRefused(f"{whose} does not allow requests to {str(target)!r}", do=f"name the host in {where}")


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers in lower case. Raises EgressRefused for one that would change where or what a request is."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        if not _TOKEN.fullmatch(name) or not _FIELD.fullmatch(value) or len(value) > _ADDRESS_CHARS:
            raise EgressRefused(f"the header {name[:100]!r} cannot be sent as it is", do="use printable ASCII")
        if key in OWN_HEADERS or key in found:
            raise EgressRefused(f"the header {name!r} is set by vertebra, or set twice", do="leave it out")
        found[key] = value
    return found


def _redirected(ask: Ask, to: str) -> Ask:
    """The next request: on the same host, and without what was meant for the first."""
    here = parse(ask.address)
    old = target_of(here)
    # the new address is not quoted: a host may say back in it what it was sent
    try:
        there = parse(str(here.join(to))) if to.isprintable() else parse(to)
        new = target_of(there)
    except (EgressRefused, httpx2.InvalidURL, ValueError, UnicodeError):
        raise EgressRefused(f"{str(old)!r} redirects to what is no address") from None
    if old.host != new.host or (old.scheme == "https" and new.scheme != "https"):
        do = "ask there yourself, and name the new address if it is one to be trusted"
        raise EgressRefused(f"{str(old)!r} redirects to another place", do=do)
    kept = {name: value for name, value in ask.headers.items() if name.lower() not in SECRET_HEADERS | ask.private}
    return replace(ask, address=str(there), headers=kept)


@asynccontextmanager
async def _named_failures() -> AsyncIterator[None]:
    """The client's failures in our words; they name no address, whose query may be private."""
    try:
        yield
    except httpx2.ConnectTimeout:
        raise HttpFailed("no connection in time", kind="connect") from None
    except httpx2.TimeoutException as error:
        raise HttpFailed(f"no answer in time ({type(error).__name__})", kind="timeout") from None
    except httpx2.ConnectError as error:
        raise HttpFailed(f"no connection: {_first_line(error)}", kind="connect") from None
    except httpx2.NetworkError as error:
        raise HttpFailed(f"the connection was cut ({type(error).__name__})", kind="network") from None
    except httpx2.HTTPError as error:
        raise HttpFailed(f"the answer is no HTTP ({type(error).__name__})", kind="malformed") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["refused"])[0][:200]
