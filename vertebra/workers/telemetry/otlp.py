"""Sends spans to a collector by OTLP over HTTP, with ids that are ours. Needs the extra `telemetry`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from vertebra.schemas.errors import SettingsError, StoreError
from vertebra.workers.telemetry.trace import Span

TIMEOUT_S = 5.0
"""Of one batch, tries included: the duty comes again by its own schedule."""


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
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._resource = Resource(dict(resource))
        self._endpoint = endpoint

    async def send(self, spans: Sequence[Span]) -> None:
        """In a thread: the library waits for the network."""
        from opentelemetry.sdk.trace.export import SpanExportResult  # an extra

        made = [_readable(span, self._resource) for span in spans]
        try:
            result = await asyncio.to_thread(self._exporter.export, made)
        except Exception as error:  # whatever transport the library has under it
            raise StoreError(f"the collector did not take spans: {error}", at=self._endpoint) from error
        if result is not SpanExportResult.SUCCESS:
            raise StoreError("the collector did not take spans", at=self._endpoint, do="nothing is lost: they are kept")

    async def aclose(self) -> None:
        """Let the connection go."""
        await asyncio.to_thread(self._exporter.shutdown)


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
