"""Attacks on the sandbox, run inside it: each function tries one way out and says `escaped: ...` or `stopped: ...`.

The file is read as text and handed over as a job's source, so it uses the standard library only. Whatever is neither (a
mistake of the probe itself, say) fails the test.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

CLONE_NEWUSER = 0x10000000
SYSCALLS = {  # x86_64
    **{"ptrace": 101, "syslog": 103, "personality": 135, "vhangup": 153, "pivot_root": 155, "chroot": 161, "acct": 163},
    **{"settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169, "sethostname": 170},
    **{"iopl": 172, "init_module": 175, "clock_settime": 227, "mbind": 237, "kexec_load": 246, "add_key": 248},
    **{"keyctl": 250, "unshare": 272, "vmsplice": 278, "perf_event_open": 298, "name_to_handle_at": 303},
    **{"open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "kcmp": 312, "bpf": 321, "userfaultfd": 323},
    **{"io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "pidfd_getfd": 438, "mount_setattr": 442},
}


def _system_call(number: int, *arguments: object) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    if libc.syscall(number, *words) == -1:
        return f"stopped: {errno.errorcode[ctypes.get_errno()]}"
    return "escaped: the call succeeded"


def _try(attempt: Callable[[], object]) -> str:
    try:
        return f"escaped: {attempt()!r:.200}"
    except OSError as error:
        return f"stopped: {errno.errorcode.get(error.errno or 0, error)}"


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def system_call(facts: dict[str, str]) -> str:
    """Make one forbidden system call with arguments that would otherwise get as far as possible."""
    name = facts["call"]
    plain: dict[str, tuple[object, ...]] = {
        "add_key": (b"user", b"vertebra", b"x", 1, -3),
        "unshare": (CLONE_NEWUSER,),
        "ptrace": (0, 0, 0, 0),
        "personality": (0x0040000,),
        "io_uring_setup": (8, ctypes.create_string_buffer(256)),
        "kcmp": (os.getpid(), os.getpid(), 0, 0, 1),
        "chroot": (b"/tmp",),
        "keyctl": (0, -3, 1),
    }
    return _system_call(SYSCALLS[name], *plain.get(name, (0, 0, 0, 0, 0)))


def process_memory(facts: dict[str, str]) -> str:
    """Read memory by process_vm_readv."""

    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    source, target = ctypes.create_string_buffer(b"secret"), ctypes.create_string_buffer(6)
    here, there = Vector(ctypes.addressof(target), 6), Vector(ctypes.addressof(source), 6)
    return _system_call(310, os.getpid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


def clone_with_namespace(facts: dict[str, str]) -> str:
    """Make a user namespace by clone, which shares its number with fork."""
    return _system_call(56, CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)


def clone3_with_namespace(facts: dict[str, str]) -> str:
    """Make a user namespace by clone3, whose flags no filter can see."""
    arguments = (ctypes.c_uint64 * 8)(CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD)
    return _system_call(435, arguments, 64)


def unshare_program(facts: dict[str, str]) -> str:
    """Become root of a new user namespace by the program."""
    ended = subprocess.run(["/usr/bin/unshare", "--user", "--map-root-user", "true"], capture_output=True, check=False)
    return "escaped: a namespace" if ended.returncode == 0 else "stopped: unshare failed"


def terminal_input(facts: dict[str, str]) -> str:
    """Type into a terminal by TIOCSTI."""
    _master, slave = os.openpty()
    return _system_call(16, slave, 0x5412, b"x")


def terminal_input_high_bits(facts: dict[str, str]) -> str:
    """Type into a terminal by TIOCSTI with high bits that the kernel ignores."""
    _master, slave = os.openpty()
    return _system_call(16, slave, ctypes.c_uint64(0x100005412), b"x")


def host_files(facts: dict[str, str]) -> str:
    """Read the machine's files: passwords, homes, the checkout, the canary."""
    places = ("/etc/shadow", "/etc/passwd", "/root", "/home", "/work", "/var", "/sys", facts["file"])
    seen = [place for place in places if os.path.exists(place)]
    return f"escaped: {seen}" if seen else "stopped: nothing there"


