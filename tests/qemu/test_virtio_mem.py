# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""virtio-mem: a guest's memory grows and shrinks while it is merged.

The device's block is the engine's whole from the start; what is not plugged is
a hole. What the guest gives back is gone from QEMU and engine at once, and
comes back as zeros when the device grows again.
"""
from guest import Guest, require

require()
SIZE, GROWN, PART = 384 << 20, 256 << 20, 64 << 20
MIN_PAGES = 2000


def block(guest):
    found = [b for b in guest.stats()["blocks"] if b["bytes"] == SIZE]
    assert len(found) == 1, found
    return found[0]


def pages_in(guest):
    where = block(guest)
    return sum(where["gpa"] <= a < where["gpa"] + SIZE
               for addresses in guest.shared_slots().values()
               for a in addresses)


def resize(guest, size):
    at = "/machine/peripheral/v"
    guest.qmp("qom-set", path=at, property="requested-size", value=size)
    guest.wait(f"{size >> 20} MiB", lambda: guest.qmp(
        "qom-get", path=at, property="size") == size)


def grows_and_shrinks(guest):
    resize(guest, GROWN)
    guest.tell("fill")
    guest.wait("its pages merged", lambda: pages_in(guest) > MIN_PAGES)
    grown = pages_in(guest)
    resize(guest, PART)
    assert block(guest)["state"] == "merging", block(guest)
    guest.rounds(1)
    print("pages of the device merged:", grown, "then", pages_in(guest))
    resize(guest, GROWN)
    guest.rounds(1)
    guest.tell("drop")
    resize(guest, 0)
    guest.wait("nothing is left", lambda: not pages_in(guest))
    guest.rounds(1)


def start(name, backend, device):
    guest = Guest(name, "-m", "256M,maxmem=1G", "-object",
                  f"memory-backend-ram,id=m,size={SIZE}{backend}", "-device",
                  "virtio-mem-pci,id=v,memdev=m,requested-size=0" + device,
                  obeys=True,
                  append="memhp_default_state=online_movable")
    guest.ready()
    guest.merged(2000)
    return guest


def main():
    for name, backend, device in (("plain", "", ""),
                                  ("unreserved", ",reserve=off", ""),
                                  ("prealloc", "", ",prealloc=on")):
        guest = start(name, backend, device)
        for _ in range(2):
            grows_and_shrinks(guest)
        guest.qmp("quit")
        assert guest.process.wait(30) == 0


main()
