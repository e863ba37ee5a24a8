"""The system calls that sandboxed code may not make, as the program that the kernel runs before each of them."""

from __future__ import annotations

import errno
import functools
import tempfile

_FORBIDDEN = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "bpf"),
    *("perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd"),
    *("keyctl", "add_key", "request_key"),
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    *("pivot_root", "chroot", "setns", "unshare"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("open_by_handle_at", "name_to_handle_at", "fanotify_init", "quotactl", "quotactl_fd"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname"),
    *("iopl", "ioperm", "personality", "acct", "syslog", "vhangup"),
    *("mbind", "set_mempolicy", "migrate_pages", "move_pages", "vmsplice"),
)
_NAMESPACES = {  # CLONE_NEWTIME shares its bit with the exit signal: clone cannot ask for it
    "CLONE_NEWNS": 0x20000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
_TERMINAL_INPUT = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
_LOW_32_BITS = 0xFFFFFFFF  # the kernel looks at no more of an ioctl's request


@functools.cache
def filter_program() -> bytes:
    """The filter in the form that bwrap loads. Raises OSError or ImportError where libseccomp is missing."""
    import pyseccomp  # loads libseccomp, which macOS lacks

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refused = pyseccomp.ERRNO(errno.EPERM)
    for name in _FORBIDDEN:
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:  # some exist on one architecture only
            rules.add_rule(refused, name)
    for flag in _NAMESPACES.values():
        rules.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for request in _TERMINAL_INPUT.values():
        rules.add_rule(refused, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _LOW_32_BITS, request))
    # its flags lie behind a pointer that a filter cannot follow; the C library then falls back to clone
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
