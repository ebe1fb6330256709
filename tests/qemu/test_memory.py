# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of guest RAM that QEMU has: merged, or refused with a reason.

The guests do not run: what counts is how QEMU makes their memory.
"""
import os
import subprocess

from guest import Guest, qemu, require

require()


def paused(name, *args, **kind):
    return Guest(name, "-S", *args, boot=False, **kind)


def blocks(guest):
    """The blocks, when none of them waits any more."""
    def settled():
        found = guest.stats()["blocks"]
        return found and all(b["state"] != "waiting" for b in found)
    guest.wait("settled blocks", settled)
    return guest.stats()["blocks"]


def backend(kind, size="256M", name="m"):
    return ("-object", f"{kind},id={name},size={size}")


def check_merging():
    plain = paused("plain")
    populated = paused("prealloc",
                       *on_backend("memory-backend-ram,prealloc=on"))
    all_populated = paused("mem-prealloc", "-mem-prealloc")
    nodes = paused("nodes", *backend("memory-backend-ram", "128M", "m0"),
                   *backend("memory-backend-ram,host-nodes=0,policy=bind",
                            "128M", "m1"),
                   "-smp", "2", "-numa", "node,cpus=0,memdev=m0",
                   "-numa", "node,cpus=1,memdev=m1")
    for guest in (plain, populated, all_populated):
        found = blocks(guest)
        assert [b["bytes"] for b in found if b["state"] == "merging"][0] \
            == 256 << 20, found
    found = [b for b in blocks(nodes) if b["bytes"] == 128 << 20]
    assert [(b["gpa"], b["state"]) for b in found] == \
        [(0, "merging"), (128 << 20, "merging")], found
    # Preallocated zeros are the zero page soon.
    for guest in (populated, all_populated):
        guest.wait("zero pages",
                   lambda g=guest: g.stats()["zero_pages"] > 60000)


def refused(guest, why):
    found = blocks(guest)[0]
    assert found["state"] == "refused" and why in found["reason"], found
    guest.qmp("quit")
    assert guest.process.wait(30) == 0


def on_backend(kind):
    return (*backend(kind), "-machine", "memory-backend=m")


def locks():
    """What -overcommit mem-lock= can be in this QEMU."""
    told = subprocess.run([*qemu(False), "--help"], check=True,
                          capture_output=True, text=True).stdout
    return ("on", "on-fault") if "on-fault" in told else ("on",)


def check_refused():
    on_disk = os.path.join(os.environ["BUILD_DIR"], "ram-of-a-test")
    file = f"memory-backend-file,mem-path={on_disk},share="
    kinds = (
        ("shared", on_backend("memory-backend-memfd,share=on")),
        ("shared", on_backend("memory-backend-ram,share=on")),
        ("shared", on_backend(file + "on")),
        ("file-backed", on_backend(file + "off")),
        ("file-backed", on_backend(file + "off,prealloc=on")),
        ("file-backed", on_backend("memory-backend-memfd,share=off")),
        ("file-backed", ("-mem-path", os.environ["BUILD_DIR"])),
        ("file-backed", on_backend(
            "memory-backend-memfd,share=off,hugetlb=on,reserve=off")),
        *(("all memory is locked", ("-overcommit", "mem-lock=" + how))
          for how in locks()),
    )
    try:
        for n, (why, args) in enumerate(kinds):
            refused(paused(f"refused{n}", *args), why)
    finally:
        os.unlink(on_disk)


def check_mixed():
    """Each node of its own kind: one merges, the other says why not."""
    guest = paused("mixed", *backend("memory-backend-ram", "128M", "m0"),
                   *backend("memory-backend-memfd,share=on", "128M", "m1"),
                   "-smp", "2", "-numa", "node,cpus=0,memdev=m0",
                   "-numa", "node,cpus=1,memdev=m1")
    first, second = (b for b in blocks(guest) if b["bytes"] == 128 << 20)
    assert first["state"] == "merging" and not first["reason"], first
    assert second["state"] == "refused" and "shared" in second["reason"]
    guest.wait("a scan", lambda: guest.stats()["full_scans"] > 0)


def check_unwanted():
    """Without mem-merge nothing is named, and nothing begins."""
    guest = paused("unwanted", "-machine", "mem-merge=off")
    guest.qmp("query-status")
    assert not os.path.exists(guest.dir + "/ctl")
    assert guest.read("stderr") == ""


def check_hotplug():
    guest = paused("hotplug", "-m", "256,slots=2,maxmem=1G")
    before = len(blocks(guest))
    guest.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "h",
                               "size": 64 << 20})
    added = [b for b in blocks(guest) if b["bytes"] == 64 << 20]
    assert len(added) == 1 and added[0]["state"] == "merging", added
    guest.qmp("object-del", id="h")
    guest.wait("unplugged", lambda: len(blocks(guest)) == before)
    guest.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "h",
                               "size": 64 << 20})
    guest.qmp("device_add", driver="pc-dimm", id="d", memdev="h")
    assert len(blocks(guest)) == before + 1


def check_bad_value():
    guest = paused("bad", env={"TWINFOLD_MODE": "faster"})
    guest.qmp("query-status")
    assert "TWINFOLD_MODE is 'faster'" in guest.read("stderr")
    assert not os.path.exists(guest.dir + "/ctl")


check_merging()
check_refused()
check_mixed()
check_unwanted()
check_hotplug()
check_bad_value()
