# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real libvirtd for tests, with the hook and what a host has to grant.

Its daemons run in a mount namespace of their own: their folders, the hook and
the node of /dev/userfaultfd are the test's, nothing of the host's changes. QEMU
runs as libvirt runs it: another user, private /dev, sandbox on.
"""
import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

SOURCE = os.environ["SRC_DIR"]
sys.path.insert(0, SOURCE + "/tests/qemu")
from guest import LIBRARY, Lines, initramfs, kernel, require, skip, work

HOOK = SOURCE + "/configs/libvirt/twinfold"
FILES = work + "/files"
# A folder of the test's in the place of one of the host's.
PLACES = {"etc": "/etc/libvirt", "run": "/run/libvirt",
          "lib": "/var/lib/libvirt", "log": "/var/log/libvirt",
          "cache": "/var/cache/libvirt", "sockets": "/run/twinfold",
          "node": "/dev/userfaultfd"}
XML = """
<domain type='qemu'
        xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <metadata>
    <tf:twinfold xmlns:tf='https://twinfold.dev/xmlns/libvirt/domain/1.0'
                 mode='both' pace='100'/>
  </metadata>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{files}/vmlinuz</kernel>
    <initrd>{files}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'>
      <source path='/var/log/libvirt/console' append='on'/>
    </serial>
    <memballoon model='none'/>
    {devices}
  </devices>
  <qemu:commandline>
    <qemu:env name='LD_PRELOAD' value='{files}/libtwinfold-qemu.so'/>
    <qemu:env name='TWINFOLD_CTL' value='/run/twinfold/web/ctl'/>
    <qemu:env name='TWINFOLD_MODE' value='both'/>
    <qemu:env name='TWINFOLD_PACE' value='100'/>
  </qemu:commandline>
</domain>
"""


def require_libvirt():
    require()
    for tool in ("libvirtd", "virtlogd", "virsh", "unshare"):
        if not shutil.which(tool):
            skip(f"no {tool}; install libvirt-daemon-system and "
                 "libvirt-clients")
    if subprocess.run(["unshare", "--mount", "true"],
                      check=False).returncode:
        skip("no right to make a mount namespace")


def run(*command, **how):
    done = subprocess.run(command, check=False, capture_output=True, text=True,
                          **how)
    assert not done.returncode, f"{command}: {done.stderr}"
    return done


def wait(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def files():
    """What all domains need, once."""
    if os.path.exists(FILES):
        return
    os.makedirs(FILES)
    shutil.copy(kernel(), FILES + "/vmlinuz")
    shutil.copy(initramfs(), FILES + "/initrd")
    shutil.copy(LIBRARY, FILES)
    run("chmod", "-R", "a+rX", work)


class Host:
    """One libvirtd, with one domain: "web"."""

    def __init__(self, name):
        files()
        self.dir = f"{work}/{name}"
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o755)
        self.grant()
        mounts = [f"mkdir -p {at}; mount --bind {self.dir}/{place} {at}"
                  for place, at in PLACES.items() if place != "node"]
        mounts.append(f"mount --bind {self.dir}/node /dev/userfaultfd")
        # libvirtd would look for long at what KVM can do.
        if os.path.exists("/dev/kvm"):
            mounts.append("mount --bind /dev/null /dev/kvm")
        daemons = [f"{daemon} -d -p {self.dir}/{daemon}.pid"
                   for daemon in ("virtlogd", "libvirtd")]
        atexit.register(self.end)
        run("unshare", "--mount", "sh", "-ec", "\n".join(mounts + daemons))
        wait("libvirtd", lambda: os.path.exists(self.socket()))

    def grant(self):
        """What docs/qemu.md tells the operator to do, in private folders."""
        for place in PLACES:
            if place not in ("etc", "node"):
                os.makedirs(f"{self.dir}/{place}")
        shutil.copytree("/etc/libvirt", self.dir + "/etc")
        os.makedirs(self.dir + "/etc/hooks/qemu.d")
        shutil.copy(HOOK, self.dir + "/etc/hooks/qemu.d/twinfold")
        with open(self.dir + "/etc/libvirtd.conf", "a",
                  encoding="utf8") as conf:
            conf.write(f'\nhost_uuid = "{uuid.uuid4()}"\n')
        with open(self.dir + "/etc/qemu.conf", "a", encoding="utf8") as conf, \
                open(SOURCE + "/configs/libvirt/qemu.conf.d-twinfold",
                     encoding="utf8") as ours:
            conf.write(ours.read())
        node = self.dir + "/node"
        os.mknod(node, 0o020660, os.stat("/dev/userfaultfd").st_rdev)
        shutil.chown(node, group="kvm")
        os.chmod(node, 0o660)

    def end(self):
        """Nothing of it outlives the test."""
        subprocess.run(["virsh", "-c", self.uri(), "destroy", "web"],
                       check=False, capture_output=True)
        for daemon in ("libvirtd", "virtlogd"):
            text = self.read(daemon + ".pid")
            if not text:
                continue
            os.kill(int(text), signal.SIGTERM)
            wait(daemon, lambda pid=text: not os.path.exists(
                f"/proc/{int(pid)}"), 20)

    def socket(self):
        return self.dir + "/run/libvirt-sock"

    def uri(self):
        return f"qemu+unix:///system?socket={self.socket()}"

    def virsh(self, *command):
        return run("virsh", "-c", self.uri(), *command).stdout

    def define(self, devices=""):
        path = self.dir + "/web.xml"
        with open(path, "w", encoding="utf8") as file:
            file.write(XML.format(files=FILES, devices=devices))
        self.virsh("define", path)

    def read(self, name):
        path = f"{self.dir}/{name}"
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf8", errors="replace") as file:
            return file.read()

    def rounds(self):
        text = self.read("log/console")
        assert "FAILED" not in text, text[-1000:]
        return text.count(" ok\n") + text.count(" ok\r\n")

    def folder(self):
        """Of the domain's control socket."""
        return self.dir + "/sockets/web"

    def stats(self):
        lines = Lines(self.folder() + "/ctl")
        answer = lines.ask("stats", {})
        lines.close()
        return answer["return"]

    def goes_on(self):
        """The guest works on files that hold, and merges."""
        try:
            before = self.rounds()
            wait("rounds", lambda: self.rounds() > before)
            wait("merging", lambda: self.stats()["pages_merged"] >= 2000)
            before = self.rounds()
            wait("more rounds", lambda: self.rounds() >= before + 2)
        except (AssertionError, OSError):
            print(self.read("log/qemu/web.log"), file=sys.stderr)
            raise
