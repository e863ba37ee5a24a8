"""The worker's figures for Prometheus, served by Temporal's runtime on one port with its own.

Counters begin at 0 with each worker, as Prometheus expects; gauges tell what the database holds and are the same on
every worker: take their maximum, not their sum.
"""

from __future__ import annotations

from temporalio.common import MetricMeter
from temporalio.runtime import (
    LoggingConfig,
    LoggingFormat,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from vertebra.activities.watch import Watch
from vertebra.schemas.errors import SettingsError
from vertebra.schemas.run import RunEnd
from vertebra.store.transaction import Row

_CALL_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0]
_TRIP_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]
_DELIVERY_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0]
_RUN_BUCKETS = [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0]
LINES = LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), format=LoggingFormat.JSON)
"""What Temporal's library itself has to say: JSON lines as ours, on standard output, where it can write only."""
NO_AGENT = "none"
GAUGES = {
    "vertebra_outbox_depth": "Rows that the keeper has still to carry out.",
    "vertebra_exports_depth": "Runs that a collector of spans has not been told in full.",
    "vertebra_concurrent_runs": "Runs that have not ended, waiting ones included.",
    "vertebra_active_agents": "Agents with a call in flight, each counted once a run.",
    "vertebra_runs_parked": "Runs that go on only when a person has said something.",
    "vertebra_approvals_pending": "Approvals that nobody has decided.",
    "vertebra_held_microusd": "Millionths of a dollar reserved for calls in flight.",
    "vertebra_unknown_microusd": "Millionths of a dollar held for calls whose outcome nobody knows.",
}


def runtime_alone() -> Runtime:
    """A runtime without a page of figures."""
    return Runtime(telemetry=TelemetryConfig(logging=LINES))


def runtime_serving(host: str, port: int) -> Runtime:
    """A runtime whose figures are at http://HOST:PORT/metrics. One for each process. Raises SettingsError."""
    buckets = {
        "vertebra_agent_processing_seconds": _CALL_BUCKETS,
        "vertebra_workflow_duration_seconds": _RUN_BUCKETS,
        "vertebra_delivery_seconds": _DELIVERY_BUCKETS,
        "vertebra_database_seconds": _TRIP_BUCKETS,
    }
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    config = PrometheusConfig(bind_address=address, durations_as_seconds=True, histogram_bucket_overrides=buckets)
    try:
        return Runtime(telemetry=TelemetryConfig(logging=LINES, metrics=config))
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"no figures can be served at {address}: {error}",
            at="metrics_port",
            do="set VERTEBRA_METRICS_PORT to a free port, and VERTEBRA_METRICS_HOST to an address of this machine",
        ) from None


class Figures(Watch):
    """Counts what it is told."""

    def __init__(self, meter: MetricMeter) -> None:
        counter, histogram = meter.create_counter, meter.create_histogram_float
        self._requests = counter("vertebra_agent_requests_total", "Attempts at models and tools that ended.")
        self._seconds = histogram("vertebra_agent_processing_seconds", "How long attempts took.")
        self._tokens = counter("vertebra_tokens_total", "Tokens that were settled.")
        self._cost = counter("vertebra_cost_microusd_total", "Millionths of a dollar that were settled.")
        self._refusals = counter("vertebra_gate_refusals_total", "Calls that the gate held or refused.")
        self._runs = counter("vertebra_workflow_executions_total", "Runs that ended.")
        self._run_seconds = histogram("vertebra_workflow_duration_seconds", "How long runs took, waits included.")
        self._sent = counter("vertebra_messages_sent_total", "Wakes that a run took, and reminders to people.")
        self._received = counter("vertebra_messages_received_total", "Signed rows that a run looked at first.")
        self._delivery = histogram("vertebra_delivery_seconds", "From a signed row to the first look of its run.")
        self._trips = histogram("vertebra_database_seconds", "How long round trips to the database took.")
        self._duties = counter("vertebra_keeper_duties_total", "Passes of the keeper's duties.")
        self._gauges = {name: meter.create_gauge(name, text) for name, text in GAUGES.items()}

    def settled(self, kind: str, agent: str, status: str, *, duration_ms: int, tokens: int, microusd: int) -> None:
        labels = {"agent_name": agent or NO_AGENT, "kind": kind}
        self._requests.add(1, {**labels, "status": status})
        self._seconds.record(duration_ms / 1000, labels)
        self._tokens.add(tokens, labels)
        self._cost.add(microusd, labels)

    def refused(self, kind: str, by: str, reason: str) -> None:
        self._refusals.add(1, {"kind": kind, "by": by, "reason": reason})

    def ended(self, graph: str, end: RunEnd, seconds: float) -> None:
        self._runs.add(1, {"graph_name": graph, "status": end})
        self._run_seconds.record(max(0.0, seconds), {"graph_name": graph})

    def sent(self, kind: str) -> None:
        self._sent.add(1, {"kind": kind})

    def received(self, kind: str, seconds: float) -> None:
        self._received.add(1, {"kind": kind})
        self._delivery.record(max(0.0, seconds), {"kind": kind})

    def trip(self, transaction: str, seconds: float) -> None:
        self._trips.record(seconds, {"transaction": transaction})

    def duty(self, name: str, *, ok: bool) -> None:
        self._duties.add(1, {"duty": name, "status": "done" if ok else "failed"})

    def stands(self, row: Row) -> None:
        """What the database holds now, by gauge."""
        for name, gauge in self._gauges.items():
            gauge.set(int(row[name.removeprefix("vertebra_")]))
