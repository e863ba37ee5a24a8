"""A collector of spans for tests: an HTTP server that reads OTLP and remembers it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What was received. `refuses` answers 400, which no client tries again by itself."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, str]] = []
        self.refuses = False
        self.dislikes: bytes | None = None
        """Refuses what mentions this."""
        self.url = ""

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace, in the order of their coming."""
        return [span for span in self.spans if span.trace_id.hex() == trace]

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        for told in request.resource_spans:
            self.resources.append({item.key: item.value.string_value for item in told.resource.attributes})
            for scope in told.scope_spans:
                self.spans += scope.spans


def attributes(span: Span) -> dict[str, object]:
    """The attributes of a span by name."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}  # type: ignore[arg-type]  # one is always set


@contextmanager
def collecting() -> Iterator[Collector]:
    """Serve on a port of the kernel's choice until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            refuses = collector.refuses or (collector.dislikes is not None and collector.dislikes in body)
            if not refuses:
                collector.take(body)
            self.send_response(400 if refuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
