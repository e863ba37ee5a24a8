"""The configuration of the four services, as an operator writes it: Postgres, loopback, and tuned."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from vertebra.schemas.canonical import Json
from vertebra.services import ports
from vertebra.services.ports import LOOPBACK

SERVICES = ("frontend", "history", "matching", "worker")
STORES = ("temporal", "temporal_visibility")
"""Its two databases, which deploy/postgres/init.sql makes."""
SHARDS = 4
_PORTS = range(20_000, 2**15)
DEPLOY = Path(__file__).parents[2] / "deploy"
"""What a production starts from: the suite runs on the same files."""
_FOR_TESTS = "".join(
    f"history.{queue}ProcessorUpdateAckInterval:\n  - value: 1s\n" for queue in ("visibility", "transfer", "timer")
)
"""A deleted history is gone once three queues have noted how far they are: stock, 33 s after it was asked."""


@dataclass(frozen=True)
class Database:
    """Where the server keeps its state."""

    port: int
    password: str
    user: str = "temporal"


@dataclass(frozen=True)
class ServicePorts:
    """What one service listens on."""

    grpc: int
    membership: int


def choose_ports() -> dict[str, ServicePorts]:
    """Two free ports for each service, none of them from the kernel: Postgres keeps them as small integers."""
    free = (port for port in random.sample(_PORTS, len(_PORTS)) if ports.is_free(port))
    return {name: ServicePorts(next(free), next(free)) for name in SERVICES}


def write(folder: Path, database: Database, chosen: dict[str, ServicePorts]) -> None:
    """Write what every service reads; JSON is YAML, and the password is read by its owner alone."""
    folder.mkdir(mode=0o700)
    dynamic = folder / "dynamic.yaml"
    dynamic.write_text((DEPLOY / "temporal" / "dynamic.yaml").read_text() + _FOR_TESTS)
    server = folder / "cluster.yaml"
    server.touch(mode=0o600)
    server.write_text(json.dumps(_server(database, chosen, dynamic), indent=2))


def _server(database: Database, chosen: dict[str, ServicePorts], dynamic: Path) -> Json:
    return {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "temporal",
            "visibilityStore": "temporal_visibility",
            "numHistoryShards": SHARDS,
            "datastores": {name: {"sql": _store(database, name)} for name in STORES},
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": LOOPBACK}},
        "services": {name: {"rpc": _rpc(ports_)} for name, ports_ in chosen.items()},
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"{LOOPBACK}:{chosen['frontend'].grpc}",
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "publicClient": {"hostPort": f"{LOOPBACK}:{chosen['frontend'].grpc}"},
        "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "10s"},
    }


def _store(database: Database, name: str) -> Json:
    return {
        "pluginName": "postgres12",
        "databaseName": name,
        "connectAddr": f"{LOOPBACK}:{database.port}",
        "connectProtocol": "tcp",
        "user": database.user,
        "password": database.password,
        "maxConns": 20,
        "maxIdleConns": 20,
        "maxConnLifetime": "1h",
    }


def _rpc(chosen: ServicePorts) -> Json:
    return {"grpcPort": chosen.grpc, "membershipPort": chosen.membership, "bindOnLocalHost": True}
