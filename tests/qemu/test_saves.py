# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""A guest is saved and restored, in every way that QEMU has.

A snapshot inside its disk's image and back (savevm, loadvm), a file (migrate
to exec:), a background snapshot while it runs, and QEMU 10's mapped-ram by
direct I/O. What is restored finds its files as they were, and merges again.
"""
import os
import tempfile
import time

from guest import BUILD, QEMU10, Guest, require
from migration import finished, goes_on, job, save, set_up, snapshot_image

require()


def snapshots(folder):
    """To an image and back, in a guest that goes on."""
    guest = Guest("snapshots")
    guest.ready()
    guest.merged(2000)
    snapshot_image(guest, folder + "/image")
    where = {"tag": "s", "vmstate": "q", "devices": ["q"]}
    job(guest, "snapshot-save", "save", **where)
    goes_on(guest)
    guest.ctl("stop")
    merged = guest.stats()["pages_merged"]
    assert merged >= 2000
    job(guest, "snapshot-load", "load", **where)
    # All of it was written: what was merged is not what is there now.
    assert guest.stats()["breaks"] > 0
    guest.qmp("cont")
    guest.ctl("start")
    goes_on(guest)
    return guest


def restore(target, uri):
    """`target` waits with -incoming defer."""
    target.qmp("migrate-incoming", uri=uri)
    target.wait("restored", lambda: finished(target))
    if target.qmp("query-status")["status"] == "paused":
        target.qmp("cont")
    goes_on(target)
    target.kill()


def stays_refused(guest):
    """For longer than the library waits before it tries again."""
    since = time.monotonic()

    def refused_for_long():
        nonlocal since
        ram = guest.stats()["blocks"][0]
        assert ram["bytes"] == 256 << 20
        if "userfaultfd" not in (ram["reason"] or "") or any(
                a < ram["bytes"] for s in guest.shared_slots().values()
                for a in s):
            since = time.monotonic()
        return time.monotonic() > since + 3
    guest.wait("refused", refused_for_long)
    # Once when it begins, once when it is tried again.
    assert guest.read("stderr").count("userfaultfd") <= 3


def background(guest, folder):
    """While it goes on, none of the guest's pages is merged."""
    gate, file = folder + "/gate", folder + "/background"
    set_up(guest, "background-snapshot")
    guest.qmp("migrate", uri=f"exec:while [ ! -e {gate} ]; do sleep 0.1; done;"
              f" cat > {file}")
    stays_refused(guest)
    with open(gate, "w", encoding="utf8"):
        pass
    guest.wait("saved", lambda: finished(guest))
    goes_on(guest)
    restore(Guest("restored-background", "-incoming", "defer"),
            f"exec:cat < {file}")


def direct(guest):
    ways = ("mapped-ram", "multifd")
    set_up(guest, *ways)
    guest.qmp("migrate-set-parameters", **{"direct-io": True})


def mapped(folder):
    """From a file that QEMU 10 reads straight into guest RAM."""
    uri = f"file:{folder}/mapped"
    source = Guest("mapped", newer=True)
    source.ready()
    source.merged(2000)
    direct(source)
    source.qmp("migrate", uri=uri)
    source.wait("saved", lambda: finished(source))
    source.kill()
    target = Guest("restored-mapped", "-incoming", "defer", newer=True)
    direct(target)
    restore(target, uri)


def main():
    with tempfile.TemporaryDirectory(prefix="saves-", dir=BUILD) as folder:
        guest = snapshots(folder)
        background(guest, folder)
        guest.qmp("stop")
        uri = f"exec:cat > {folder}/saved"
        save(guest, uri)
        guest.kill()
        restore(Guest("restored", "-incoming", "defer"),
                f"exec:cat < {folder}/saved")
        if os.path.exists(QEMU10):
            mapped(folder)


main()
