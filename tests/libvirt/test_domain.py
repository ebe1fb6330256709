# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
"""A domain of a real libvirtd, with the hook and what a host has to grant.

libvirtd runs in a mount namespace of its own: its folders, the hook and the
node of /dev/userfaultfd are the test's, nothing of the host's changes. QEMU
runs as libvirt runs it: another user, private /dev, sandbox on.
"""
import atexit
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time

SOURCE = os.environ["SRC_DIR"]
sys.path.insert(0, SOURCE + "/tests/qemu")
from guest import LIBRARY, Lines, initramfs, kernel, require, skip, work

HOOK = SOURCE + "/configs/libvirt/twinfold"
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
    <serial type='file'><source path='/var/log/libvirt/console'/></serial>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:env name='LD_PRELOAD' value='{files}/libtwinfold-qemu.so'/>
    <qemu:env name='TWINFOLD_CTL' value='/run/twinfold/web/ctl'/>
    <qemu:env name='TWINFOLD_MODE' value='both'/>
    <qemu:env name='TWINFOLD_PACE' value='100'/>
  </qemu:commandline>
</domain>
"""


def run(*command, **how):
    return subprocess.run(command, check=True, capture_output=True, text=True,
                          **how)


def mount(source, target):
    run("mount", "--bind", source, target)
    # Before the test's own folder is removed.
    atexit.register(lambda: subprocess.run(["umount", "-l", target],
                                           check=False))


def bind(name, target):
    os.makedirs(f"{work}/{name}", exist_ok=True)
    os.makedirs(target, exist_ok=True)
    mount(f"{work}/{name}", target)


def grant():
    """What docs/qemu.md tells the operator to do, in private folders."""
    shutil.copytree("/etc/libvirt", work + "/etc")
    os.makedirs(work + "/etc/hooks/qemu.d")
    shutil.copy(HOOK, work + "/etc/hooks/qemu.d/twinfold")
    with open(work + "/etc/qemu.conf", "a", encoding="utf8") as conf, \
            open(SOURCE + "/configs/libvirt/qemu.conf.d-twinfold",
                 encoding="utf8") as ours:
        conf.write(ours.read())
    for name, target in (("etc", "/etc/libvirt"), ("run", "/run/libvirt"),
                         ("lib", "/var/lib/libvirt"),
                         ("log", "/var/log/libvirt"),
                         ("cache", "/var/cache/libvirt"),
                         ("sockets", "/run/twinfold")):
        bind(name, target)
    node = work + "/userfaultfd"
    os.mknod(node, 0o020660, os.stat("/dev/userfaultfd").st_rdev)
    shutil.chown(node, group="kvm")
    os.chmod(node, 0o660)
    mount(node, "/dev/userfaultfd")
    # libvirtd would look for long at what KVM can do.
    if os.path.exists("/dev/kvm"):
        mount("/dev/null", "/dev/kvm")


def daemon(name):
    pid_file = f"{work}/{name}.pid"
    run(name, "-d", "-p", pid_file)

    def end():
        with open(pid_file, encoding="utf8") as file:
            os.kill(int(file.read()), signal.SIGTERM)
    atexit.register(end)


def wait(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def virsh(*command):
    return run("virsh", "-c", "qemu:///system", *command).stdout


def read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf8", errors="replace") as file:
        return file.read()


def rounds():
    text = read("/var/log/libvirt/console")
    assert "FAILED" not in text, text[-1000:]
    return text.count(" ok\n") + text.count(" ok\r\n")


def stats():
    lines = Lines("/run/twinfold/web/ctl")
    answer = lines.ask("stats", {})
    lines.close()
    return answer["return"]


def check_hook():
    """Exit 0, and not a word, whatever comes."""
    for args, text in ((["web", "prepare", "begin", "-"], "no XML"),
                       (["web", "prepare", "begin", "-"], "<domain/>"),
                       (["web", "migrate", "begin", "-"], "<domain/>"),
                       (["web", "release", "end", "-"], ""), ([], "")):
        done = run(HOOK, *args, input=text,
                   env={**os.environ, "TWINFOLD_RUN": work + "/hook"})
        assert done.stdout == "" and done.stderr == "", done
    assert not os.path.exists(work + "/hook/web")


def main():
    files = work + "/files"
    os.makedirs(files)
    shutil.copy(kernel(), files + "/vmlinuz")
    shutil.copy(initramfs(), files + "/initrd")
    shutil.copy(LIBRARY, files)
    run("chmod", "-R", "a+rX", work)
    check_hook()
    grant()
    daemon("virtlogd")
    daemon("libvirtd")
    with open(work + "/web.xml", "w", encoding="utf8") as file:
        file.write(XML.format(files=files))
    wait("libvirtd", lambda: os.path.exists("/run/libvirt/libvirt-sock"))
    virsh("create", work + "/web.xml")
    atexit.register(lambda: subprocess.run(
        ["virsh", "-c", "qemu:///system", "destroy", "web"], check=False,
        capture_output=True))
    try:
        wait("rounds", lambda: rounds() >= 1)
        wait("merging", lambda: stats()["pages_merged"] >= 2000)
        before = rounds()
        wait("more rounds", lambda: rounds() >= before + 2)
    except AssertionError:
        print(read("/var/log/libvirt/qemu/web.log"), file=sys.stderr)
        raise
    owner = os.stat("/run/twinfold/web").st_uid
    assert owner == pwd.getpwnam("libvirt-qemu").pw_uid
    virsh("destroy", "web")
    wait("the folder goes", lambda: not os.path.exists("/run/twinfold/web"),
         10)


if len(sys.argv) > 1:
    main()
else:
    require()
    for tool in ("libvirtd", "virtlogd", "virsh", "unshare"):
        if not shutil.which(tool):
            skip(f"no {tool}; install libvirt-daemon-system and "
                 "libvirt-clients")
    os.rmdir(work)  # the test proper has another
    os.execvp("unshare", ["unshare", "--mount", sys.executable, "-B", __file__,
                          "inside"])
