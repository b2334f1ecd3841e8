"""One pipeline per process: where invocations become spans, and where those go.

With no OTLP endpoint the way is: span → stamp → finish → spool in the ``.ell`` folder. With one: span → stamp → finish
→ queue → batches by size → OTLP. An application's own ``TracerProvider`` is joined, never replaced: our processors are
added to it, and where it exports by itself we export none of its spans again. We never set a global provider.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import Logger, NoOpLogger, get_logger_provider
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span, Tracer

from ell_otel import config, semconv
from ell_otel.errors import ConfigError, ExportError
from ell_otel.telemetry import emit
from ell_otel.telemetry.blobs import BLOBS_NAME, Blobs
from ell_otel.telemetry.budget import Budget
from ell_otel.telemetry.exporter import Losses, Remote, SpoolLogExporter, SpoolSpanExporter
from ell_otel.telemetry.guard import guarded
from ell_otel.telemetry.openinference import translate
from ell_otel.telemetry.processors import (
    Contents,
    EmitNow,
    ExportNow,
    FinishProcessor,
    QueueLogs,
    QueueSpans,
    Step,
    drop_content,
    tidy_content,
)
from ell_otel.telemetry.recording import tracer_like
from ell_otel.telemetry.sdk import (
    OwnLoggerProvider,
    OwnTracerProvider,
    application_provider,
    joint_of,
    resource_of,
    stamp_events_of,
)
from ell_otel.telemetry.segments import SPOOL_NAME
from ell_otel.telemetry.spool import SegmentWriter
from ell_otel.telemetry.stamping import StampProcessor

REPORT_LOSSES_S: Final = 60.0
ANNOUNCE_UNSENT_S: Final = 60.0
"""When a program event that did not get through is due again; not at once, for a collector may refuse all of them."""
MAX_REPLACED: Final = 8
"""So many pipelines that others have taken the place of are kept, for spans that began in them."""


class Pipeline:
    """Tracer, logger and exporters for ``settings``. ``directory`` is the ``.ell`` folder when local, else None."""

    def __init__(self, settings: config.Settings, tracer_provider: TracerProvider | None = None) -> None:
        self.settings = settings
        self.directory = config.find_directory(settings) if settings.local else None
        self.blobs = Blobs(settings.blobs or (str(self.directory / BLOBS_NAME) if self.directory else ""))
        self.announced: dict[tuple[str, str], float] = {}  # (program, version) -> when it is due again
        self._losses = Losses(self._report_loss, every_s=0.0 if settings.local else REPORT_LOSSES_S)
        self._remote: Remote | None = None
        self._writer: SegmentWriter | None = None
        self._owned: list[SpanProcessor] = []
        joined = tracer_provider or application_provider()
        self.owns_provider = joined is None
        self._beside = joined is not None and settings.content is not True
        config.tell_libraries(content=settings.shares_content(joined=joined is not None))
        resource = joined.resource if joined else resource_of(settings)
        self._logger_provider = OwnLoggerProvider(resource, shutdown_on_exit=False, meter_provider=NoOpMeterProvider())
        self.tracer_provider = joined or OwnTracerProvider(
            resource=resource, shutdown_on_exit=False, meter_provider=NoOpMeterProvider()
        )
        self._joint = joint_of(self.tracer_provider)
        self._add(StampProcessor(_contents.put))
        stamp_events_of(get_logger_provider())
        self._connect(joined=joined is not None)
        self.tracer: Tracer = self.tracer_provider.get_tracer(semconv.SCOPE_NAME)
        if self.owns_provider:
            self.tracer = tracer_like(self.tracer, semconv.SCOPE_NAME, self._joint)
        self.logger: Logger = self._logger_provider.get_logger(semconv.SCOPE_NAME)

    def _connect(self, *, joined: bool) -> None:
        steps: tuple[Step, ...] = (translate, drop_content)
        if self.settings.record_content:
            steps = (translate, partial(tidy_content, self.blobs))
        if self.directory is not None:
            with guarded("preparing the .ell folder"):
                _prepare(self.directory)
            self._writer = writer = SegmentWriter(
                self.directory / SPOOL_NAME,
                segment_bytes=self.settings.segment_bytes,
                durability=self.settings.durability,
                budget=Budget(self.settings.spool_bytes, self.settings.spool_policy, self._losses.add),
                on_vanished=self.announced.clear,
            )
            spool = ExportNow(SpoolSpanExporter(writer, self._losses))
            self._add(FinishProcessor(spool, steps, _contents, only_ours=joined))
            self._logger_provider.add_log_record_processor(EmitNow(SpoolLogExporter(writer, self._losses)))
            return
        self._remote = Remote(self.settings, self._losses, self._unsent)
        if not joined:  # an application's own provider has its own exporter
            queue = QueueSpans(self._remote.spans)
            self._add(FinishProcessor(queue, steps, _contents, only_ours=False))
        self._logger_provider.add_log_record_processor(QueueLogs(self._remote.events))

    def content(self, span: Span, name: str, value: str) -> None:
        """Record what people or models wrote on ``span``: for our export, and for others only if that was asked."""
        self.record(span, {}, {name: value})

    def record(self, span: Span, attributes: dict[str, Any], contents: dict[str, str]) -> None:
        """As ``content``, for several contents, together with attributes that everybody may see."""
        if self._beside:
            for name, value in contents.items():
                _contents.put(span, name, value)
        else:
            attributes = {**attributes, **contents}
        span.set_attributes(attributes)

    def _add(self, processor: SpanProcessor) -> None:
        self._owned.append(processor)
        self._joint.following += (processor,)

    def _report_loss(self, count: int, reason: str, since_ns: int) -> None:
        if self.settings.local:
            self.announced.clear()  # a closure may have been among them
        emit.loss_event(self.logger, count, reason, since_ns)

    def _unsent(self, program: str, version: str) -> None:
        """A program event was lost: it is due again soon."""
        self.announced[program, version] = time.monotonic() + ANNOUNCE_UNSENT_S

    def flush(self) -> bool:
        """Hand on everything that has ended so far. True when all of it was."""
        flushed = [self.blobs.flush(), *(processor.force_flush() for processor in self._owned)]
        return all(flushed) and self._logger_provider.force_flush()

    def give_way(self) -> bool:
        """Another takes our place. False when we still stand: for spans of our own provider that have not ended yet.

        An application's provider goes on without us: what ends in it is the other's.
        """
        if not self.owns_provider:
            self.shutdown()
            return True
        with guarded("giving way to another pipeline"):
            if self._writer is not None:
                self._writer.close()  # readers may have the segment; a late span begins another
        return False

    def shutdown(self) -> None:
        """Flush and stop, within the exit deadline of the settings. Further spans are not recorded."""
        with guarded("ending"):
            self._losses.report()
            self.blobs.flush()
            for processor in self._owned:
                processor.shutdown()
            self._joint.following = tuple(each for each in self._joint.following if each not in self._owned)
            if self._remote is not None:
                self._remote.close()
            self._logger_provider.shutdown()


class DisabledPipeline(Pipeline):
    """Does nothing: for ``ELL_OTEL_DISABLED`` and for settings that cannot be used."""

    def __init__(self, settings: config.Settings) -> None:
        self.settings = settings
        self.directory = None
        self.announced = {}
        self.owns_provider = False
        self.tracer = trace.NoOpTracer()
        self.logger = NoOpLogger(semconv.SCOPE_NAME)

    def record(self, span: Span, attributes: dict[str, Any], contents: dict[str, str]) -> None:
        """Nothing is recorded."""

    def flush(self) -> bool:
        return True

    def give_way(self) -> bool:
        return True

    def shutdown(self) -> None:
        """Nothing to stop."""


_contents: Final = Contents()  # of all pipelines: a span may begin under one and end under the next

_lock = threading.RLock()
_current: Pipeline | None = None
_replaced: Final[list[Pipeline]] = []


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it, and is not here to give it back


os.register_at_fork(after_in_child=_after_fork_in_child)


def pipeline() -> Pipeline:
    """The pipeline in force; made from the environment at first use."""
    return _current or configure()


def configure(settings: config.Settings | None = None, tracer_provider: TracerProvider | None = None) -> Pipeline:
    """Make the pipeline for ``settings`` and put it in the place of the one before.

    Raises ``ConfigError`` when it cannot be made from them. Without ``settings`` they come from the environment, and
    what is wrong there is told and disables us instead: it is no reason for the host to fail.
    """
    global _current
    with _lock:
        if settings is None and _current is not None:  # another thread was first
            return _current
        if settings is not None:
            fresh = _made(settings, tracer_provider)
        else:
            fresh = DisabledPipeline(config.Settings(disabled=True))
            with guarded("preparing telemetry"):
                fresh = _made(config.resolve(), tracer_provider)
        before, _current = _current, fresh
        if before is not None and not before.give_way():
            _replaced.append(before)
        while len(_replaced) > MAX_REPLACED:
            _replaced.pop(0).shutdown()
        return _current


def _made(settings: config.Settings, tracer_provider: TracerProvider | None) -> Pipeline:
    if settings.disabled:
        return DisabledPipeline(settings)
    try:
        return Pipeline(settings, tracer_provider)
    except (OSError, ValueError) as error:  # a deleted working directory; an OTEL_* variable the SDK cannot read
        raise ConfigError(f"telemetry cannot be set up, so nothing is recorded: {error}") from error


@atexit.register
def _at_exit() -> None:
    # A program may still run after this, in a handler registered before ours, in a daemon thread or in a finalizer, and
    # by then no pipeline can be made. So the local one stays as it is: the spool needs no end.
    for each in (*_replaced, *([_current] if _current else [])):
        with guarded("ending"):
            end = each.flush if each.settings.local else each.shutdown
            end()


def reset() -> None:
    """End the pipeline in force, if there is one; the next use makes another."""
    global _current
    with _lock:
        ending = [*_replaced, *([_current] if _current else [])]
        _replaced.clear()
        _current = None
    for each in ending:
        each.shutdown()


def tell_libraries() -> None:
    """Tell other libraries already now about contents, where the pipeline that will do so is not made yet."""
    if _current is None:
        content = config.resolve().shares_content(joined=application_provider() is not None)
        config.tell_libraries(content=content)


def join() -> None:
    """Join the application's provider if it has one by now, and the pipeline in force has not."""
    in_force, provider = _current, application_provider()
    if provider is not None and (in_force is None or in_force.owns_provider):
        configure(in_force.settings if in_force is not None else config.resolve(), provider)


def _prepare(directory: Path) -> None:
    try:
        config.make_directory(directory)
    except OSError as error:
        raise ExportError(
            f"cannot make {directory}: {error.strerror}. Name another folder with ELL_OTEL_DIR"
        ) from error
