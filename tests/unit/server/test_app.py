"""The REST API over a real store: what it answers, and to whom."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb

from ell_otel import semconv
from ell_otel.config import resolve
from ell_otel.ingest import decode
from ell_otel.server import app
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
from ell_otel.web.listener import HttpListener

TOKEN = "read-token"
VERSION = "c1:" + "ab" * 32
ID = "0f" * 16


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpListener]:
    with open_store(resolve({}, dir=str(tmp_path_factory.mktemp("rest") / ".ell")), purpose="test") as store:
        migrate(store)
        write(store, decode.traces(one_invocation()))
        listener = app.listener(store, TOKEN, host="127.0.0.1", port=0, metrics=lambda: "some_metric 1\n")
        listener.start()
        yield listener
        listener.stop(5)


def one_invocation() -> bytes:
    request = trace_pb.ExportTraceServiceRequest()
    now = time.time_ns()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            name="invoke_workflow app.greet",
            trace_id=b"t" * 16,
            span_id=b"s" * 8,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 5_000_000,
        )
    )
    attributes = {
        semconv.GEN_AI_OPERATION_NAME: semconv.OPERATION_INVOKE_WORKFLOW,
        semconv.ELL_PROGRAM_NAME: "app.greet",
        semconv.ELL_PROGRAM_VERSION: VERSION,
        semconv.ELL_INVOCATION_ID: ID,
        semconv.ELL_INVOCATION_ARGUMENTS: '{"name": "Ada"}',
        semconv.ELL_INVOCATION_RESULT: '"Hello, Ada"',
    }
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


def get(api: HttpListener, path: str, token: str = TOKEN, method: str = "GET", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        named["authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        assert answer.getheader("access-control-allow-origin") is None
        body = answer.read().decode()
        return answer.status, json.loads(body) if body.startswith("{") else body
    finally:
        connection.close()


def test_programs_versions_and_invocations_are_listed(api: HttpListener) -> None:
    status, programs = get(api, "/api/programs")
    assert (status, [row["name"] for row in programs["data"]]) == (200, ["app.greet"])
    (version,) = get(api, "/api/programs/app.greet/versions")[1]["data"]
    assert (version["version"], version["number"], version["invocations"]) == (VERSION, 1, 1)
    (invocation,) = get(api, "/api/invocations?program=greet&status=ok&limit=5&min_ms=1&since=2020-01-01")[1]["data"]
    assert (invocation["id"], invocation["program"], invocation["cost"]) == (ID, "app.greet", None)
    assert get(api, f"/api/invocations?before={invocation['cursor']}")[1] == {"data": []}


def test_one_version_and_one_invocation_are_found_by_what_people_type(api: HttpListener) -> None:
    for reference in (VERSION, "ababab", "greet", "app.greet@v1"):
        assert get(api, f"/api/versions/{reference}")[1]["data"]["version"] == VERSION
    detail = get(api, f"/api/invocations/{ID[:8]}")[1]["data"]
    assert json.loads(detail["arguments"]) == {"name": "Ada"}
    assert detail["invocation"]["id"] == ID


@pytest.mark.parametrize("path", ["/api/programs/absent/versions", "/api/versions/absent", "/api/invocations/absent"])
def test_what_is_not_there_is_a_404_that_says_what_to_type(api: HttpListener, path: str) -> None:
    status, answer = get(api, path)
    assert status == 404
    assert "absent" in answer["error"]


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=-1", "min_ms=nan", "since=yesterday", "status=fine", "before=x", "min_ms=1e400"]
)
def test_an_argument_that_cannot_be_used_is_named(api: HttpListener, query: str) -> None:
    status, answer = get(api, f"/api/invocations?{query}")
    assert status == 400
    assert query.partition("=")[0] in answer["error"]


@pytest.mark.parametrize(
    "text",
    ["%27%20OR%201=1--", "%27;DROP%20TABLE%20otel_traces", "%25", "_", "%00", "(((", "%F0%9F%A6%8A", "{a:String}"],
)
def test_what_is_searched_for_is_a_value_and_never_sql(api: HttpListener, text: str) -> None:
    for name in ("text", "model"):
        assert get(api, f"/api/invocations?{name}={text}") == (200, {"data": []})
    assert get(api, f"/api/invocations/{text}")[0] == 404
    assert len(get(api, "/api/invocations?text=ada")[1]["data"]) == 1


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
@pytest.mark.parametrize("path", ["/api/programs", "/api/invocations", "/api/absent", "/"])
def test_without_the_token_nothing_is_told_not_even_what_is_there(api: HttpListener, path: str, token: str) -> None:
    assert get(api, path, token)[0] == 401


def test_health_and_metrics_need_no_token(api: HttpListener) -> None:
    assert get(api, "/healthz", "") == (200, "ok\n")
    assert get(api, "/metrics", "") == (200, "some_metric 1\n")


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}]
)
def test_a_web_page_of_another_site_reads_nothing_even_with_the_token(
    api: HttpListener, headers: dict[str, str]
) -> None:
    assert get(api, "/api/programs", **headers)[0] in {403, 421}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(api: HttpListener, method: str) -> None:
    assert get(api, "/api/programs", method=method)[0] == 405


@pytest.mark.parametrize(
    "path", ["//etc/passwd", "/..%2f..%2fetc/passwd", "/api/%2e%2e/%2e%2e/etc/passwd", "/api/x%00"]
)
def test_paths_lead_nowhere_else(api: HttpListener, path: str) -> None:
    assert get(api, path)[0] == 404
