# SPDX-License-Identifier: LGPL-2.1-or-later
"""On a kernel without UFFDIO_MOVE the library merges nothing and says so.

A process with the library, as a VMM would be, is run by that kernel: the one
of the tests' guests, when it is older than Linux 6.8.
"""
import os
import re
import shutil
import subprocess

from guest import BUILD, LIBRARY, Guest, kernel, pack, require, skip, work

require()
PROGRAM = BUILD + "/tests/qemu/test_preload_settings"
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
LD_PRELOAD=/library TWINFOLD_CTL=/ctl /program cannot_merge
echo "guest: result $?"
poweroff -f
"""


def copy_libraries(root):
    """What the program and the library are linked with, in its place."""
    told = subprocess.run(["ldd", PROGRAM, LIBRARY], check=True,
                          capture_output=True, text=True).stdout
    for path in set(re.findall(r"(/\S+) \(0x", told)):
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, root + path)


def initrd():
    root = work + "/old-root"
    for name in ("bin", "proc", "dev"):
        os.makedirs(f"{root}/{name}")
    shutil.copy("/bin/busybox", root + "/bin/busybox")
    shutil.copy(PROGRAM, root + "/program")
    shutil.copy(LIBRARY, root + "/library")
    copy_libraries(root)
    with open(root + "/init", "w", encoding="utf8") as file:
        file.write(INIT)
    os.chmod(root + "/init", 0o755)
    return pack(root, work + "/old-initrd")


def main():
    version = re.search(r"vmlinuz-(\d+)\.(\d+)", kernel()).groups()
    if tuple(map(int, version)) >= (6, 8):
        skip("the kernel of the tests' guests has UFFDIO_MOVE")
    guest = Guest("old", initrd=initrd(), library=False)
    guest.wait("the result", lambda: "guest: result" in guest.console())
    assert "guest: result 0" in guest.console(), guest.console()
    assert "this kernel lacks UFFDIO_MOVE" in guest.console()


main()