def host_files_through_proc(facts: dict[str, str]) -> str:
    """Read the machine's files through the roots and folders of processes."""
    seen = []
    for link in (*glob.glob("/proc/[0-9]*/root"), *glob.glob("/proc/[0-9]*/cwd")):
        if os.path.exists(link + facts["file"]) or os.path.exists(link + "/etc/passwd"):
            seen.append(link)
    return f"escaped: {seen}" if seen else "stopped: nothing there"


def host_files_by_link(facts: dict[str, str]) -> str:
    """Leave the job's folder by a link."""
    os.symlink(facts["file"], "/box/link")
    return _try(lambda: _read("/box/link"))


def write_outside(facts: dict[str, str]) -> str:
    """Write anywhere but /tmp and /box."""
    written = []
    for place in ("/", "/usr", "/usr/bin", "/dev", "/dev/shm", "/proc", "/proc/sys/kernel", "/bin", "/lib"):
        try:
            with open(f"{place}/vertebra", "w") as file:
                file.write("x")
            written.append(place)
        except OSError:
            continue
    return f"escaped: {written}" if written else "stopped: all read-only"


def kernel_settings(facts: dict[str, str]) -> str:
    """Change the core pattern, through which the kernel starts programs."""
    return _try(lambda: open("/proc/sys/kernel/core_pattern", "w").write("|/tmp/x"))


def devices(facts: dict[str, str]) -> str:
    """Open the machine's memory and disks."""
    seen = [
        path
        for path in ("/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/fuse")
        if os.path.exists(path)
    ]
    return f"escaped: {seen}" if seen else "stopped: nothing there"


def make_device(facts: dict[str, str]) -> str:
    """Make a device file of the first disk."""
    return _try(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0)))


def environment(facts: dict[str, str]) -> str:
    """Read the variables of the worker, in this process and in its ancestors."""
    texts = [str(dict(os.environ))]
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            texts.append(_read(path))
        except OSError:
            continue
    return "escaped: the canary" if any(facts["canary"] in text for text in texts) else "stopped: not there"


def descriptors(facts: dict[str, str]) -> str:
    """Use files that were left open."""
    targets = [
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
    ]
    odd = [target for target in targets if not target.startswith(("pipe:", "/dev/null", "/proc/"))]
    return f"escaped: {odd}" if odd else "stopped: pipes only"


def network_ipv4(facts: dict[str, str]) -> str:
    """Reach a service of this machine by IPv4."""
    return _try(lambda: socket.create_connection(("127.0.0.1", int(facts["port"])), 2))


def network_outside(facts: dict[str, str]) -> str:
    """Send a packet to the outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return _try(lambda: sender.sendto(b"x", ("192.0.2.1", 53)))


def network_ipv6(facts: dict[str, str]) -> str:
    """Reach the outside by IPv6."""
    return _try(lambda: socket.create_connection(("2001:db8::1", 80), 2))


def abstract_socket(facts: dict[str, str]) -> str:
    """Reach a service of this machine by an abstract Unix socket, which no folder hides."""
    with socket.socket(socket.AF_UNIX) as client:
        return _try(lambda: client.connect("\0" + facts["abstract"]))


def unix_socket(facts: dict[str, str]) -> str:
    """Reach a service of this machine by its socket file."""
    with socket.socket(socket.AF_UNIX) as client:
        return _try(lambda: client.connect(facts["socket"]))


def raw_socket(facts: dict[str, str]) -> str:
    """Read packets from the wire."""
    return _try(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))


def interface_by_netlink(facts: dict[str, str]) -> str:
    """Bring a network interface up by netlink."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        message = (32).to_bytes(4, sys.byteorder) + b"\x10\x00\x05\x00" + b"\0" * 8
        link.send(message + b"\0\0\0\0" + (1).to_bytes(4, sys.byteorder) + b"\1\0\0\0\1\0\0\0")  # RTM_NEWLINK lo up
        code = int.from_bytes(link.recv(4096)[16:20], sys.byteorder, signed=True)
    return "escaped: lo is up" if code == 0 else f"stopped: {errno.errorcode[-code]}"


def kill_host_process(facts: dict[str, str]) -> str:
    """Kill a process of the machine by its number."""
    return _try(lambda: os.kill(int(facts["victim"]), signal.SIGKILL))


def kill_first_process(facts: dict[str, str]) -> str:
    """Kill the first process of the namespace, which does not hear its children."""
    os.kill(1, signal.SIGKILL)
    time.sleep(0.1)
    return "stopped: the first process lives" if os.path.exists("/proc/1") else "escaped: it died"


