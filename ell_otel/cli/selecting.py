"""``ell-otel sql``: a person's own SELECT, on whatever store is open, with nothing it could break or reach."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

from ell_otel.errors import ConfigError, StoreError
from ell_otel.store.client import Store

FORMAT: Final = "JSONCompact"


def select(store: Store, query: str, limit: int, *, served: bool) -> tuple[list[str], list[Sequence[Any]]]:
    """Column names and at most ``limit`` rows; ``served`` says that our own server holds the store.

    Raises ``StoreError`` with the engine's words when it refuses."""
    if store.local:
        return _in_process(store, query, limit)
    # Our own server makes every reader read-only; a ClickHouse elsewhere is asked to, for this one query.
    rows = store.query(query, settings={} if served else {"readonly": "1"})
    return list(rows[0]) if rows else [], [list(row.values()) for row in rows[:limit]]


def _in_process(store: Store, query: str, limit: int) -> tuple[list[str], list[Sequence[Any]]]:
    """chDB has no users, so a reader's rights are the engine room's: a handle of its own, judged statement, limits."""
    from ell_otel.server.engine import Engine, EngineError, Query, Told
    from ell_otel.server.security import Role

    settings = {"max_result_rows": str(limit), "result_overflow_mode": "break"}
    with closing(Engine(store.name)) as engine:
        engine.open()
        asked = Query(query, engine.tokens(query), FORMAT, key="ell-otel sql", settings=settings)
        try:
            engine.permit(asked, Role.READER)
            body = b"".join(engine.answer(asked, Role.READER, Told()))
        except EngineError as error:
            raise StoreError(f"the query was refused: {error}") from None
    if asked.format != FORMAT:
        raise ConfigError("leave FORMAT out of the query: rows are printed as a table, or as JSON with --json")
    answer = json.loads(body)
    return [column["name"] for column in answer["meta"]], answer["data"][:limit]
