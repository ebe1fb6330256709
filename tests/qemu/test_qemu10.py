# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""QEMU 10: a guest with a direct disk comes there from the installed QEMU.

It merges, heals, and moves on, from 10 to 10 and back, with the
library and without.
"""
import os
import tempfile

from guest import BUILD, Guest, require_qemu10
from harm import heals
from migration import migrate

require_qemu10()
MACHINE = ("-machine", "pc-i440fx-7.2")


def main():
    handle, image = tempfile.mkstemp(prefix="disk-", dir=BUILD)
    os.truncate(handle, 1 << 20)
    os.close(handle)
    disk = ("-drive", f"if=none,id=d,file={image},format=raw,"
            "cache.direct=on,aio=native", "-device", "virtio-blk-pci,drive=d")
    try:
        guest = Guest("old", *MACHINE, *disk)
        guest.ready()
        for step, (newer, library, *capabilities) in enumerate((
                (True, True), (True, False, "postcopy-ram"),
                (True, True, "postcopy-ram"), (False, True))):
            target = Guest(f"target{step}", *MACHINE, *disk, "-incoming",
                           "defer", newer=newer, library=library)
            migrate(guest, target, *capabilities)
            guest = target
            guest.wait_more("guest: disk ok", 1)
            if step == 0:
                heals(guest)
    finally:
        os.unlink(image)


main()
