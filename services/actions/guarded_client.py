"""An HTTP client that resolves names itself and connects only to addresses it has checked.

The check sits where the connection is made, so it also holds for every redirect, and the address that was
checked is the address that is used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from services.actions.addresses import AddressRefused, AllowList

CONNECT_S = 10.0
MAX_CONNECTIONS = 200
KEEP_ALIVE = 50


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Makes connections after having looked at where they go."""

    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the host's permitted addresses that answers."""
        failure: Exception | None = None
        for address in await self._permitted(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(self, path: str, *_args: Any, **_options: Any) -> httpcore.AsyncNetworkStream:
        """Actions have no business with local sockets."""
        raise httpcore.ConnectError(f"unix socket {path} refused")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _permitted(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        permitted = [address for address in addresses if self._allowed.allows(host, address)]
        if addresses and not permitted:
            raise AddressRefused(host, addresses[0])
        return permitted


class GuardedTransport(httpx.AsyncBaseTransport):
    """httpx over a connection pool whose connections are all guarded."""

    def __init__(self, allowed: AllowList) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=KEEP_ALIVE,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(allowed),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; httpcore's errors become httpx's."""
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(asked)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise httpx.ConnectError(str(error) or type(error).__name__, request=request) from error
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(str(error) or type(error).__name__, request=request) from error
        except httpcore.UnsupportedProtocol as error:
            raise httpx.UnsupportedProtocol(str(error), request=request) from error
        except httpcore.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error), request=request) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.NetworkError(str(error) or type(error).__name__, request=request) from error
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> Any:
        try:
            async for part in self._stream:
                yield part
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(str(error)) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ReadError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def open_client(allow_hosts: Iterable[str]) -> httpx.AsyncClient:
    """The one pooled client of this process.

    Proxies and netrc of the environment are not used, and no cookie of one call is kept for another.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(AllowList.parse(allow_hosts)),
        timeout=httpx.Timeout(30.0, connect=CONNECT_S, pool=CONNECT_S),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        trust_env=False,
    )
