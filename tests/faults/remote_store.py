"""A store elsewhere: chDB behind our ClickHouse front, whose owner may write. ``remote_store.py FOLDER PORT``."""

from __future__ import annotations

import signal
import sys

from ell_otel.config import resolve
from ell_otel.server import clickhouse_http
from ell_otel.server.security import Role, User
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate

directory, port = sys.argv[1:]
with open_store(resolve({}, dir=directory), purpose="a store elsewhere") as store:
    migrate(store)
    users = {"owner": User("secret", Role.OWNER)}
    front = clickhouse_http.listener(store.name, users, host="127.0.0.1", port=int(port))
    front.start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    front.stop(2)
