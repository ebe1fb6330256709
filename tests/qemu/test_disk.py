# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests with direct I/O in flight, of any age, while their pages merge.

On a file system whose direct I/O pins pages nothing may be lost; elsewhere
nothing is merged, and the reason is told.
"""
import os
import subprocess
import tempfile

from guest import BUILD, Guest, require

require()
PINNING = ("ext2/ext3", "xfs", "btrfs")


def image(folder):
    handle, path = tempfile.mkstemp(prefix="disk-", dir=folder)
    os.truncate(handle, 1 << 20)
    os.close(handle)
    return path


def disk(path, aio):
    return ("-drive", f"if=none,id=d,file={path},format=raw,cache.direct=on,"
            f"aio={aio}", "-device", "virtio-blk-pci,drive=d")


def main():
    images = [image(BUILD), image(BUILD), image("/dev/shm")]
    kind = subprocess.run(["stat", "-f", "-c", "%T", BUILD], check=True,
                          capture_output=True, text=True).stdout.strip()
    try:
        guests = [Guest("threads", *disk(images[0], "threads")),
                  Guest("native", *disk(images[1], "native"))]
        unsafe = Guest("unsafe", "-S", *disk(images[2], "threads"),
                       boot=False)
        reasons = unsafe.stats()["reasons"]
        assert len(reasons) == 1 and "O_DIRECT" in reasons[0], reasons
        assert "merging is off" in unsafe.read("stderr")
        for guest in guests:
            guest.ready()
            guest.wait_more("guest: disk ok", 1)
            if kind not in PINNING:
                assert guest.stats()["reasons"]
                continue
            guest.merged(2000)
            guest.wait_more("guest: disk ok", 1)
            # Every page changes hands while requests are under way.
            for _ in range(2):
                guest.ctl("unmerge")
                guest.wait_more("guest: disk ok", 1)
            guest.merged(2000)
            guest.rounds(1)
            stats = guest.stats()
            print({k: stats[k] for k in ("pages_merged", "fence_busy",
                                         "fence_changed", "breaks")})
        assert not unsafe.stats()["pages_merged"]
    finally:
        for path in images:
            os.unlink(path)


main()
