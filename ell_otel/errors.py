"""Every error this package raises on purpose.

::

    EllOtelError                 .retryable
    ├── ConfigError              a setting that cannot be right
    ├── CaptureError             .chain, the dependencies that led to the part that could not be had
    ├── InstrumentationError     the message is the pip line that helps
    ├── ExportError              telemetry could not be handed on
    │   └── SpoolFullError       (retryable) a folder of segments has used up its bytes
    ├── ReplayError
    ├── IngestError
    │   ├── DecodeError          a payload that is not OTLP
    │   └── OverloadedError      (retryable) too much at once
    └── StoreError
        ├── StoreLockedError     (retryable) another process holds the store
        ├── MigrationError
        └── NotFoundError        no such program, version or invocation

A message says what happened, to which thing, and the next command to type.
"""

from __future__ import annotations


class EllOtelError(Exception):
    """Base of all errors of this package.

    ``retryable`` says whether the same request may succeed later with nothing changed.
    """

    retryable: bool = False


class ConfigError(EllOtelError):
    """A setting, given in code or in the environment, that cannot be used."""


class CaptureError(EllOtelError):
    """A program's source could not be captured.

    ``chain`` names the dependencies from the program to the part that failed, outermost first.
    """

    def __init__(self, message: str, chain: tuple[str, ...] = ()) -> None:
        super().__init__(" -> ".join((*chain, message)))
        self.chain = chain


class InstrumentationError(EllOtelError):
    """A library we were asked to instrument or to use is missing or does not fit."""


class ExportError(EllOtelError):
    """Telemetry could not be handed to the next hop."""


class SpoolFullError(ExportError):
    """A folder of segments has reached its budget; room comes when somebody takes frames out."""

    retryable = True


class ReplayError(EllOtelError):
    """A recorded invocation could not be sent again."""


class IngestError(EllOtelError):
    """The embedded collector could not accept a request."""


class DecodeError(IngestError):
    """The payload is not the OTLP message it claims to be. Sending it again will not help."""


class OverloadedError(IngestError):
    """The embedded collector has too much in flight; try again after a pause."""

    retryable = True


class StoreError(EllOtelError):
    """The store could not be opened, read or written."""


class StoreLockedError(StoreError):
    """Another process holds the ``.ell`` store, which only one process can open."""

    retryable = True


class MigrationError(StoreError):
    """The tables of the store could not be brought to this release's schema."""


class NotFoundError(StoreError):
    """Nothing in the store goes by that name, hash or id."""
