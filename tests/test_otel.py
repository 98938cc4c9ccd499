"""OpenTelemetry: one trace from the caller through all attempts, wherever they run, and metrics beside it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.baggage import set_baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from longboat import BrokerUnavailable, Job, JobFailed, Longboat, Middleware, group
from longboat.otel import OpenTelemetry
from tests.apps import otel_app as it
from tests.rigs.waiting import until


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Longboat]:
    it.app.url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    it.memory.clear()
    with it.app:
        yield it.app


def spans(name: str, count: int = 1) -> list[ReadableSpan]:
    """Those of that name, once there are so many; a result may be there before its attempt's span has ended."""
    until(lambda: len(named(name)) >= count)
    assert len(named(name)) == count
    return named(name)


def named(name: str) -> list[ReadableSpan]:
    found = [span for span in it.memory.get_finished_spans() if span.name == name]
    return sorted(found, key=lambda span: span.start_time or 0)


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.context is not None
    assert parent.context is not None
    same = span.parent is not None and span.parent.span_id == parent.context.span_id
    return same and span.context.trace_id == parent.context.trace_id


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("name", ["acoroutine", "plain"])
def test_one_trace_leads_from_the_caller_into_the_function(app: Longboat, name: str) -> None:
    task = app.named(name)
    with app.worker(), it.tracer.start_as_current_span("request"):
        token = attach(set_baggage("customer", "acme"))
        handle = task.enqueue()
        detach(token)
        assert handle.result(10) == "acme"
    (request,), (send,), (process,) = spans("request"), spans("send mail"), spans("process mail")
    (inside,) = [span for span in it.memory.get_finished_spans() if span.name.startswith("inside")]
    assert is_child(send, request)
    assert is_child(process, send)
    assert is_child(inside, process)
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert [link.context.span_id for link in process.links] == [send.context.span_id]
    common = {
        "messaging.system": "longboat",
        "messaging.destination.name": "mail",
        "messaging.longboat.task": name,
        "messaging.message.id": handle.id,
    }
    sent = {"messaging.operation.name": "send", "messaging.operation.type": "send", "messaging.message.body.size": 1}
    ran = {"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.longboat.attempt": 1}
    assert about(send) == common | sent
    assert about(process) == common | ran
    assert send.status.status_code is process.status.status_code is StatusCode.UNSET


@pytest.mark.slow
def test_a_child_process_exports_before_it_leaves_and_its_jobs_go_on_in_the_trace(app: Longboat, tmp_path: Path) -> None:
    file = tmp_path / "exported"
    with app.worker(processes=1):
        it.process.enqueue(str(file), app.url).result(20)
        if app.url != "memory://":
            spans("process mail")
    (send,) = spans("send pictures")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    found = {span["name"]: span for span in told if "name" in span}
    trace = f"0x{send.context.trace_id:032x}"
    assert {span["context"]["trace_id"] for span in found.values()} == {trace}
    process, inside = found["process pictures"], found["inside a child process"]
    assert process["parent_id"] == f"0x{send.context.span_id:016x}"
    assert inside["parent_id"] == process["context"]["span_id"]
    assert process["attributes"]["messaging.longboat.task"] == "process"
    (metrics,) = [line["metrics"] for line in told if "metrics" in line]
    assert "messaging.process.duration" in metrics
    if app.url != "memory://":
        assert found["send mail"]["parent_id"] == process["context"]["span_id"]
        (last,) = spans("process mail")
        assert f"0x{last.context.trace_id:032x}" == trace


@pytest.mark.slow
def test_an_attempt_that_took_too_long_is_told(app: Longboat, tmp_path: Path) -> None:
    file = tmp_path / "exported"
    with app.worker(processes=1):
        in_child, in_loop = it.too_slow.enqueue(str(file)), it.too_slow_as_well.enqueue()
        for handle in (in_child, in_loop):
            with pytest.raises(JobFailed, match="timeout"):
                handle.result(20)
        (span,) = spans("process slow")
    assert about(span)["error.type"] == "asyncio.exceptions.CancelledError"
    (told,) = [span for span in map(json.loads, file.read_text().splitlines()) if span.get("name") == "process slow"]
    assert told["attributes"]["error.type"] == "longboat.errors.Stopped"
    assert told["status"]["status_code"] == "ERROR"


@pytest.mark.parametrize("name", ["first", "mother"])
def test_a_job_enqueued_inside_a_job_goes_on_in_its_trace(app: Longboat, name: str) -> None:
    with app.worker():
        app.named(name).enqueue().result(10)
        (last,) = spans("process mail")
    (root,), (outer,), (send,) = spans("send default"), spans("process default"), spans("send mail")
    assert root.parent is None
    assert is_child(outer, root)
    assert is_child(send, outer)
    assert is_child(last, send)


def test_each_attempt_is_a_span_and_says_how_it_failed(app: Longboat) -> None:
    with app.worker():
        assert it.fails.enqueue().result(10) == "at last"
    (send,) = spans("send default")
    tries = spans("process default", 3)
    assert all(is_child(each, send) for each in tries)
    assert [about(each)["messaging.longboat.attempt"] for each in tries] == [1, 2, 3]
    assert [each.status.status_code for each in tries] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [each.status.description for each in tries] == ["no 1", "no 2", None]
    assert [about(each).get("error.type") for each in tries] == ["ValueError", "ValueError", None]
    (event,) = tries[0].events
    assert (event.name, dict(event.attributes or {})["exception.message"]) == ("exception", "no 1")


