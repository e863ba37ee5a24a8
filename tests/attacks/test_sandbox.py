"""Every way out of the sandbox that we know, tried; and guards taken away, to show that the tries are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vertebra.schemas.tool import Job, JobAnswer, Limits
from vertebra.tools.sandbox import cgroup
from vertebra.tools.sandbox.bwrap import Programs, find_programs
from vertebra.tools.sandbox.cgroup import Parents, find_parents
from vertebra.tools.sandbox.probe import probe, try_level
from vertebra.tools.sandbox.standard import StandardSandbox

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)"
    ),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="not run: system call numbers of x86_64"),
]

SOURCE = Path(__file__).with_name("escapes.py").read_text()
LIMITS = Limits(wall_s=120, cpu_s=5)
CALLS = (
    *("ptrace", "syslog", "personality", "vhangup", "pivot_root", "chroot", "acct", "settimeofday", "mount", "umount2"),
    *("swapon", "reboot", "sethostname", "iopl", "init_module", "clock_settime", "mbind", "kexec_load", "add_key"),
    *("keyctl", "unshare", "vmsplice", "perf_event_open", "name_to_handle_at", "open_by_handle_at", "setns", "kcmp"),
    *("bpf", "userfaultfd", "io_uring_setup", "open_tree", "fsopen", "pidfd_getfd", "mount_setattr"),
)
ESCAPES = (
    *("process_memory", "clone_with_namespace", "clone3_with_namespace", "unshare_program", "terminal_input"),
    *("terminal_input_high_bits", "host_files", "host_files_through_proc", "host_files_by_link", "write_outside"),
    *("kernel_settings", "devices", "make_device", "environment", "descriptors", "network_ipv4", "network_outside"),
    *("network_ipv6", "abstract_socket", "unix_socket", "raw_socket", "interface_by_netlink", "kill_host_process"),
    *("kill_first_process", "host_processes", "gain_rights", "set_user", "raise_limits", "raise_priority", "fork_bomb"),
    *("thread_bomb", "memory", "fill_disk", "open_files"),
)
REFUSED = {  # by this error and no other: EINVAL would only mean that the try is clumsy
    "process_memory": "EPERM",
    "clone_with_namespace": "EPERM",
    "clone3_with_namespace": "ENOSYS",
    "terminal_input": "EPERM",
    "terminal_input_high_bits": "EPERM",
}
ENDED = {  # by the limit that ends them
    "flood": ("TooMuchOutput",),
    "flood_answers": ("TooMuchOutput",),
    "spin": ("Killed",),
    "sleep": ("Timeout",),
}


@dataclass(frozen=True)
class Machine:
    """What there is to reach on the machine outside."""

    facts: dict[str, str]

    def job(self, function: str, limits: Limits = LIMITS, **more: str) -> Job:
        arguments = json.dumps({"facts": self.facts | more})
        return Job(id="attack", tool="escapes", function=function, source=SOURCE, arguments=arguments, limits=limits)


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    """A machine with services, a file, a variable, an open descriptor and a process for the taking."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        stack.callback(os.close, canary(folder))
        abstract = f"vertebra-{os.getpid()}"
        port = stack.enter_context(listening(socket.AF_INET, ("127.0.0.1", 0))).getsockname()[1]
        stack.enter_context(listening(socket.AF_UNIX, "\0" + abstract))
        stack.enter_context(listening(socket.AF_UNIX, str(folder / "socket")))
        victim = await asyncio.create_subprocess_exec("sleep", "600", user=nobody(), group=nobody())
        os.environ["VERTEBRA_TEST_CANARY"] = "canary-of-the-environment"
        yield Machine(
            {
                "file": str(folder / "canary"),
                "socket": str(folder / "socket"),
                "port": str(port),
                "abstract": abstract,
                "victim": str(victim.pid),
                "canary": "canary-of-the-environment",
            }
        )
        del os.environ["VERTEBRA_TEST_CANARY"]
        assert victim.returncode is None, "the process outside was killed"
        victim.kill()
        await victim.wait()


def canary(folder: Path) -> int:
    """Make a file that everybody may read and write, and leave it open for children."""
    folder.chmod(0o777)
    (folder / "canary").write_text("canary")
    (folder / "canary").chmod(0o666)
    inherited = os.open(folder / "canary", os.O_RDWR)
    os.set_inheritable(inherited, True)
    return inherited


