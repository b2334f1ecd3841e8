"""ClickHouse's HTTP interface before a store of a test's own, and raw requests to it."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect

from ell_otel.config import resolve
from ell_otel.server import clickhouse_http
from ell_otel.server.rights import Limits
from ell_otel.server.security import Role, User
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate

USERS = {
    "reader": User("read-token", Role.READER),
    "ingest": User("ingest-token", Role.INGEST),
    "owner": User("owner-token", Role.OWNER),
}
SECRET = "secret-5f1c"
LIMITS = Limits(max_execution_time=2, max_result_rows=200_000)


def key(user: str) -> dict[str, str]:
    """The headers that say who asks."""
    return {"x-clickhouse-user": user, "x-clickhouse-key": USERS[user].password}


class Front:
    """The interface on a free port, with a secret file in reach of its process."""

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)
        self.store = open_store(resolve({}, dir=str(folder / ".ell")), purpose="test")
        migrate(self.store)
        self.store.command("CREATE TABLE numbers_kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        self.store.command("INSERT INTO numbers_kept SELECT number FROM numbers(10)")
        self.listener = clickhouse_http.listener(self.store.name, USERS, host="127.0.0.1", port=0, limits=limits)
        self.listener.start()
        self.port = self.listener.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.listener.stop(5)
        self.store.close()

    def client(self, user: str = "reader", **options: Any) -> Any:
        options = {"password": USERS[user].password, "autogenerate_session_id": False} | options
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, username=user, **options)

    def ask(
        self,
        query: str = "",
        body: Any = None,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **arguments: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """One raw request, as the reader unless the headers say otherwise. A broken transfer ends in ``IncompleteRead``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = urlencode({**({"query": query} if query else {}), **arguments})
        try:
            connection.request(method, f"/?{named}", body, key("reader") if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, query: str, body: Any = None, user: str = "ingest", **arguments: str) -> tuple[int, str]:
        """One POST as this user: the status and the text of the answer."""
        status, _, text = self.ask(query, body, "POST", key(user), **arguments)
        return status, text.decode(errors="replace")

    def count(self, table: str) -> int:
        return int(str(self.store.query(f"SELECT count() AS n FROM {table}")[0]["n"]))
