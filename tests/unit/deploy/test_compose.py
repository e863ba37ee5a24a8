"""docker-compose.yml and what it mounts: nothing of it is run, so all of it is read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from vertebra.services import temporal
from vertebra.settings import PREFIX, Settings, variable

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
_SCHEMA_MODULE = "github.com/compose-spec/compose-go/v2@v2.16.2"
_FETCH_S = 60.0
_SECRET = re.compile(r"PASSWORD|PWD|SECRET|TOKEN|_KEY$")
_REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
_OPTIONAL = re.compile(r"\$\{(ANTHROPIC|OPENAI)_API_KEY:-\}")


def once(service: dict[str, Any]) -> bool:
    """Whether it ends by itself."""
    return bool(service.get("restart") == "no")


@pytest.mark.timeout(120)
def test_it_is_a_compose_file(tmp_path: Path) -> None:
    """The file keeps the published schema of compose files, which comes with compose's own parser."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("not run: no go to fetch the schema with (golang-go)")
    env = {"HOME": str(tmp_path), "GOPATH": str(tmp_path / "go"), "GOFLAGS": "-modcacherw", "PATH": "/usr/bin:/bin"}
    command = [go, "mod", "download", "-json", _SCHEMA_MODULE]
    try:
        fetched = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True, timeout=_FETCH_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("not run: no network to fetch the schema over")
    schema = json.loads((Path(json.loads(fetched.stdout)["Dir"]) / "schema/compose-spec.json").read_text())

    problems = list(jsonschema_rs.validator_for(schema).iter_errors(COMPOSE))

    assert [] == [f"{problem.instance_path}: {problem.message}" for problem in problems]
    assert not jsonschema_rs.validator_for(schema).is_valid(COMPOSE | {"servces": {}})


def test_every_setting_that_it_names_exists() -> None:
    """A misspelled setting would stop every container at its start: each is one that vertebra reads."""
    known = {variable(name) for name in Settings.model_fields} | {variable("project")}
    named = {
        name for text in (TEXT, (ROOT / "Dockerfile").read_text()) for name in re.findall(rf"{PREFIX}[A-Z_]+", text)
    }

    assert set() == named - known
    assert {"VERTEBRA_GATE_DSN", "VERTEBRA_TEMPORAL_ADDRESS", "VERTEBRA_KEYS"} <= named


def test_no_password_is_written_down() -> None:
    """Every secret comes from outside; without the required ones compose refuses to start."""
    secrets = {
        f"{name}.{key}": str(value)
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
        if _SECRET.search(key) or "://" in str(value)
    }

    assert {} == {
        key: value for key, value in secrets.items() if not (_REQUIRED.search(value) or _OPTIONAL.search(value))
    }
    assert len(secrets) >= 8
    assert [] == re.findall(r"\$\{[A-Z_]*(?:PASSWORD|PWD)[A-Z_]*(?::?-[^}]*)?\}", TEXT)
    assert [] == re.findall(r"://[^:/\s]+:(?!\$)[^@\s]+@", TEXT)


def test_every_service_is_watched() -> None:
    """What stays up has a health check; what ends is waited for by its exit code."""
    silent = [name for name, service in SERVICES.items() if not once(service) and "test" not in service["healthcheck"]]
    waited = {
        (name, condition["condition"])
        for service in SERVICES.values()
        for name, condition in service.get("depends_on", {}).items()
    }

    assert [] == silent
    assert set() == {
        (name, condition)
        for name, condition in waited
        if condition != ("service_completed_successfully" if once(SERVICES[name]) else "service_healthy")
    }


def test_nothing_listens_to_the_world() -> None:
    """Ports are published on loopback only: whoever reaches Temporal as a worker can forge results."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_our_containers_have_few_rights() -> None:
    """An ordinary user, a read-only file system, no capability, no new privileges, and no shell as the command."""
    ours = {name: service for name, service in SERVICES.items() if service["image"].startswith("vertebra:")}

    assert {"keys", "migrate", "worker"} == set(ours)
    for service in ours.values():
        assert ("10001:10001", True, ["ALL"]) == (service["user"], service["read_only"], service["cap_drop"])
        assert any(str(option).startswith("no-new-privileges") for option in service["security_opt"])
        assert isinstance(service["command"], list)


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    """What is mounted is a named volume, the project, or a file of this repository."""
    sources = {
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
        if not mount.startswith("${PROJECT")
    }
    files = {source for source in sources if source.startswith("./")}

    assert set(COMPOSE["volumes"]) == sources - files
    assert all((ROOT / file).exists() for file in files)
    assert (ROOT / "deploy/seccomp.json").is_file()


def test_the_cluster_is_tuned_as_the_laptop_is() -> None:
    """The dynamic configuration holds the laptop's values for the queues and partitions that dispatch waits for."""
    written = yaml.safe_load((ROOT / "deploy/temporal/dynamic.yaml").read_text())
    laptop = {name: value for name, _, value in (line.partition("=") for line in temporal.TUNING)}

    assert {name: laptop[name] for name in written} == {name: str(one["value"]) for name, [one] in written.items()}
    assert 4 == len(written)


def test_the_profile_leaves_the_sandbox_its_calls() -> None:
    """bubblewrap makes namespaces and mounts in them; what looks into other processes or the kernel stays forbidden."""
    profile = json.loads((ROOT / "deploy/seccomp.json").read_text())
    [refused] = profile["syscalls"]

    assert ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO") == (profile["defaultAction"], refused["action"])
    assert set() == set(refused["names"]) & {"clone", "clone3", "unshare", "mount", "umount2", "pivot_root", "prctl"}
    assert {"ptrace", "bpf", "kexec_load", "init_module", "open_by_handle_at"} <= set(refused["names"])