@contextlib.contextmanager
def listening(family: socket.AddressFamily, address: tuple[str, int] | str) -> Iterator[socket.socket]:
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        if isinstance(address, str) and not address.startswith("\0"):
            os.chmod(address, 0o777)
        yield server


def nobody() -> int | None:
    """The user of the victim: the sandbox's own, so that the process namespace alone protects it."""
    return 65534 if os.geteuid() == 0 else None


@pytest.fixture(scope="module")
async def sandbox() -> StandardSandbox:
    probed = await probe()
    level = probed.require()
    assert isinstance(level, StandardSandbox)
    return level


def outcome(answer: JobAnswer) -> str:
    """What the probe says of itself, or the limit that ended it."""
    return str(json.loads(answer.answer)) if answer.answer else f"ended: {answer.error.type if answer.error else '?'}"


def tries(machine: Machine) -> dict[str, Job]:
    calls = {f"system_call {name}": machine.job("system_call", call=name) for name in CALLS}
    rest = {name: machine.job(name) for name in (*ESCAPES, "memory_by_many")}
    # only the sleeper is to end by the clock: on a busy machine the others need a while to come to their limits
    ended = {name: machine.job(name, Limits(wall_s=3 if name == "sleep" else 120, cpu_s=1)) for name in ENDED}
    return calls | rest | ended


@pytest.fixture(scope="module")
async def outcomes(sandbox: StandardSandbox, machine: Machine) -> dict[str, str]:
    """Every try, four at a time, and how it went."""
    turns = asyncio.Semaphore(4)

    async def run(job: Job) -> str:
        async with turns:
            return outcome(await sandbox.run(job))

    jobs = tries(machine)
    return dict(zip(jobs, await asyncio.gather(*map(run, jobs.values())), strict=True))


def stopped(name: str, how: str, *, grouped: bool) -> bool:
    """Whether this outcome is the stop that is expected: an error of the probe itself is none."""
    if name in ENDED:
        return how.removeprefix("ended: ") in ENDED[name]
    if name == "memory_by_many" and grouped:
        return how in ("stopped: killed", "ended: OutOfMemory")
    if name.startswith("system_call") or name in REFUSED:
        return how == f"stopped: {REFUSED.get(name, 'EPERM')}"
    if name == "memory":
        return how.startswith("stopped: at") or how == "ended: OutOfMemory"
    return how.startswith("stopped: ")


async def test_every_try_is_stopped(outcomes: dict[str, str], sandbox: StandardSandbox) -> None:
    """Stopped = tried, by name, for at least 60 ways out; without a control group memory of many processes is not."""
    grouped = sandbox.memory == "cgroup"
    tried = {name: how for name, how in outcomes.items() if grouped or name != "memory_by_many"}

    through = {name: how for name, how in tried.items() if not stopped(name, how, grouped=grouped)}

    assert {} == through
    assert len(tried) >= 60


async def test_a_flood_costs_little(sandbox: StandardSandbox, machine: Machine) -> None:
    """A gigabyte of output is cut while it is read, and 64 KiB of it are kept."""
    answer = await sandbox.run(machine.job("flood"))

    assert answer.error is not None
    assert "TooMuchOutput" == answer.error.type
    assert len(answer.printed) <= 64 * 1024


async def test_nothing_is_left_behind(sandbox: StandardSandbox, machine: Machine) -> None:
    """A daemon that left its session and ignores signals is gone when the job has ended."""
    marker = f"vt-daemon-{os.getpid()}"

    await sandbox.run(machine.job("daemon", marker=marker))

    assert not running(marker)


async def test_two_fork_bombs_do_not_disturb_others(sandbox: StandardSandbox, machine: Machine) -> None:
    """Two bombs at once stop below their limit, and a third job runs beside them."""
    bombs = [sandbox.run(machine.job("fork_bomb")) for _ in range(2)]

    *bombed, other = await asyncio.gather(*bombs, sandbox.run(machine.job("set_user")))

    assert Counter({"stopped": 2}) == Counter(outcome(answer).split(":")[0] for answer in bombed)
    assert "stopped: EINVAL" == outcome(other)


