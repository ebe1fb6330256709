# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""What QEMU does to its own process before the guest starts.

It becomes a daemon and changes its user: the guest merges and heals as ever.
It changes its root, where there is no /proc: the guest is left alone, and the
reason is told; with /proc there it merges.
"""
import ctypes
import os
import pwd
import shutil
import subprocess
import time

from guest import Guest, qemu, require, skip, work
from harm import lose_shared

require()
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
NOBODY = pwd.getpwnam("nobody")


class Daemon:
    """A process that is ours by inheritance, as Popen shows it."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self):
        os.kill(self.pid, 9)

    def wait(self, seconds=30):
        end = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        return self.returncode


def daemonized():
    """With nothing to say on standard error: the log goes to a file."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    log = f"{work}/daemon.log"
    guest = Guest("daemon", "-daemonize", "-pidfile", "pid",
                  env={"TWINFOLD_LOG": log})
    parent = guest.process
    assert parent.wait(30) == 0, guest.read("stderr")
    guest.process = Daemon(int(guest.read("pid")))
    with open(log, encoding="utf8") as file:
        assert "mode both" in file.read()
    return guest


def options(**how):
    """In the words of this QEMU."""
    text = subprocess.run([*qemu(False), "--help"], check=True,
                          capture_output=True, text=True).stdout
    if "-runas" in text:
        words = {"user": "-runas", "chroot": "-chroot"}
        return [w for k, v in how.items() for w in (words[k], v)]
    return ["-run-with", ",".join(f"{k}={v}" for k, v in how.items())]


class Rooted(Guest):
    """In a root of its own, with /proc or without."""

    def __init__(self, name, proc):
        self.root = f"{work}/root-{name}"
        os.makedirs(self.root + "/proc")
        prefix = ("unshare", "--mount", "sh", "-c",
                  f'mount --bind /proc {self.root}/proc && exec "$@"',
                  "sh") if proc else ()
        super().__init__(name, *options(chroot=self.root), prefix=prefix)


def goes_on(guest):
    guest.ready()
    guest.merged(2000)
    guest.rounds(1)
    lose_shared(guest)
    guest.rounds(2)
    assert guest.stats()["heals"] > 0
    assert not guest.stats()["vmces"]


def other_user():
    os.chmod(work, 0o755)
    guest = Guest("user", *options(user="nobody"))
    os.chown(guest.dir, NOBODY.pw_uid, NOBODY.pw_gid)
    return guest


def is_refused(guest):
    guest.ready()
    guest.wait("refused", lambda: all(
        b["state"] == "refused" for b in guest.stats()["blocks"]))
    for block in guest.stats()["blocks"]:
        assert "/proc" in block["reason"], block
    guest.rounds(1)
    assert not guest.stats()["pages_merged"]


def main():
    if not shutil.which("unshare"):
        skip("no unshare (util-linux)")
    for start, check in ((daemonized, goes_on), (other_user, goes_on),
                         (lambda: Rooted("proc", True), goes_on),
                         (lambda: Rooted("bare", False), is_refused)):
        guest = start()
        check(guest)
        guest.qmp("quit")
        assert guest.process.wait(30) == 0


main()
