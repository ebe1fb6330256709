# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
"""Three Linux guests under stock QEMU, deduplicated live and hurt.

Pages that are shared and have a second copy are lost: the guests go on and
every checksum holds. One guest then loses pages that are nowhere else: QEMU's
own handler gets the error.
"""
import json
import os
import re
import signal
import subprocess

from guest import Guest, require
from harm import heals

require()
SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
           "resourcecontrol=deny")


def told(guest, command):
    """What the command said before it began, and what it returned."""
    before = guest.stats()["unmerge_bytes"]
    done = subprocess.run(
        [os.environ["TWINFOLD"], "ctl", guest.dir + "/ctl", command, "--json"],
        check=True, capture_output=True, text=True)
    found = re.search(r"takes (\d+) MiB of memory and about (\d+) ms",
                      done.stderr)
    assert found, done.stderr
    mib, ms = (int(n) for n in found.groups())
    return before, mib, ms, json.loads(done.stdout)


def switch_off(guest):
    """It says before how much memory and time that takes."""
    told(guest, "stop")
    before, mib, ms, done = told(guest, "unmerge")
    assert mib > 0 and abs(mib - (before >> 20)) <= 1, (before, mib)
    # The guest goes on writing: some pages are given back without us.
    assert 0.9 * before < done["bytes"] <= before, (before, done)
    print("un-merged:", mib, "MiB,", ms, "ms foreseen,", done["ms"], "ms")
    assert done["ms"] < 4 * ms + 500, (ms, done)
    assert not guest.stats()["pages_merged"]


def lose_unique(guest):
    """The kernel's code begins at 16 MiB."""
    shared = {a for slot in guest.shared_slots().values() for a in slot}
    for gpa in range(0x1000000, 0x1400000, 4096):
        if gpa not in shared:
            guest.ctl("inject", gpa=gpa, how="sim")
            if guest.process.poll() is not None:
                break


def main():
    three = [Guest("one", *SANDBOX), Guest("two", "-smp", "2"), Guest("three")]
    for guest in three:
        guest.ready()
    for guest in three:
        guest.merged(2000)
        guest.rounds(1)
    first, second, third = three
    first.qmp("stop")
    heals(second)
    first.qmp("cont")
    heals(first)
    switch_off(second)
    second.rounds(1)
    second.ctl("start")
    second.merged(2000)
    # A reset guest begins anew, in the same memory.
    ready = second.count("guest: ready")
    second.qmp("system_reset")
    second.wait("ready again", lambda: second.count("guest: ready") > ready)
    second.merged(2000)
    second.rounds(1)
    try:
        lose_unique(third)
    except (AssertionError, OSError):
        pass  # it may end while it is asked
    assert third.process.wait(30) == -signal.SIGBUS, third.process.returncode
    assert "it is QEMU's" in third.read("stderr")
    for guest in (first, second):
        guest.rounds(1)
        stats = guest.stats()
        print({k: stats[k] for k in ("pages_shared", "pages_sharing",
                                     "zero_pages", "breaks", "heals",
                                     "full_scans", "profit_bytes")})
        guest.qmp("quit")
        assert guest.process.wait(30) == 0


main()
