# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stock QEMU guests for the tests of the preload library.

A guest is a Debian kernel with a busybox initramfs (init.sh), under TCG. Its
console goes to a file; QEMU is spoken to by QMP, the library by its control
socket. Nothing outlives the test.
"""
import atexit
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["BUILD_DIR"]
SOURCE = os.environ["SRC_DIR"]
KERNEL = os.path.join(SOURCE, "build-guest")
QEMU10 = os.path.join(SOURCE, "build-qemu10", "usr")
LIBRARY = os.path.join(BUILD, "libtwinfold-qemu.so")
# In the order in which they need each other; some are built in elsewhere.
MODULES = ("virtio", "virtio_ring", "virtio", "virtio_pci_legacy_dev",
           "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
           "virtio_balloon", "virtio_mem")

work = tempfile.mkdtemp(prefix="twinfold-qemu-")
guests = []


def cleanup():
    for guest in guests:
        guest.kill()
    shutil.rmtree(work, ignore_errors=True)


atexit.register(cleanup)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def skip(why):
    print(why, file=sys.stderr)
    sys.exit(77)


def require():
    """Leave with 77 where there can be no such guest."""
    if os.environ.get("TF_SANITIZE"):
        skip("a sanitizer cannot be loaded into stock QEMU")
    if not shutil.which("qemu-system-x86_64"):
        skip("qemu-system-x86_64 is not installed; run ./dev setup")
    if not glob.glob(KERNEL + "/boot/vmlinuz-*"):
        skip("no guest kernel in build-guest/; run ./dev setup")
    if not os.path.exists("/bin/busybox"):
        skip("busybox-static is not installed; run ./dev setup")
    if not os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        skip("no access to /dev/userfaultfd")


def require_qemu10():
    require()
    if not os.path.exists(QEMU10 + "/bin/qemu-system-x86_64"):
        skip("no QEMU 10 in build-qemu10/; run ./dev setup")


def qemu(newer):
    """The command of the installed QEMU, or of QEMU 10."""
    if not newer and not os.environ.get("TF_QEMU10"):
        return ["qemu-system-x86_64"]
    return ["env", f"LD_LIBRARY_PATH={QEMU10}/lib/x86_64-linux-gnu",
            QEMU10 + "/bin/qemu-system-x86_64",
            "-L", QEMU10 + "/share/seabios", "-L", QEMU10 + "/share/qemu"]


def kernel():
    return sorted(glob.glob(KERNEL + "/boot/vmlinuz-*"))[-1]


def pack(root, path):
    """An initramfs of the folder `root`."""
    names = subprocess.run(["find", "."], cwd=root, check=True,
                           capture_output=True).stdout
    with open(path, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root,
                       input=names, stdout=out, check=True)
    return path


def initramfs():
    """Build it once: busybox, init.sh, the modules for devices."""
    path = os.path.join(work, "initrd")
    if os.path.exists(path):
        return path
    root = os.path.join(work, "root")
    for name in ("bin", "proc", "dev", "t", "modules"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", root + "/bin/busybox")
    shutil.copy(SOURCE + "/tests/qemu/init.sh", root + "/init")
    os.chmod(root + "/init", 0o755)
    for n, name in enumerate(MODULES):
        for found in glob.glob(f"{KERNEL}/lib/modules/*/kernel/**/{name}.ko",
                               recursive=True):
            shutil.copy(found, f"{root}/modules/{n}-{name}.ko")
    return pack(root, path)


class Lines:
    """A socket that speaks one JSON object a line."""

    def __init__(self, path):
        self.asked = 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")
        # QEMU may be late with an event for the client before this one.
        self.greeting = self.read(lambda line: "event" not in line)
        assert {"QMP", "twinfold"} & set(self.greeting), self.greeting

    def read(self, wanted):
        """The next line that is wanted; events and others are not."""
        while True:
            line = self.file.readline()
            assert line, "no answer"
            line = json.loads(line)
            if wanted(line):
                return line

    def ask(self, command, arguments):
        self.asked += 1
        request = {"execute": command, "arguments": arguments,
                   "id": self.asked}
        self.file.write(json.dumps(request) + "\n")
        self.file.flush()
        return self.read(lambda line: line.get("id") == self.asked)

    def close(self):
        self.file.close()
        self.socket.close()


class Guest:
    """One QEMU. `library`: with the preload library; `env`: TWINFOLD_*;
    `newer`: QEMU 10; `append`: for the kernel's command line; `initrd`: not
    the usual one; `obeys`: see tell()."""

    def __init__(self, name, *args, library=True, boot=True, mem=256,
                 env=None, prefix=(), accel="tcg", newer=False,
                 append="", initrd=None, obeys=False):
        self.dir = os.path.join(work, name)
        os.makedirs(self.dir)
        command = [*prefix, *qemu(newer), "-accel", accel,
                   "-m", str(mem), "-nodefaults", "-no-user-config",
                   "-display", "none",
                   "-serial", f"file:{self.dir}/console",
                   "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off", *args]
        if obeys:
            command += ["-serial", f"unix:{self.dir}/words,server=on,wait=off"]
        if boot:
            command += ["-kernel", kernel(), "-initrd", initrd or initramfs(),
                        "-append", "console=ttyS0 quiet panic=-1 no_timer_check " +
                        append]
        self.library = library
        self.process = subprocess.Popen(
            command, env=self.environment(library, env), cwd=self.dir,
            stdin=subprocess.DEVNULL,
            stderr=open(self.dir + "/stderr", "w", encoding="utf8"))
        guests.append(self)

    def environment(self, library, env):
        result = {k: v for k, v in os.environ.items()
                  if not k.startswith("TWINFOLD")}
        if library:
            result.update(LD_PRELOAD=LIBRARY, TWINFOLD_PACE="100",
                          TWINFOLD_CTL=self.dir + "/ctl", **(env or {}))
        return result

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def read(self, name):
        with open(f"{self.dir}/{name}", encoding="utf8",
                  errors="replace") as file:
            return file.read()

    def alive(self):
        assert self.process.poll() is None, \
            f"QEMU ended: {self.process.returncode}\n{self.read('stderr')}"

    def wait(self, what, condition, seconds=60):
        """Wait until condition() is true, with a guest that is alive."""
        end = time.monotonic() + seconds
        while not condition():
            self.alive()
            assert time.monotonic() < end, \
                f"not in {seconds} s: {what}\n{self.read('stderr')}" \
                f"{self.read('console')[-500:]}"
            time.sleep(0.05)

    def console(self):
        text = self.read("console") if \
            os.path.exists(self.dir + "/console") else ""
        assert "FAILED" not in text, text[-2000:]
        assert "Kernel panic" not in text, text[-2000:]
        return text

    def count(self, what):
        return len(re.findall(what, self.console()))

    def wait_more(self, what, n, seconds=60):
        """`n` more lines with `what` on the console."""
        want = self.count(what) + n
        self.wait(what, lambda: self.count(what) >= want, seconds)

    def ready(self):
        self.wait("ready", lambda: "guest: ready" in self.console())

    def rounds(self, n, seconds=60):
        self.wait_more(r"guest: round \d+ ok", n, seconds)

    def tell(self, word):
        """A word that init.sh knows, and wait until it is done."""
        with socket.socket(socket.AF_UNIX) as words:
            words.connect(self.dir + "/words")
            words.sendall(word.encode() + b"\n")
            self.wait_more(f"guest: {word} done", 1)

    def lines(self, name):
        path = f"{self.dir}/{name}"
        self.wait(path, lambda: os.path.exists(path))
        while True:
            try:
                return Lines(path)
            except ConnectionRefusedError:
                self.alive()
                time.sleep(0.05)

    def qmp(self, command, **arguments):
        lines = self.lines("qmp")
        assert "return" in lines.ask("qmp_capabilities", {})
        answer = lines.ask(command, arguments)
        lines.close()
        assert "return" in answer, f"{command}: {answer}"
        return answer["return"]

    def ctl(self, command, **arguments):
        lines = self.lines("ctl")
        assert lines.greeting["twinfold"]["version"]
        answer = lines.ask(command, arguments)
        lines.close()
        assert "return" in answer, f"{command}: {answer}"
        return answer["return"]

    def stats(self):
        return self.ctl("stats")

    def merged(self, pages, seconds=60):
        """Wait until so many frames share a page."""
        self.wait(f"{pages} pages merged",
                  lambda: self.stats()["pages_merged"] >= pages, seconds)

    def shared_slots(self):
        """Stable slots, each with the guest addresses that map it."""
        slots = {}
        blocks = self.stats()["blocks"]
        for line in self.read_maps():
            where, _, offset, rest = line.split(maxsplit=3)
            if "twinfold" not in rest:
                continue
            start, end = (int(x, 16) for x in where.split("-"))
            for block in blocks:
                if not 0 <= start - block["hva"] < block["bytes"]:
                    continue
                for i in range((end - start) // 4096):
                    slots.setdefault(int(offset, 16) + i * 4096, []).append(
                        start + i * 4096 - block["hva"] + block["gpa"])
        return slots

    def page(self, gpa):
        """The bytes of a page of guest RAM."""
        for block in self.stats()["blocks"]:
            if 0 <= gpa - block["gpa"] < block["bytes"]:
                with open(f"/proc/{self.process.pid}/mem", "rb") as file:
                    file.seek(block["hva"] + gpa - block["gpa"])
                    return file.read(4096)
        raise AssertionError(f"no RAM at {gpa:#x}")

    def read_maps(self):
        with open(f"/proc/{self.process.pid}/maps", encoding="utf8") as file:
            return file.read().splitlines()
