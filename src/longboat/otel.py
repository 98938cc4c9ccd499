"""OpenTelemetry: a span for each call that enqueues and for each attempt, in one trace, and metrics of both.

    app.add_middleware(OpenTelemetry())

Names are those of the semantic conventions for messaging. Neither arguments nor results are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing import parent_process, util
from time import perf_counter
from typing import Any

from longboat import __version__
from longboat.core.job import Job
from longboat.errors import MissingExtra
from longboat.tasks.current import Running
from longboat.tasks.middleware import Middleware
from longboat.tasks.outgoing import Outgoing

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "opentelemetry":
        raise
    raise MissingExtra("longboat.otel needs another package: pip install 'longboat[otel]'") from None

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
QUEUE = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
MESSAGE_SIZE = "messaging.message.body.size"
BATCH_COUNT = "messaging.batch.message_count"
TASK = "messaging.longboat.task"
ATTEMPT = "messaging.longboat.attempt"
ERROR_TYPE = "error.type"

EDGES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Upper bounds in seconds of the histograms' buckets, as the conventions want them; a view may change them."""

LAST_FLUSH = 800
"""Milliseconds: a child process that leaves has a second before it is killed."""

_CARRIER = context.create_key("longboat-carrier")


class OpenTelemetry(Middleware):
    """Traces and measures an app's jobs. Without providers of its own it uses the global ones, also such as are set later.

    Each process exports what happens in it, by the providers that are there: set them up in the module that defines the
    app, which child processes import too. Those export what is left when they leave.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._providers = tracer_provider, meter_provider
        self._tracer = trace.get_tracer("longboat", __version__, tracer_provider)
        meter = metrics.get_meter("longboat", __version__, meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that this process tried to enqueue."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Attempts that began in this process."
        )
        self._sending, self._processing = (
            meter.create_histogram(name, "s", meaning, explicit_bucket_boundaries_advisory=EDGES)
            for name, meaning in (
                ("messaging.client.operation.duration", "What calls that enqueue took."),
                ("messaging.process.duration", "What attempts took."),
            )
        )
        if parent_process() is not None:  # the SDK's own way is atexit, which multiprocessing's children leave out
            util.Finalize(None, self._flush, exitpriority=0)

    def before_enqueue(self, job: Job) -> None:
        carrier: Any = context.get_value(_CARRIER)
        job.headers = {**job.headers, **carrier}

    def around_enqueue(self, outgoing: Outgoing) -> AbstractContextManager[None]:
        return self._send(outgoing)

    def around(self, call: Running) -> AbstractContextManager[None]:
        return self._process(call)

    @contextmanager
    def _send(self, outgoing: Outgoing) -> Iterator[None]:
        about = _about("send", outgoing.queue, outgoing.task)
        details: dict[str, Any] = {}
        if not outgoing.batch:
            details = {MESSAGE_ID: outgoing.first.id, MESSAGE_SIZE: len(outgoing.first.payload)}
        span = self._tracer.start_span(
            _name("send", outgoing.queue), kind=SpanKind.PRODUCER, attributes={**about, **details}
        )
        inner = trace.set_span_in_context(span)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, inner)
        try:
            with _measured(span, context.set_value(_CARRIER, carrier, inner), self._sending, about):
                yield
        finally:
            if outgoing.batch:
                span.set_attribute(BATCH_COUNT, outgoing.count)
            span.end()
            self._sent.add(outgoing.count, about)

    @contextmanager
    def _process(self, call: Running) -> Iterator[None]:
        about = _about("process", call.queue, call.task)
        origin = propagate.extract(call.headers)
        sender = trace.get_current_span(origin).get_span_context()
        links: Sequence[Link] = [Link(sender)] if sender.is_valid else ()
        attributes = {**about, MESSAGE_ID: call.id, ATTEMPT: call.attempt}
        span = self._tracer.start_span(
            _name("process", call.queue), origin, SpanKind.CONSUMER, attributes=attributes, links=links
        )
        self._consumed.add(1, about)
        try:
            with _measured(span, trace.set_span_in_context(span, origin), self._processing, about):
                yield
        finally:
            span.end()

    def _flush(self) -> None:
        tracer_provider, meter_provider = self._providers
        for provider in (tracer_provider or trace.get_tracer_provider(), meter_provider or metrics.get_meter_provider()):
            flush = getattr(provider, "force_flush", None)  # the SDK's have it, the API's do not
            if flush is not None:
                flush(LAST_FLUSH)


@contextmanager
def _measured(span: Span, inner: Context, seconds: Histogram, about: dict[str, Any]) -> Iterator[None]:
    """Run what follows within the context; what it raises goes to the span and to `about`."""
    begun = perf_counter()
    token = context.attach(inner)
    try:
        yield
    except BaseException as error:
        about[ERROR_TYPE] = _kind(error)
        span.set_attribute(ERROR_TYPE, about[ERROR_TYPE])
        span.set_status(StatusCode.ERROR)
        with suppress(Exception):  # the exception's own methods are anybody's code
            span.set_status(StatusCode.ERROR, str(error))
            span.record_exception(error)
        raise
    finally:
        context.detach(token)
        seconds.record(perf_counter() - begun, about)


def _about(operation: str, queue: str, task: str) -> dict[str, Any]:
    """What spans and metrics both carry."""
    about = {SYSTEM: "longboat", OPERATION: operation, OPERATION_TYPE: operation}
    if queue:
        about[QUEUE] = queue
    if task:
        about[TASK] = task
    return about


def _name(operation: str, queue: str) -> str:
    return f"{operation} {queue}" if queue else operation


def _kind(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