async def test_no_control_group_is_left(
    sandbox: StandardSandbox, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's group is removed when the job has ended, however it ended."""
    parents = find_parents()
    if parents is None:
        pytest.skip("not run: no writable control group")
    monkeypatch.setattr(cgroup, "_EMPTY_WITHIN_S", 60.0)  # the killed are gone when the machine comes to it

    await sandbox.run(machine.job("sleep", Limits(wall_s=1)))

    assert [] == [group for folder in parents.folders for group in folder.glob(f"vertebra-{os.getpid()}-*")]


def running(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


# Guards taken away: the same tries must then get through, or they would prove nothing.


class Weakened(StandardSandbox):
    """The sandbox without one of its guards."""

    def __init__(
        self, change: Callable[[list[str]], list[str]], programs: Programs | None = None, parents: Parents | None = None
    ) -> None:
        super().__init__(programs or find_programs(), parents)
        self._change = change

    def command(self, limits: Limits, filter_fd: int, groups: tuple[Path, ...]) -> list[str]:
        return self._change(super().command(limits, filter_fd, groups))


def without(*phrases: str) -> Callable[[list[str]], list[str]]:
    """Take these words out of the command line; `*` is any word."""

    def change(command: list[str]) -> list[str]:
        for phrase in phrases:
            words = phrase.split()
            at = next(n for n in range(len(command)) if matches(command[n : n + len(words)], words))
            command = command[:at] + command[at + len(words) :]
        return command

    return change


def matches(part: list[str], words: list[str]) -> bool:
    return len(part) == len(words) and all(word in ("*", found) for word, found in zip(words, part, strict=True))


def replaced(word: str, by: str) -> Callable[[list[str]], list[str]]:
    return lambda command: [by if part.startswith(word) else part for part in command]


Guard = tuple[str, Callable[[list[str]], list[str]], str, dict[str, str]]
_USERNS = ("--disable-userns", "--assert-userns-disabled")
GUARDS: tuple[Guard, ...] = (
    ("filter", without("--seccomp *"), "system_call", {"call": "add_key"}),
    ("filter", without("--seccomp *"), "system_call", {"call": "ptrace"}),
    ("filter", without("--seccomp *"), "system_call", {"call": "personality"}),
    ("filter", without("--seccomp *"), "process_memory", {}),
    ("network namespace", without("--unshare-net"), "network_ipv4", {}),
    ("network namespace", without("--unshare-net"), "abstract_socket", {}),
    ("process limit", replaced("--nproc", "--nproc=1000"), "fork_bomb", {}),
    ("memory limit", replaced("--as=", "--as=4294967296"), "memory", {}),
    ("file limit", replaced("--nofile", "--nofile=8192"), "open_files", {}),
    ("folder size", replaced("67108864", "1073741824"), "fill_disk", {}),
    ("read-only root", without("--remount-ro /dev", "--remount-ro /"), "write_outside", {}),
    (
        "user namespaces off",
        without("--disable-userns", "--assert-userns-disabled", "--seccomp *"),
        "unshare_program",
        {},
    ),
)


@pytest.mark.parametrize(
    ("guard", "change", "attack", "more"), GUARDS, ids=[f"{guard}: {attack}" for guard, _, attack, _ in GUARDS]
)
async def test_without_its_guard_the_attack_gets_through(
    machine: Machine, guard: str, change: Callable[[list[str]], list[str]], attack: str, more: dict[str, str]
) -> None:
    """With one guard removed, the attack that it stops succeeds."""
    weak = Weakened(change)

    assert outcome(await weak.run(machine.job(attack, LIMITS, **more))).startswith("escaped: "), guard


async def test_without_its_group_memory_of_many_gets_through(machine: Machine) -> None:
    """Address space limits alone do not bound eight processes together: that is what the group is for."""
    weak = Weakened(lambda command: command)

    assert "escaped: 2 GB" == outcome(await weak.run(machine.job("memory_by_many")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("--seccomp *"), "not filtered"),
        (without("--unshare-net"), "not without network"),
        (without("--remount-ro /"), "not unable to write outside"),
        (replaced("/usr/bin/prlimit", "/usr/bin/no-such-program"), "no-such-program"),
    ],
)
async def test_the_probe_refuses_a_weakened_level(change: Callable[[list[str]], list[str]], reason: str) -> None:
    """A level that lacks a guard, or does not start, is refused with the reason."""
    probed = await try_level(Weakened(change))

    assert probed.level is None
    assert reason in (probed.report.reason or "")


async def test_a_level_is_started_with_a_fresh_filter(sandbox: StandardSandbox, machine: Machine) -> None:
    """Ten launches in a row all carry the filter: none inherits a consumed descriptor."""
    runs: list[Awaitable[JobAnswer]] = [sandbox.run(machine.job("system_call", call="add_key")) for _ in range(10)]

    assert {"stopped: EPERM"} == {outcome(await run) for run in runs}
