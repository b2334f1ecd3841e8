"""What inferences cost, worked out when asked: tokens times the price that was valid when they were used.

A model goes by its response name; else by that without its date (``gpt-4o-2024-08-06`` → ``gpt-4o``,
``claude-3-7-sonnet-20250219`` → ``claude-3-7-sonnet``); else by the name it was asked for, and that without its date:
the first of these that the price table knows. Cached input tokens are part of the input tokens and charged at their
own price; reasoning tokens are part of the output tokens. A request in a batch, or at the flex tier, costs the batch
factor of its model's price. No price, no reported usage, or a tier without a published price (priority): NULL.

Here it is SQL, for long sums and for Grafana; ``pricing`` has the same rule in Python, for what is short.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.client import Store
from ell_otel.store.prices import USER
from ell_otel.store.queries.results import UnpricedModel

DATED: Final = "-([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})"
UNDATED: Final = f"replaceRegexpOne({{}}, '{DATED.replace('{', '{{').replace('}', '}}')}$', '')"
_CANDIDATES: Final = ", ".join(f"{name}, {UNDATED.format(name)}" for name in ("ResponseModel", "RequestModel"))
_PRICE_MODEL: Final = f"""arrayFirst(
            name -> has((SELECT groupUniqArray(Model) FROM {semconv.TABLE_PRICES}), name), [{_CANDIDATES}])"""

# What the tier makes of the price. Names of tiers as OpenAI and Anthropic answer them.
STANDARD_TIERS: Final = ("", "auto", "default", "scale", "standard")
BATCH_TIERS: Final = ("batch", "flex")
_TIER: Final = f"""multiIf(ServiceTier IN {STANDARD_TIERS}, 'standard',
            ServiceTier IN {BATCH_TIERS}, 'batch', ServiceTier)"""
_FACTOR: Final = "multiIf(Tier = 'standard', 1, Tier = 'batch', BatchFactor, NULL)"

# Over sums or single rows of Input, Cached and Output; NULL as soon as a part that was used has no price.
_COST: Final = f"""if(Input IS NULL AND Output IS NULL, NULL, (
        (ifNull(Input, 0) - least(ifNull(Cached, 0), ifNull(Input, 0))) * InputPrice
        + if(ifNull(Cached, 0) > 0, least(Cached, ifNull(Input, 0)) * ifNull(CachedInputPrice, InputPrice), 0)
        + if(ifNull(Output, 0) > 0, Output * OutputPrice, 0)
    ) / 1e6 * {_FACTOR})"""


def priced_inferences(keys: str, where: str = "1") -> str:
    """A subquery: inferences grouped by the columns ``keys``, by models and by day, with what each group cost.

    Its columns are the keys, Input, Output, Cached, Inferences, Unknown (how many of them have no cost and did not
    fail), Cost, Model, LastStarted. Grouping before joining the prices keeps that join small, since prices change on
    days. ``where`` sees the table's own columns. The table and not its view of inferences, whose many columns
    take long to plan.
    """
    return f"""(
    SELECT *, {_COST} AS Cost, if(Cost IS NULL, Succeeded, Unreported) AS Unknown
    FROM (
        SELECT {keys}, ResponseModel, RequestModel, {_PRICE_MODEL} AS PriceModel,
            if(ResponseModel = '', RequestModel, ResponseModel) AS Model,
            {_TIER} AS Tier, toStartOfDay(Started) AS Day,
            sum(InputTokens) AS Input, sum(OutputTokens) AS Output, sum(CachedInputTokens) AS Cached,
            count() AS Inferences, max(Started) AS LastStarted,
            countIf(StatusCode != 'Error') AS Succeeded,
            countIf(StatusCode != 'Error' AND InputTokens IS NULL AND OutputTokens IS NULL) AS Unreported
        FROM {semconv.TABLE_SPANS} FINAL
        WHERE Kind IN ('inference', 'both') AND ({where})
        GROUP BY {keys}, ResponseModel, RequestModel, Tier, Day
    ) AS used
    ASOF LEFT JOIN (
        SELECT Model AS PricedModel, toDateTime(ValidFrom, 'UTC') AS PricedFrom,
            InputPrice, CachedInputPrice, OutputPrice, BatchFactor
        FROM {semconv.TABLE_PRICES} FINAL
        WHERE Owner = '{USER}' OR Model NOT IN (SELECT Model FROM {semconv.TABLE_PRICES} WHERE Owner = '{USER}')
    ) AS price ON used.PriceModel = price.PricedModel AND used.Day >= price.PricedFrom
)"""


def unpriced_models(store: Store) -> list[UnpricedModel]:
    """Models that reported usage at a time for which no price is known, most used first."""
    rows = store.query(
        f"""
        SELECT Model AS model, sum(Inferences) AS inferences, sum(ifNull(Input, 0)) AS input_tokens,
            sum(ifNull(Output, 0)) AS output_tokens, max(LastStarted) AS last_seen
        FROM {priced_inferences("ServiceName")}
        WHERE Cost IS NULL AND (Input > 0 OR Output > 0)
        GROUP BY model
        ORDER BY inferences DESC, model
        """
    )
    return [UnpricedModel(**row) for row in rows]  # type: ignore[arg-type]
