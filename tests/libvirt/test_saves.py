# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 400
"""A domain is saved, snapshotted and migrated by real libvirtds.

Each time the guest goes on where it was, with the files that it had, and merges
again in a QEMU that libvirt has started with the same settings.
"""
import os
import shutil
import sys

from host import Host, require_libvirt, wait
from guest import Guest
from migration import snapshot_image

require_libvirt()
DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/disk'/>
      <target dev='hda' bus='ide'/>
    </disk>
"""


def make_disk(host):
    """By QEMU: there may be no other program for it."""
    path = host.dir + "/lib/disk"
    maker = Guest("maker", "-S", boot=False, library=False)
    snapshot_image(maker, path)
    maker.qmp("quit")
    assert maker.process.wait(30) == 0


def is_gone(host):
    """And what the hook made for it."""
    wait("the folder goes", lambda: not os.path.exists(host.folder()), 10)


def saved(host):
    host.virsh("save", "web", "/var/lib/libvirt/saved")
    is_gone(host)
    host.virsh("restore", "/var/lib/libvirt/saved")
    host.goes_on()


def managed(host):
    host.virsh("managedsave", "web")
    is_gone(host)
    host.virsh("start", "web")
    host.goes_on()


def snapshot(host):
    host.virsh("snapshot-create-as", "web", "before")
    host.goes_on()
    host.virsh("snapshot-revert", "web", "before")
    host.goes_on()
    host.virsh("snapshot-delete", "web", "before")


def migrated(host, other):
    """With the copy of its disk that a cluster's hosts would share."""
    shutil.copy(host.dir + "/lib/disk", other.dir + "/lib/disk")
    host.virsh("migrate", "--live", "--persistent", "--undefinesource",
               "--unsafe", "web", other.uri(), "tcp://127.0.0.1")
    is_gone(host)
    other.goes_on()


def main():
    host = Host("host")
    make_disk(host)
    host.define(DISK)
    host.virsh("start", "web")
    host.goes_on()
    for step in (saved, managed, snapshot):
        step(host)
        print(step.__name__, "ok", file=sys.stderr)
    other = Host("other")
    migrated(host, other)
    migrated(other, host)


main()
