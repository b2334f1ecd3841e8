"""What inferences cost: the rule of ``cost``, for rows that are in Python anyway.

Sums by hour are priced in the engine. A page of invocations, or the versions of a program, are not: planning that takes
the engine longer than reading the inferences, or what they add up to, and the whole price list as they are.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from ell_otel import semconv
from ell_otel.store.client import Store
from ell_otel.store.prices import USER
from ell_otel.store.queries.cost import BATCH_TIERS, DATED, STANDARD_TIERS

# The columns of ``ell_spans`` that ``PriceList.cost`` reads.
PRICED_BY: Final = "Started, ResponseModel, RequestModel, ServiceTier, InputTokens, OutputTokens, CachedInputTokens"

_DATED: Final = re.compile(rf"{DATED}\Z")
_PER: Final = 1_000_000  # prices are for so many tokens


class PriceList:
    """The prices in the store, as they are now."""

    def __init__(self, store: Store) -> None:
        rows = store.query(
            f"SELECT Model, ValidFrom, InputPrice, CachedInputPrice, OutputPrice, BatchFactor, Owner "
            f"FROM {semconv.TABLE_PRICES} FINAL ORDER BY ValidFrom DESC"
        )
        own = {row["Model"] for row in rows if row["Owner"] == USER}
        self._prices: dict[object, list[dict[str, Any]]] = {}
        for row in rows:
            if row["Owner"] == USER or row["Model"] not in own:
                self._prices.setdefault(row["Model"], []).append(row)

    def cost(self, inference: Mapping[str, Any]) -> float | None:
        """Of a row that has the columns ``PRICED_BY``, be it one or the sum of a day; None when it is not known."""
        used, written, cached = (inference[f"{name}Tokens"] for name in ("Input", "Output", "CachedInput"))
        price = self._price(inference["ResponseModel"], inference["RequestModel"], inference["Started"])
        factor = _factor(inference["ServiceTier"], price)
        if price is None or factor is None or price["InputPrice"] is None or (used is None and written is None):
            return None
        if written and price["OutputPrice"] is None:
            return None
        used, written = used or 0, written or 0
        cached = min(cached or 0, used)
        cheaper = price["InputPrice"] if price["CachedInputPrice"] is None else price["CachedInputPrice"]
        dollars = (used - cached) * price["InputPrice"] + cached * cheaper + written * (price["OutputPrice"] or 0)
        return float(dollars / _PER * factor)

    def _price(self, response: str, request: str, started: datetime) -> dict[str, Any] | None:
        names = (response, _DATED.sub("", response), request, _DATED.sub("", request))
        prices = next((self._prices[name] for name in names if name in self._prices), [])
        day: date = started.astimezone(UTC).date()
        return next((price for price in prices if price["ValidFrom"] <= day), None)


def _factor(tier: str, price: Mapping[str, Any] | None) -> float | None:
    if tier in STANDARD_TIERS:
        return 1.0
    return price["BatchFactor"] if price is not None and tier in BATCH_TIERS else None
