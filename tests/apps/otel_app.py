"""An app with OpenTelemetry, importable by child processes, which export into the file that a task names."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.baggage import get_baggage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from longboat import Longboat, current
from longboat.otel import OpenTelemetry

place: list[Path] = []
"""Where a child process writes what it exports; empty elsewhere."""


def write(*lines: str) -> None:
    for path in place:
        with path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


class SpansToFile(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        write(*(span.to_json(indent=None) for span in spans))
        return SpanExportResult.SUCCESS


class MetricsToFile(MetricExporter):
    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:  # noqa: ARG002  # as its protocol has it
        write(json.dumps({"metrics": sorted({metric.name for metric in metrics_of(metrics_data)})}))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:  # noqa: ARG002  # as its protocol has it
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:  # noqa: ARG002  # as its protocol has it
        return


def metrics_of(data: Any) -> list[Any]:
    return [metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]


memory = InMemorySpanExporter()
reader = InMemoryMetricReader()
tracing = TracerProvider()
tracing.add_span_processor(SimpleSpanProcessor(memory))
# Never by itself within a test: what arrives was flushed by a child process that leaves.
tracing.add_span_processor(BatchSpanProcessor(SpansToFile(), schedule_delay_millis=600_000))
hourly = PeriodicExportingMetricReader(MetricsToFile(), export_interval_millis=3_600_000)
measuring = MeterProvider([reader, hourly])

app = Longboat("memory://")
app.add_middleware(OpenTelemetry(tracer_provider=tracing, meter_provider=measuring))
tracer = tracing.get_tracer("test")


def work(name: str) -> str | None:
    """A span of the user's own, within the task's; what came with the caller's context."""
    with tracer.start_as_current_span(name):
        return str(get_baggage("customer") or "")


@app.task(name="acoroutine", queue="mail")
async def acoroutine() -> str | None:
    await asyncio.sleep(0)
    return work("inside a coroutine")


@app.task(name="plain", queue="mail")
def plain() -> str | None:
    return work("inside a thread")


@app.task(name="process", queue="pictures", executor="process")
def process(path: str, url: str) -> str | None:
    """Goes on in the trace from its child process, where the broker can be reached from there."""
    place[:] = [Path(path)]
    if not url.startswith("memory"):
        app.url = url
        with app:
            plain.enqueue()
    return work("inside a child process")


@app.task(name="first")
async def first() -> str:
    return (await plain.aenqueue()).id


@app.task(name="mother")
def mother() -> str:
    return current().enqueue(plain).id


@app.task(name="fails", retries=2, backoff=0.01)
def fails() -> str | None:
    if current().attempt < 3:
        raise ValueError(f"no {current().attempt}")
    return "at last"


@app.task(name="too_slow", queue="slow", executor="process", timeout=0.3)
def too_slow(path: str) -> None:
    place[:] = [Path(path)]
    time.sleep(20)


@app.task(name="too_slow_as_well", queue="slow", timeout=0.1)
async def too_slow_as_well() -> None:
    await asyncio.sleep(20)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@app.task(name="unspeakable")
def unspeakable() -> None:
    raise Unspeakable