def host_processes(facts: dict[str, str]) -> str:
    """See the machine's processes."""
    count = len(glob.glob("/proc/[0-9]*"))
    return f"escaped: {count} processes" if count > 3 else "stopped: only our own"


def gain_rights(facts: dict[str, str]) -> str:
    """Become root by a program that is root's."""
    ended = subprocess.run(["/usr/bin/su", "-c", "id"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    rights = _read("/proc/self/status").split("CapEff:")[1].split()[0]
    return "escaped: root" if ended.returncode == 0 or int(rights, 16) else "stopped: nobody still"


def set_user(facts: dict[str, str]) -> str:
    """Become another user."""
    return _try(lambda: os.setuid(0))


def raise_limits(facts: dict[str, str]) -> str:
    """Raise the limit of memory again."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return "stopped: EPERM"
    return "escaped: no limit"


def raise_priority(facts: dict[str, str]) -> str:
    """Take more of the processors than others."""
    return _try(lambda: os.nice(-5))


def fork_bomb(facts: dict[str, str]) -> str:
    """Start processes until it fails."""
    children = []
    try:
        for _ in range(2000):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    except OSError:
        return f"stopped: {len(children)}" if len(children) < 64 else f"escaped: {len(children)}"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
    return f"escaped: {len(children)}"


def thread_bomb(facts: dict[str, str]) -> str:
    """Start threads until it fails."""
    threads = 0
    done = threading.Event()
    try:
        for _ in range(2000):
            threading.Thread(target=done.wait, daemon=True).start()
            threads += 1
    except RuntimeError:
        return f"stopped: {threads}" if threads < 64 else f"escaped: {threads}"
    finally:
        done.set()
    return f"escaped: {threads}"


def memory(facts: dict[str, str]) -> str:
    """Use 2 GB in one process."""
    blocks = []
    try:
        for _ in range(64):
            blocks.append(b"\1" * (32 << 20))
    except MemoryError:
        return f"stopped: at {len(blocks) * 32} MB"
    return "escaped: 2 GB"


def memory_by_many(facts: dict[str, str]) -> str:
    """Use 2 GB in eight processes, none of which breaks its own limit."""
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            block = b"\1" * (256 << 20)
            time.sleep(1 if block else 0)
            os._exit(0)
        children.append(child)
    ended = [os.waitpid(child, 0)[1] for child in children]
    return "escaped: 2 GB" if not any(ended) else "stopped: killed"


def fill_disk(facts: dict[str, str]) -> str:
    """Write until /tmp and /box are full."""
    written = 0
    for place in ("/tmp", "/box"):
        try:
            for number in range(100):
                with open(f"{place}/{number}", "wb") as file:
                    for _ in range(16):
                        written += file.write(b"\0" * (1 << 20))
        except OSError:
            continue
    return f"stopped: {written >> 20} MB" if written <= 130 << 20 else f"escaped: {written >> 20} MB"


def open_files(facts: dict[str, str]) -> str:
    """Hold as many files open as the machine has."""
    kept = []
    try:
        for _ in range(5000):
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return f"stopped: {len(kept)}"
    return f"escaped: {len(kept)}"


def flood(facts: dict[str, str]) -> str:
    """Print a gigabyte."""
    block = b"x" * (1 << 20)
    for _ in range(1024):
        os.write(1, block)
    return "escaped: 1 GB"


def flood_answers(facts: dict[str, str]) -> str:
    """Answer with a gigabyte."""
    block = b"x" * (1 << 20)
    for _ in range(1024):
        os.write(3, block)
    return "escaped: 1 GB"


def spin(facts: dict[str, str]) -> str:
    """Use the processor for ever."""
    while time.monotonic() < float("inf"):
        pass
    return "escaped: no end"


def sleep(facts: dict[str, str]) -> str:
    """Stay for ever."""
    time.sleep(600)
    return "escaped: no end"


def daemon(facts: dict[str, str]) -> str:
    """Leave a process behind that has left session, group and parent."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, "-I", "-c", "import time; time.sleep(600)", facts["marker"]])
        os._exit(0)
    time.sleep(0.3)
    return "stopped: if nothing is left, as the test looks up"
