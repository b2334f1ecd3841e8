"""The SDK's providers that a pipeline stands on: ours, or the application's, in which we have one processor."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from pathlib import Path
from typing import Final, cast

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from ell_otel import config, semconv
from ell_otel.telemetry.processors import Joint
from ell_otel.telemetry.stamping import StampLogProcessor

# -- ours -------------------------------------------------------------------------------------------------------------


class OwnTracerProvider(TracerProvider):
    """In a forked child the SDK asks for the resource anew, in threads that it waits for. A child that is about to
    execute a command has no time for that, and under gevent the wait would run the host's other greenlets in it."""

    def _handle_fork(self) -> None:
        self._tracers_lock = threading.Lock()
        self._update_resource(_process())


class OwnLoggerProvider(LoggerProvider):
    """As ``OwnTracerProvider``."""

    def _handle_fork(self) -> None:
        self._logger_cache_lock = threading.Lock()
        self._active_loggers_lock = threading.Lock()
        self._update_resource(_process())


def resource_of(settings: config.Settings) -> Resource:
    """What the SDK finds out about this process, and what it is called here."""
    name = settings.service_name or Path(sys.argv[0] if sys.argv else "").stem or "python"
    own = Resource({semconv.SERVICE_NAME: name}).merge(_process())
    try:
        return Resource.create(own.attributes)
    except RuntimeError:  # it asks its detectors in threads, and the interpreter is ending and starts no more
        return own


def _process() -> Resource:
    return Resource({"process.pid": os.getpid()})


# -- the application's ------------------------------------------------------------------------------------------------

# By identity: logfire's providers, for one, cannot be hashed.
_joints: Final[list[tuple[weakref.ref[TracerProvider], Joint]]] = []
_stamped: Final[list[weakref.ref[LoggerProvider]]] = []


def joint_of(provider: TracerProvider) -> Joint:
    """Our processor in ``provider``, put there when it is first asked for."""
    _joints[:] = [(known, joint) for known, joint in _joints if known() is not None]
    for known, joint in _joints:
        if known() is provider:
            return joint
    joint = Joint()
    _joints.append((weakref.ref(provider), joint))
    provider.add_span_processor(joint)
    return joint


def stamp_events_of(provider: object) -> None:
    """Have the GenAI events of an application's logger provider stamped, once."""
    if isinstance(provider, LoggerProvider) and not any(known() is provider for known in _stamped):
        _stamped.append(weakref.ref(provider))
        provider.add_log_record_processor(StampLogProcessor())


def application_provider() -> TracerProvider | None:
    """The tracer provider that the application has set, where processors can be added to it."""
    provider = trace.get_tracer_provider()
    joinable = isinstance(provider, TracerProvider) or hasattr(provider, "add_span_processor")  # such as logfire's own
    return cast("TracerProvider", provider) if joinable else None
