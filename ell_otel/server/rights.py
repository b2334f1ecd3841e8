"""What each user of the ClickHouse interface may set, and where one may insert.

Clients send settings of their own accord, so one that is not allowed is left out, not refused; only who says SET is
told. The lists name what is allowed: the engine has hundreds of settings, of which some write files
(``output_format_schema``, ``input_format_record_errors_file_path``) and some fetch, and each release brings more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ell_otel import semconv

# How results look, and how hard the engine tries.
_READ_SETTINGS: Final = re.compile(
    r"output_format_(json|tsv|csv|pretty|native|binary|decimal|float|arrow|parquet|orc)_\w+"
    r"|date_time_output_format|session_timezone|max_threads|max_block_size|extremes|final|join_use_nulls"
    r"|optimize_functions_to_subcolumns"
    r"|max_result_rows|max_result_bytes|max_execution_time|max_memory_usage|result_overflow_mode"
)
# How what is inserted is to be understood.
_INSERT_SETTINGS: Final = re.compile(
    r"input_format_(json|tsv|csv|native|binary|defaults|null|skip|import|with|parquet|arrow|orc|avro|msgpack|bson)_\w+"
    r"|date_time_input_format|session_timezone|insert_null_as_default|max_insert_block_size"
)
# Whatever was asked: a batch may span any number of days; an answer means that it is stored; a value of VALUES is a
# literal, never an expression, for one may read files.
_INSERT_FIXED: Final = {
    "max_partitions_per_insert_block": "0",
    "async_insert": "0",
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}
CONTRACT_TABLES: Final = frozenset({semconv.TABLE_TRACES, semconv.TABLE_LOGS, semconv.TABLE_TRACE_ID_TS})
"""Where one may insert: what the Collector's exporter writes. All else is made from these by views."""
CLOSED_INPUTS: Final = frozenset({"avroconfluent", "mysqldump", "template", "regexp"})
"""Input formats that fetch a schema, read one from a file, or are statements themselves."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A query's: seconds, rows and bytes of the result, bytes of memory. The last holds for an insert too."""

    max_execution_time: int = 60
    max_result_rows: int = 1_000_000
    max_result_bytes: int = 256 << 20
    max_memory_usage: int = 1 << 30


def may_set(name: str, *, inserts: bool = False) -> bool:
    """Whether a user may choose this setting."""
    return bool(_READ_SETTINGS.fullmatch(name) or (inserts and _INSERT_SETTINGS.fullmatch(name)))


def read_settings(asked: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Those of the settings that are a reader's to choose, and the limits over them."""
    settings = {name: value for name, value in asked.items() if _READ_SETTINGS.fullmatch(name)}
    for name in Limits.__slots__:
        limit = int(getattr(limits, name))
        chosen = settings.get(name, "")
        settings[name] = str(min(int(chosen), limit) if chosen.isdecimal() and int(chosen) else limit)
    return settings | {"allow_introspection_functions": "0"}


def insert_settings(asked: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Those of the settings that are an inserter's to choose, and those that are never."""
    settings = {name: value for name, value in asked.items() if _INSERT_SETTINGS.fullmatch(name)}
    return settings | _INSERT_FIXED | {"max_memory_usage": str(limits.max_memory_usage)}