def test_an_exception_that_cannot_be_told_is_the_job_s_failure_all_the_same(app: Longboat) -> None:
    with app.worker(), pytest.raises(JobFailed) as failed:
        it.unspeakable.enqueue().result(10)
    assert failed.value.type == "tests.apps.otel_app.Unspeakable"
    (span,) = spans("process default")
    assert span.status.status_code is StatusCode.ERROR
    assert about(span)["error.type"] == "tests.apps.otel_app.Unspeakable"


def test_many_jobs_of_one_call_have_one_span_that_sent_them(app: Longboat) -> None:
    async def begin() -> None:
        await it.plain.aenqueue_many([()] * 3)

    it.plain.enqueue_many([()] * 1500)
    it.plain.enqueue_many([])
    with it.tracer.start_as_current_span("request"):
        asyncio.run(begin())
    large, small = spans("send mail", 2)
    assert [about(each)["messaging.batch.message_count"] for each in (large, small)] == [1500, 3]
    assert "messaging.message.id" not in about(large)
    assert is_child(small, spans("request")[0])
    with app.worker():
        senders = [span.parent.span_id for span in spans("process mail", 1503) if span.parent is not None]
    assert senders.count(large.context.span_id) == 1500
    assert senders.count(small.context.span_id) == 3


def test_a_flow_over_several_queues_is_sent_by_one_span(app: Longboat) -> None:
    with app.worker():
        group(it.plain.s(), it.fails.s()).enqueue().result(10)
        (mail,), (default, *_) = spans("process mail"), spans("process default", 3)
    (send,) = spans("send")
    assert about(send)["messaging.batch.message_count"] == 2
    assert not {"messaging.destination.name", "messaging.longboat.task"} & about(send).keys()
    assert is_child(mail, send)
    assert is_child(default, send)


def test_what_was_not_stored_is_an_error_of_the_caller() -> None:
    class Refuses(Middleware):
        def before_enqueue(self, job: Job) -> None:  # noqa: ARG002  # as its protocol has it
            raise PermissionError("not you")

    it.memory.clear()
    with Longboat("sqlite:////nowhere/at/all.db") as app:
        app.add_middleware(OpenTelemetry(tracer_provider=it.tracing, meter_provider=it.measuring))

        @app.task(name="t")
        def t() -> None: ...

        with pytest.raises(BrokerUnavailable):
            t.enqueue()
        app.add_middleware(Refuses())
        with pytest.raises(PermissionError):
            t.enqueue()
    down, refused = spans("send default", 2)
    assert {down.status.status_code, refused.status.status_code} == {StatusCode.ERROR}
    assert about(refused)["error.type"] == "PermissionError"
    assert about(down)["error.type"] == "longboat.errors.BrokerMisconfigured"


def test_a_worker_started_within_a_span_does_not_draw_jobs_of_others_into_it(app: Longboat) -> None:
    bare = Longboat(app.url) if app.url != "memory://" else app
    job = Job(1, "one", "plain", b"\x80", "mail")
    with it.tracer.start_as_current_span("start-up"), app.worker():
        bare.broker.put([job])
        (process,) = spans("process mail")
    bare.close()
    assert process.parent is None
    assert process.links == ()
    assert about(process)["messaging.destination.name"] == "mail"


def test_metrics_count_and_measure(app: Longboat) -> None:
    it.reader.get_metrics_data()
    before = points()
    with app.worker():
        it.plain.enqueue_many([()] * 5)
        it.fails.enqueue().result(10)
        spans("process mail", 5)
        until(lambda: difference(before, "messaging.process.duration").get(("default", "")) == 1)
    assert difference(before, "messaging.client.sent.messages") == {("mail", ""): 5, ("default", ""): 1}
    assert difference(before, "messaging.client.operation.duration") == {("mail", ""): 1, ("default", ""): 1}
    assert difference(before, "messaging.client.consumed.messages") == {("mail", ""): 5, ("default", ""): 3}
    ran = {("mail", ""): 5, ("default", ""): 1, ("default", "ValueError"): 2}
    assert difference(before, "messaging.process.duration") == ran


def points() -> dict[tuple[str, str, str], float]:
    """Counts so far by (metric, queue, error)."""
    found: dict[tuple[str, str, str], float] = {}
    data = it.reader.get_metrics_data()
    for metric in it.metrics_of(data) if data is not None else []:
        for point in metric.data.data_points:
            labels = point.attributes
            key = metric.name, labels.get("messaging.destination.name", ""), labels.get("error.type", "")
            found[key] = found.get(key, 0) + getattr(point, "count", getattr(point, "value", 0))
    return found


def difference(before: dict[tuple[str, str, str], float], metric: str) -> dict[tuple[str, str], float]:
    grown = {key: value - before.get(key, 0) for key, value in points().items()}
    return {(queue, error): value for (name, queue, error), value in grown.items() if name == metric and value}


def test_the_global_providers_are_used_also_when_they_are_set_later() -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from longboat import Longboat
from longboat.otel import OpenTelemetry

with Longboat("memory://") as app:
    app.add_middleware(OpenTelemetry())
    app.send("before")
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    app.send("after")
    assert [span.attributes["messaging.longboat.task"] for span in found.get_finished_spans()] == ["after"]
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_package_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import longboat\n"
        "try:\n    import longboat.otel\n"
        "except longboat.MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'longboat[otel]'" in done.stdout
