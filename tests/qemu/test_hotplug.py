# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""Memory comes to a running guest and goes, in use and merged.

A DIMM that the guest has filled is unplugged: the guest moves what is in it
and nothing of it is left. A balloon takes pages that were merged, and gives
them back.
"""
from guest import Guest, require

require()
DIMM = 128 << 20


def block_of(guest, size):
    found = [b for b in guest.stats()["blocks"] if b["bytes"] == size]
    return found[0] if found else None


def pages_in(guest, block):
    """How many pages of a block share a stable slot."""
    return sum(block["gpa"] <= a < block["gpa"] + block["bytes"]
               for addresses in guest.shared_slots().values()
               for a in addresses)


def plug(guest):
    guest.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "m",
                               "size": DIMM})
    guest.qmp("device_add", driver="pc-dimm", id="d", memdev="m")
    guest.wait("the block", lambda: block_of(guest, DIMM))
    block = block_of(guest, DIMM)
    guest.wait("pages of the DIMM merged",
               lambda: pages_in(guest, block) > 500)
    return block


def dimms(guest):
    return len(guest.qmp("query-memory-devices"))


def unplug(guest, block):
    """The guest empties it, and it takes some time."""
    guest.qmp("device_del", id="d")
    guest.wait("unplugged", lambda: not dimms(guest))
    guest.qmp("object-del", id="m")
    guest.wait("the block is gone", lambda: not block_of(guest, DIMM))
    end = block["hva"] + block["bytes"]
    for line in guest.read_maps():
        start = int(line.split("-")[0], 16)
        assert not ("twinfold" in line and block["hva"] <= start < end), line


def balloon(guest, size):
    guest.qmp("balloon", value=size)
    guest.wait("the balloon", lambda: abs(
        guest.qmp("query-balloon")["actual"] - size) < (1 << 20))
    guest.rounds(1)


def main():
    guest = Guest("hotplug", "-m", "256,slots=2,maxmem=1G", "-device",
                  "virtio-balloon-pci",
                  append="memhp_default_state=online_movable")
    guest.ready()
    guest.merged(2000)
    for _ in range(2):
        block = plug(guest)
        guest.rounds(1)
        print("pages of the DIMM merged:", pages_in(guest, block))
        unplug(guest, block)
        guest.rounds(2)
    balloon(guest, 160 << 20)
    balloon(guest, 256 << 20)
    guest.merged(2000)
    guest.rounds(1)
    guest.qmp("quit")
    assert guest.process.wait(30) == 0


main()
