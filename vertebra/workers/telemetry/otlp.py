"""Sends spans to a collector by OTLP over HTTP, with ids that are ours. Needs the extra `telemetry`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from threading import Thread
from typing import Any, Protocol

from vertebra.schemas.errors import SettingsError, StoreError
from vertebra.workers.telemetry.trace import Span

TIMEOUT_S = 5.0
"""Of one batch, tries included: the duty comes again by its own schedule."""


PATIENCE_S = 2 * TIMEOUT_S
"""After this a batch is given up: the library's own limit is per read, and a collector may answer byte by byte."""
KEPT = "nothing is lost: they are kept"


class SpanSink(Protocol):
    """Where spans go."""

    async def send(self, spans: Sequence[Span]) -> None:
        """Deliver all of them. Raises StoreError if that is not certain."""


class Otlp:
    """A collector that speaks OTLP over HTTP."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]) -> None:
        """Raises SettingsError where OpenTelemetry is not installed. Headers come from OTEL_EXPORTER_OTLP_HEADERS."""
        try:
            # imported here: an extra, and half a second that no other worker spends
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
        except ImportError:
            raise SettingsError(
                "OpenTelemetry is not installed", at="traces_endpoint", do="run: pip install 'vertebra[telemetry]'"
            ) from None
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S, session=_session())
        self._resource = Resource(dict(resource))
        self._endpoint = endpoint
        self._sending: Future[Any] | None = None

    async def send(self, spans: Sequence[Span]) -> None:
        """In a thread: the library waits for the network. One at a time, also where one is given up."""
        from opentelemetry.sdk.trace.export import SpanExportResult  # an extra

        if self._sending is not None and not self._sending.done():
            raise StoreError("the collector has not answered to the spans before", at=self._endpoint, do=KEPT)
        ended: Future[Any] = Future()
        made = [_readable(span, self._resource) for span in spans]
        # not of the loop's own threads: those are waited for at the end, and look up every address meanwhile
        Thread(target=_export, args=(self._exporter, made, ended), name="spans", daemon=True).start()
        self._sending = ended
        answer = asyncio.wrap_future(ended)
        if not (await asyncio.wait([answer], timeout=PATIENCE_S))[0]:
            raise StoreError(f"the collector did not answer within {PATIENCE_S:g} s", at=self._endpoint, do=KEPT)
        try:
            result = answer.result()
        except Exception as error:  # whatever transport the library has under it
            raise StoreError(f"the collector did not take spans: {error}", at=self._endpoint) from error
        if result is not SpanExportResult.SUCCESS:
            raise StoreError("the collector did not take spans", at=self._endpoint, do=KEPT)

    async def aclose(self) -> None:
        """Let the connection go."""
        await asyncio.to_thread(self._exporter.shutdown)


def _session() -> Any:
    """Connections that believe a 2xx alone: the library takes a redirect, which it does not follow, for a success."""
    import requests  # the library's own, an extra

    def look(response: Any, **_: object) -> None:
        response.close()  # of what it says besides nothing is needed, and it may never end
        if response.status_code < 200 or 300 <= response.status_code < 400:
            raise requests.HTTPError(f"it answered {response.status_code}, which takes nothing")

    session = requests.Session()
    session.stream = True
    session.hooks["response"].append(look)
    return session


def _export(exporter: Any, spans: Sequence[Any], ended: Future[Any]) -> None:
    ended.set_running_or_notify_cancel()
    try:
        ended.set_result(exporter.export(spans))
    except Exception as error:
        ended.set_exception(error)


def _readable(span: Span, resource: Any) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan  # an extra
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanKind, Status, StatusCode

    return ReadableSpan(
        name=span.name,
        context=_context(span.trace, span.id),
        parent=None if span.parent is None else _context(span.trace, span.parent),
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind.CLIENT if span.kind == "client" else SpanKind.INTERNAL,
        status=Status(StatusCode.UNSET if span.ok else StatusCode.ERROR),
        start_time=_nanoseconds(span.started_at),
        end_time=_nanoseconds(span.ended_at),
        instrumentation_scope=InstrumentationScope("vertebra"),
    )


def _context(trace: str, span: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags  # an extra

    return SpanContext(int(trace, 16), int(span, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
