"""The other sink: onward as OTLP/HTTP to another collector, which acknowledges when the frames are its own.

Requests of one kind are joined by joining their bytes, for protobuf reads the sum of two messages as their union. What
the collector refuses for good is bisected, as with the store; what is too large for it is halved.
Requests that it did not answer in time are smaller the next time: over a slow line the same would never get through.
"""

from __future__ import annotations

import gzip
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from ell_otel.errors import ConfigError, ExportError
from ell_otel.ingest.sink import Taken
from ell_otel.telemetry.budget import records
from ell_otel.telemetry.segments import Frame, Kind

_PATHS: Final = {Kind.TRACES: "/v1/traces", Kind.LOGS: "/v1/logs"}
_TIMEOUT_S: Final = 30.0
_REQUEST_BYTES: Final = 3 << 20  # gRPC servers behind it take 4 MiB
_SMALL_BYTES: Final = 64 << 10
_REFUSED: Final = frozenset({400, 413, 415, 422})  # for what it is; anything else may be different another time


class OtlpSink:
    """Sends frames to ``endpoint``, an OTLP/HTTP base URL. ``headers`` are as in OTEL_EXPORTER_OTLP_HEADERS."""

    def __init__(self, endpoint: str, headers: str = "") -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"{endpoint!r} is no OTLP/HTTP endpoint: write http://host:4318 or https://…")
        self.name = f"{parts.scheme}://{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
        self._endpoint = endpoint.rstrip("/")
        self._headers = _headers(headers)
        self._most = _REQUEST_BYTES

    def put(self, frames: Sequence[Frame]) -> Taken:
        taken = Taken()
        for kind in Kind:
            for group in _groups([frame for frame in frames if frame.kind is kind], self._most):
                self._put(kind, group, taken)
        return taken

    def _put(self, kind: Kind, frames: Sequence[Frame], taken: Taken) -> None:
        if self._post(kind, b"".join(frame.payload for frame in frames)):
            count = sum(map(records, frames))
            taken.spans += count if kind is Kind.TRACES else 0
            taken.records += count if kind is Kind.LOGS else 0
        elif len(frames) == 1:
            taken.aside.append((kind.name.lower(), frames[0].payload))
        else:
            middle = len(frames) // 2
            self._put(kind, frames[:middle], taken)
            self._put(kind, frames[middle:], taken)

    def _post(self, kind: Kind, payload: bytes) -> bool:
        """False when the collector refuses this for good; raises ``ExportError`` when it cannot take them now."""
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip", **self._headers}
        body = gzip.compress(payload, compresslevel=1)
        request = urllib.request.Request(self._endpoint + _PATHS[kind], body, headers)  # noqa: S310 - http or https
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
                self._most = min(2 * self._most, _REQUEST_BYTES)
                return True
        except urllib.error.HTTPError as error:
            if error.code in _REFUSED:
                return False
            raise ExportError(f"{self.name} answers {error.code} {error.reason}") from error
        except OSError as error:
            if "timed out" in str(error):
                self._most = max(min(self._most, len(payload)) // 2, _SMALL_BYTES)
            raise ExportError(f"{self.name} cannot be reached: {error}") from error


def _groups(frames: Sequence[Frame], most: int) -> list[list[Frame]]:
    groups: list[list[Frame]] = []
    size = most
    for frame in frames:
        if size + len(frame.payload) > most:
            groups.append([])
            size = 0
        groups[-1].append(frame)
        size += len(frame.payload)
    return groups


def _headers(text: str) -> Mapping[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
