"""What the receivers let in and let out: who may listen, who may send, where we send to, and what stored data may do."""

from __future__ import annotations

import ast
import base64
import datetime
import os
import pickle
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from collectors import http_collector
from oracle import span_of
from test_malformed import post
from victims import Server

from ell_otel.errors import ExportError
from ell_otel.ingest.forward import OtlpSink
from ell_otel.telemetry.segments import Frame, Kind

PACKAGE = Path(__file__).parents[2] / "ell_otel"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("doors") / ".ell")
    assert made.started
    yield made
    made.kill()


def test_by_default_nothing_listens_but_on_loopback(server: Server) -> None:
    mine = {os.readlink(link) for link in Path(f"/proc/{server.process.pid}/fd").iterdir() if link.is_symlink()}
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in map(str.split, Path(table).read_text().splitlines()[1:]):
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in mine:
                listening.append(fields[1].partition(":")[0])
    assert len(listening) == len(server.ports)
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and as IPv6 writes it


@pytest.mark.parametrize(
    "path",
    ["//etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/traces/../../healthz", "/..\\..\\etc",
     "/v1/traces%00", "/v1/traces/..;/metrics", "file:///etc/passwd", "/\x7f"],
)  # fmt: skip
def test_a_path_as_it_stands_leads_nowhere_else(server: Server, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.ports["OTLP/HTTP"]), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = connection.makefile("rb").read()
    assert answer.split()[1] in {b"400", b"404", b"405"}
    assert b"root:" not in answer


def test_a_token_that_was_sent_is_neither_told_nor_kept(tmp_path: Path) -> None:
    secret = "a-token-that-nobody-else-may-read"
    command = [sys.executable, "-m", "ell_otel", "serve", "--dir", str(tmp_path / ".ell"), "--http-port", "0"]
    command += ["--grpc-port", "0", "--clickhouse-port", "0", "-p", "0"]
    environment = os.environ | {"ELL_OTEL_INGEST_TOKEN": secret}
    with (tmp_path / "told").open("wb") as told:
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
    from test_export import until

    assert until(lambda: b"OTLP/HTTP" in (tmp_path / "told").read_bytes())
    (line,) = [line for line in (tmp_path / "told").read_text().splitlines() if "OTLP/HTTP" in line][:1]
    port = int(line.rpartition(":")[2].split()[0].strip("/"))
    statuses = []
    for path, token in ((f"/v1/traces?token={secret}", "wrong"), ("/v1/traces", f"{secret}x"), ("/v1/traces", secret)):
        statuses.append(_send(port, path, f"Bearer {token}"))
    process.terminate()
    assert process.wait(20) == 0
    assert statuses == [401, 401, 200]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if secret.encode() in path.read_bytes()] == []


def _send(port: int, path: str, authorization: str) -> int:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/x-protobuf", "authorization": authorization}
    connection.request("POST", path, span_of(1), headers)
    status = connection.getresponse().status
    connection.close()
    return status


# -- to the next hop over TLS -----------------------------------------------------------------------------------------


def of_another_name(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("elsewhere.example")


def expired(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1", not_after=datetime.datetime(2020, 1, 1))


def by_nobody_we_know(ca: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1")


def right(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1")


@pytest.mark.parametrize("issue", [of_another_name, expired, by_nobody_we_know, right])
def test_nothing_is_sent_on_to_a_collector_that_cannot_prove_its_name(
    issue: Callable[[trustme.CA], trustme.LeafCert], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue(ca).configure_cert(served)
    with http_collector(tls=served) as collector:
        sink = OtlpSink(collector.url)
        frame = Frame(Kind.TRACES, span_of(1), 0)
        if issue is right:
            assert sink.put([frame]).spans == 1
        else:
            with pytest.raises(ExportError, match="CERTIFICATE_VERIFY_FAILED"):
                sink.put([frame])
        assert len(collector.spans) == (issue is right)


# -- stored data is data ----------------------------------------------------------------------------------------------


class Trap:
    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ("touch /tmp/ell-otel-was-here",)


WATCHED = """
import os, sys
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event.startswith(("pickle.", "marshal.load", "os.system")) else None)
import pickle
pickle.loads(pickle.dumps(os.getpid))  # so that it is known to be seen
assert seen, "the hook does not work"
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ell_otel.config import resolve
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate

directory = Path(sys.argv[2])
with open_store(resolve({}, dir=str(directory)), purpose="watched") as store:
    migrate(store)
    seen.clear()  # imports read code, which is marshalled
    drain(directory, StoreSink(store))
    rows = store.query("SELECT * FROM otel_traces") + store.query("SELECT * FROM otel_logs")
    print(len(rows), [event for event in seen if event != "marshal.loads"])
"""


def test_what_is_stored_is_never_unpickled(tmp_path: Path) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from ell_otel.telemetry.spool import SegmentWriter

    trap = pickle.dumps(Trap())
    request = ExportTraceServiceRequest.FromString(span_of(1))
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="bytes").value.bytes_value = trap
    span.attributes.add(key="ell.value").value.string_value = base64.b64encode(trap).decode()
    writer = SegmentWriter(tmp_path / ".ell" / "spool", segment_bytes=1 << 20)
    writer.append(Kind.TRACES, request.SerializeToString())
    writer.append(Kind.TRACES, trap)  # and as a frame of its own
    writer.close()
    command = [sys.executable, "-c", WATCHED, str(Path(__file__).parent), str(tmp_path / ".ell")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 []\n"


def test_nothing_of_ours_imports_what_would_run_stored_data() -> None:
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "yaml", "joblib"}
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name}: {name}" for name in names if name.partition(".")[0] in forbidden]
    assert found == []


def test_it_answers_after_all_this(server: Server) -> None:
    assert post(server, span_of(2)) == 200
