"""How long rows are kept, and when they move to a cheaper disk: settings, as TTL and storage policy of the tables.

Only what a setting names is touched, so the TTL an exporter or a person has given a table stays. Whole parts go when
their last row is due (``ttl_only_drop_parts``), which costs nothing: with monthly partitions up to a month later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ell_otel import semconv
from ell_otel.config import Settings
from ell_otel.errors import ConfigError
from ell_otel.store.targets import quoted

COLD_VOLUME: Final = "cold"

# What is kept by age, and the column that says how old a row is. Versions, labels and prices are kept for good.
_AGED: Final = {
    semconv.TABLE_TRACES: "Timestamp",
    semconv.TABLE_LOGS: "Timestamp",
    semconv.TABLE_SPANS: "Started",
    semconv.TABLE_EVALUATIONS: "Timestamp",
}


def retention(settings: Settings, altered: Callable[[str], str], current: Callable[[str], str]) -> Iterator[str]:
    """The statements that bring the tables to the settings.

    ``altered`` gives what follows ALTER TABLE for a table (its name on this target), ``current`` how it was created.
    Raises ``ConfigError`` for a table that has no age, or days that are no number.
    """
    keep, cold = _days(settings.keep, "ELL_OTEL_KEEP"), _days(settings.cold, "ELL_OTEL_COLD")
    policy = f"storage_policy = {quoted(settings.storage_policy)}"
    for table, column in _AGED.items():
        made = current(table)
        if settings.storage_policy and policy not in made:
            yield f"ALTER TABLE {altered(table)} MODIFY SETTING {policy}"
        if table not in keep | cold:
            continue
        age = f"toDateTime({column})"
        rules = [f"{age} + toIntervalDay({cold[table]}) TO VOLUME '{COLD_VOLUME}'"] if table in cold else []
        rules += [f"{age} + toIntervalDay({keep[table]})"] if keep.get(table) else []
        if rules and f" TTL {', '.join(rules)} SETTINGS" not in made:
            yield f"ALTER TABLE {altered(table)} MODIFY TTL {', '.join(rules)}"
        elif not rules and " TTL " in made:
            yield f"ALTER TABLE {altered(table)} REMOVE TTL"


def _days(pairs: tuple[str, ...], variable: str) -> dict[str, int]:
    found = {}
    for pair in pairs:
        table, _, days = pair.partition("=")
        if table not in _AGED or not days.isdecimal():
            raise ConfigError(f"{variable}: {pair!r} is not table=days, where table is one of {', '.join(_AGED)}")
        found[table] = int(days)
    return found
