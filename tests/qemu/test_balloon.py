# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""Memory that a guest gives away while it runs, and takes again.

A balloon takes pages that were merged. Free page reporting gives back what the
guest has dropped, merged or not, and the guest fills it anew.
"""
from guest import Guest, require

require()
SOME = 1000  # pages, of 8192 that come and go: those of whole areas


def balloon(guest, size):
    guest.qmp("balloon", value=size)
    guest.wait("the balloon", lambda: abs(
        guest.qmp("query-balloon")["actual"] - size) < (1 << 20))
    guest.rounds(1)


def seen(guest):
    return guest.stats()["pages_seen"]


def reporting(guest):
    """The engine forgets whole areas that it had merged."""
    before = guest.stats()["pages_merged"]
    guest.tell("fill")
    guest.merged(before + SOME)
    filled = seen(guest)
    guest.tell("drop")
    guest.wait("what was dropped is gone", lambda: seen(guest) < filled - SOME)
    print("pages seen, filled:", filled, "dropped:", seen(guest))
    guest.rounds(1)


def main():
    guest = Guest("balloon", "-device",
                  "virtio-balloon-pci,free-page-reporting=on", obeys=True)
    guest.ready()
    guest.merged(2000)
    for _ in range(2):
        reporting(guest)
    balloon(guest, 160 << 20)
    balloon(guest, 256 << 20)
    guest.merged(2000)
    guest.rounds(1)
    guest.qmp("quit")
    assert guest.process.wait(30) == 0


main()
