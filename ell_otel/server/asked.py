"""One request of ClickHouse's HTTP interface: who asks, and what its query string, headers and form say.

SQL comes in ``query=``, in the body, or in both, one behind the other; parameters are ``param_name=``; everything in
the query string that is not of this interface is a setting. A multipart form may say what the query string can.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from typing import TYPE_CHECKING, Final

from ell_otel.errors import DecodeError
from ell_otel.server.framing import Unframer
from ell_otel.server.security import basic
from ell_otel.web.body import body_pieces, read_body

if TYPE_CHECKING:
    from starlette.requests import Request

_PARAMETER: Final = "param_"
_DEFAULT_FORMAT: Final = "TabSeparated"
_QUERY_ID: Final = re.compile(r"[\w.:\-]{1,128}", re.ASCII)
_FORM_BYTES: Final = 4 << 20
INSERT_BYTES: Final = 512 << 20
"""The most that one insert may hold, decompressed."""
INSERT_S: Final = 300.0
"""The longest that its bytes may take to come."""

# Of the query string: used here, or of no meaning before one engine in this process. The rest are settings.
_OURS: Final = frozenset(
    {"query", "database", "default_format", "user", "password", "query_id"}
    | {"session_id", "session_timeout", "session_check", "compress", "decompress", "enable_http_compression"}
    | {"wait_end_of_query", "buffer_size", "client_protocol_version", "quota_key", "role", "stacktrace"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header"}
    | {"cancel_http_readonly_queries_on_client_close", "http_write_exception_in_output_format"}
    | {"network_compression_method", "network_zstd_compression_level", "http_native_compression_disable_checksumming"}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says beside its body. ``values`` is the query string and the form, the form's winning."""

    request: Request
    values: Mapping[str, str]
    query_id: str

    @property
    def sql(self) -> bytes:
        return self.values.get("query", "").encode()

    @property
    def parameters(self) -> dict[str, str]:
        return {n.removeprefix(_PARAMETER): value for n, value in self.values.items() if n.startswith(_PARAMETER)}

    @property
    def settings(self) -> dict[str, str]:
        return {n: value for n, value in self.values.items() if n not in _OURS and not n.startswith(_PARAMETER)}

    @property
    def database(self) -> str:
        return self.values.get("database") or self.request.headers.get("x-clickhouse-database") or ""

    @property
    def default_format(self) -> str:
        asked = self.values.get("default_format") or self.request.headers.get("x-clickhouse-format")
        return asked or _DEFAULT_FORMAT

    @property
    def encodings(self) -> str:
        """The ``Accept-Encoding``, where the client has also asked for one to be made use of."""
        return self.request.headers.get("accept-encoding", "") if self.says("enable_http_compression") else ""

    def says(self, name: str) -> bool:
        return self.values.get(name) == "1"

    def number(self, name: str, most: int) -> int:
        text = self.values.get(name, "")
        return min(int(text), most) if text.isdecimal() else 0


def query_id(request: Request) -> str:
    """The one that the client gave, when it is one; else a new one."""
    given = request.query_params.get("query_id", "")
    return given if _QUERY_ID.fullmatch(given) else str(uuid.uuid4())


def credentials(request: Request) -> tuple[str, str]:
    """User and password: of ClickHouse's own headers, of Basic authentication, or of the query string."""
    if "x-clickhouse-user" in request.headers or "x-clickhouse-key" in request.headers:
        return request.headers.get("x-clickhouse-user", ""), request.headers.get("x-clickhouse-key", "")
    if found := basic(request.headers.get("authorization")):
        return found
    return request.query_params.get("user", "default"), request.query_params.get("password", "")


async def read(request: Request, name: str) -> Asked:
    """The request with its form, if it is one. ``name`` is its query id."""
    values = dict(request.query_params.items())
    if request.headers.get("content-type", "").startswith("multipart/"):
        values |= _fields(request.headers["content-type"], await read_body(request, _FORM_BYTES))
    return Asked(request, values, name)


async def body(asked: Asked) -> AsyncIterator[bytes]:
    """The request's body as it comes, undone of its compressions. Empty where it was a form."""
    if asked.request.headers.get("content-type", "").startswith("multipart/"):
        return
    unframer = Unframer() if asked.says("decompress") else None
    async for piece in body_pieces(asked.request, INSERT_BYTES, INSERT_S):
        if unframer is None:
            yield piece
            continue
        for contents in unframer.pieces(piece):
            yield contents
    if unframer is not None:
        unframer.finish()


def _fields(content_type: str, form: bytes) -> dict[str, str]:
    """The form's fields. One that is a file would be an external table, which there are none of here."""
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = BytesParser(policy=policy.HTTP).parsebytes(head + form)
    if not message.is_multipart():
        raise DecodeError("the multipart form cannot be read")
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename() is not None:
            raise DecodeError(f"external tables are not taken here ({str(name)[:80]}); join with what is in the store")
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content.decode(errors="replace")
    return fields
