# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
"""Memory comes to a running guest and goes, in use and merged.

A DIMM that the guest has filled is unplugged: the guest moves what is in it
and nothing of it is left. Another guest cannot, and refuses: the DIMM stays,
and stays merged.
"""
from guest import Guest, require
from harm import heals

require()
DIMM = 128 << 20
# ACPI, _OST: who asks, and what it answers
EJECT, PENDING, IN_USE = 3, 0x84, 0x82


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
    guest.tell("fill")
    fills(guest, block)
    return block


def fills(guest, block):
    """What it was told to fill lies there, merged."""
    guest.wait("pages of the DIMM merged",
               lambda: pages_in(guest, block) > 2000)


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


def ejection(line):
    """What the guest's firmware interface says of it (_OST), or None."""
    if line.get("event") != "ACPI_DEVICE_OST":
        return None
    info = line["data"]["info"]
    return info["status"] if info["source"] == EJECT else None


def refuses(guest):
    """A guest that cannot empty its DIMM keeps it."""
    block = plug(guest)
    lines = guest.lines("qmp")
    assert "return" in lines.ask("qmp_capabilities", {})
    assert "return" in lines.ask("device_del", {"id": "d"})
    said = lines.read(lambda line: ejection(line) not in (None, PENDING))
    lines.close()
    assert ejection(said) == IN_USE and dimms(guest) == 1, said
    breaks = guest.stats()["breaks"]
    guest.rounds(3)
    assert block_of(guest, DIMM)["state"] == "merging"
    fills(guest, block)
    # It has not left the engine in between.
    guest.wait("breaks", lambda: guest.stats()["breaks"] > breaks)
    heals(guest)


def start(name, policy):
    guest = Guest(name, "-m", "256,slots=2,maxmem=1G", obeys=True,
                  append=f"memhp_default_state={policy}")
    guest.ready()
    guest.merged(2000)
    return guest


def end(guest):
    guest.rounds(1)
    guest.qmp("quit")
    assert guest.process.wait(30) == 0


def main():
    guest = start("empties", "online_movable")
    for _ in range(2):
        block = plug(guest)
        guest.rounds(1)
        print("pages of the DIMM merged:", pages_in(guest, block))
        unplug(guest, block)
        guest.rounds(2)
        guest.tell("drop")
    end(guest)
    # The guest's own tables go there, which nothing moves.
    guest = start("refuses", "online_kernel")
    refuses(guest)
    end(guest)


main()
