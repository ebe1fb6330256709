# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU as libvirt runs it: another user, a private /dev, the sandbox on.

With /dev/userfaultfd in that /dev it merges; without, the guest runs as ever
and the reason is told.
"""
import os
import shutil
import subprocess

from guest import Guest, require, skip, work

require()
NOBODY = 65534
SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
           "resourcecontrol=deny")


def private_dev(mode):
    """A command prefix: userfaultfd's node has this mode, and no rights."""
    node = f"{work}/userfaultfd-{mode:o}"
    number = os.stat("/dev/userfaultfd").st_rdev
    os.mknod(node, 0o020000 | mode, number)
    os.chmod(node, mode)
    os.chown(node, 0, NOBODY)
    return ("unshare", "--mount", "sh", "-c",
            f'mount --bind {node} /dev/userfaultfd && exec setpriv '
            f'--reuid {NOBODY} --regid {NOBODY} --clear-groups '
            f'--inh-caps=-all --bounding-set=-all -- "$@"', "sh")


class Unprivileged(Guest):
    def environment(self, library, env):
        os.chown(self.dir, NOBODY, NOBODY)
        return super().environment(library, env)


def main():
    for tool in ("unshare", "setpriv"):
        if not shutil.which(tool):
            skip(f"no {tool} (util-linux)")
    if subprocess.run(["unshare", "--mount", "true"],
                      check=False).returncode:
        skip("no right to make a mount namespace")
    os.chmod(work, 0o755)
    granted = Unprivileged("granted", *SANDBOX, prefix=private_dev(0o660))
    denied = Unprivileged("denied", *SANDBOX, prefix=private_dev(0o600))
    for guest in (granted, denied):
        guest.ready()
    granted.merged(2000)
    granted.rounds(2)
    stats = denied.stats()
    assert not stats["can_merge"] and not stats["pages_merged"], stats
    assert any("userfaultfd" in r for r in stats["reasons"]), stats
    assert "/dev/userfaultfd" in denied.read("stderr")
    denied.rounds(1)
    # Losing a page heals without any privilege, too.
    for addresses in granted.shared_slots().values():
        if len(addresses) >= 12:
            granted.ctl("inject", gpa=addresses[0], how="sim")
            break
    granted.rounds(1)
    for guest in (granted, denied):
        guest.qmp("quit")
        assert guest.process.wait(30) == 0


main()
