"""The gate: programs pass, pages of other sites do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ell_otel.web.gate import Gate, bearer, same_secret
from ell_otel.web.listener import is_loopback


def status_of(headers: dict[str, str], bound: str = "127.0.0.1") -> int:
    """The status that a gate on ``bound`` gives a request with these headers; 200 comes from behind it."""
    sent: list[Any] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}
    asyncio.run(Gate(behind, host=bound)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4318", "localhost:4318", "LocalHost", "localhost.", "[::1]:4318", "127.0.0.1"]
)
def test_every_name_of_this_machine_with_any_port_is_ours(host: str) -> None:
    assert status_of({"host": host}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4318", "127.0.0.1.evil.example", "localhost@evil.example", "", "[", "192.168.1.9"],
)
def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    assert status_of({"host": host}) == 421


def test_a_request_without_a_host_is_refused() -> None:
    assert status_of({}) == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://", ""])
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    assert status_of({"host": "127.0.0.1", "origin": origin}) == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4318", "http://localhost:3000", "http://[::1]:80"])
def test_a_page_served_from_this_machine_passes(origin: str) -> None:
    assert status_of({"host": "127.0.0.1", "origin": origin}) == 200


def test_a_request_that_a_foreign_page_made_without_an_origin_is_refused() -> None:
    assert status_of({"host": "127.0.0.1", "sec-fetch-site": "cross-site"}) == 403


@pytest.mark.parametrize("site", ["same-origin", "none", "same-site"])
def test_a_request_from_our_own_pages_or_the_address_bar_passes(site: str) -> None:
    assert status_of({"host": "127.0.0.1", "sec-fetch-site": site}) == 200


def test_the_address_that_was_bound_is_a_name_of_ours() -> None:
    assert status_of({"host": "192.168.1.9:4318"}, bound="192.168.1.9") == 200
    assert status_of({"host": "192.168.1.8:4318"}, bound="192.168.1.9") == 421


def test_a_wildcard_address_takes_any_name_but_still_no_foreign_page() -> None:
    assert status_of({"host": "collector.internal"}, bound="0.0.0.0") == 200
    assert status_of({"host": "collector.internal", "sec-fetch-site": "cross-site"}, bound="0.0.0.0") == 403
    assert status_of({"host": "collector.internal", "origin": "https://evil.example"}, bound="0.0.0.0") == 403


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), (None, "")]
)
def test_the_token_is_what_stands_behind_bearer(header: str | None, token: str) -> None:
    assert bearer(header) == token


def test_secrets_are_compared_whole_whatever_characters_they_hold() -> None:
    assert same_secret("gëheim", "gëheim")
    assert not same_secret("gëheim", "gëhei")
    assert not same_secret("", "x")


@pytest.mark.parametrize(
    ("host", "answer"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
)
def test_loopback_addresses_are_told_apart(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("::")
    assert not is_loopback("example.org")
