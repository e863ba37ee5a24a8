"""The steps of the Dockerfile, taken by hand in an empty folder: nothing of the sources is left to help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_STAGE = re.compile(r"(?m)^FROM .*$")
_PLACES = ("/tools", "/opt/vertebra", "/dist")


def steps(stage: str) -> list[list[str]]:
    """The COPY and RUN lines of a stage, in order, each with its words."""
    joined = re.sub(r"(?m)^#.*\n", "", stage).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in joined.splitlines() if line.startswith(("COPY ", "RUN "))]


@pytest.mark.timeout(600)
def test_the_steps_make_a_working_command(tmp_path: Path) -> None:
    """Locked libraries with checked hashes, a wheel from the sdist, and a command that works from an empty project."""
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("not run: no /usr/bin/python3 (python3)")
    _, build, _ = _STAGE.split(DOCKERFILE)
    context, cache = tmp_path / "build", os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))
    context.mkdir()
    env = {**os.environ, "PATH": "/usr/bin:/bin", "UV_CACHE_DIR": cache, "UV_PYTHON_DOWNLOADS": "never"}

    for kind, text in steps(build):
        if kind == "COPY":
            _copy(text.split()[:-1], context)
        elif "apt-get" not in text:
            _run(_here(text, tmp_path), context, env)

    shutil.rmtree(context)
    program, project = tmp_path / "opt/vertebra/bin/vertebra", tmp_path / "project"
    project.mkdir()
    (project / "vertebra.toml").write_text('name = "shop"\n')
    assert "Run workflows and gated effects" in _run(f"{program} worker --help", project, env)
    assert "sandbox" in _run(f"{program} doctor", project, env)
    assert str(tmp_path) in _run(
        f"{program.parent}/python -c 'import vertebra; print(vertebra.__file__)'", project, env
    )


def test_the_image_is_an_ordinary_users() -> None:
    """It ends as a numbered user, with a health check and no shell between the signal and the command."""
    last = _STAGE.split(DOCKERFILE)[-1]

    assert "USER 10001:10001" in last
    assert 'CMD ["vertebra", "worker", "--check"]' in last
    assert 'ENTRYPOINT ["vertebra"]' in last
    assert last.index("USER") < last.index("ENTRYPOINT")


def _copy(names: list[str], context: Path) -> None:
    for name in names:
        source, target = ROOT / name, context / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def _here(command: str, folder: Path) -> str:
    """The command with the image's places in the folder, and with the caches that save the registry and us time."""
    for place in _PLACES:
        command = re.sub(rf"(?<![\w/.]){place}\b", str(folder) + place, command)
    return command.replace("--no-cache-dir", "").replace("--no-cache", "")


def _run(command: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(["sh", "-ec", command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
