# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stock QEMU with KVM: a firmware's RAM is merged, by KVM's own addresses."""
import os
import subprocess

from guest import SOURCE, Guest, require, skip, work

require()


def firmware():
    """Assemble bios.S into 64 KiB."""
    obj, path = work + "/bios.o", work + "/bios"
    subprocess.run(["gcc", "-m32", "-c", SOURCE + "/tests/qemu/bios.S", "-o",
                    obj], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", obj, path],
                   check=True)
    assert os.path.getsize(path) == 65536
    return path


def rounds(guest, n):
    """`n` more rounds, and no wrong byte ever."""
    def text():
        found = guest.read("console") if \
            os.path.exists(guest.dir + "/console") else ""
        assert "X" not in found, found
        return found
    want = text().count(".") + n
    guest.wait(f"{n} rounds", lambda: text().count(".") >= want)


def main():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("no access to /dev/kvm")
    guest = Guest("kvm", "-bios", firmware(), boot=False, accel="kvm")
    rounds(guest, 2)
    guest.merged(8)
    breaks = guest.stats()["breaks"]
    rounds(guest, 3)
    guest.wait("breaks", lambda: guest.stats()["breaks"] > breaks)
    # The firmware's window below 1 MiB is no RAM of the guest's: KVM says so.
    lines = guest.lines("ctl")
    answer = lines.ask("inject", {"gpa": 0xf0000, "how": "sim"})
    lines.close()
    assert "no guest RAM" in answer["error"]["desc"], answer
    done = guest.ctl("unmerge", gpa=0x20000, bytes=0x10000)
    assert done["bytes"] > 0, done
    rounds(guest, 2)


main()
