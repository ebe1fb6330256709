# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
"""A domain of a real libvirtd merges, as QEMU's own user; and the hook."""
import os
import pwd

from host import HOOK, Host, require_libvirt, run, wait, work

require_libvirt()


def check_hook():
    """Exit 0, and not a word, whatever comes."""
    for args, text in ((["web", "prepare", "begin", "-"], "no XML"),
                       (["web", "prepare", "begin", "-"], "<domain/>"),
                       (["web", "migrate", "begin", "-"], "<domain/>"),
                       (["web", "restore", "begin", "-"], "<domain/>"),
                       (["web", "release", "end", "-"], ""), ([], "")):
        done = run(HOOK, *args, input=text,
                   env={**os.environ, "TWINFOLD_RUN": work + "/hook"})
        assert done.stdout == "" and done.stderr == "", done
    assert not os.path.exists(work + "/hook/web")


def main():
    check_hook()
    host = Host("host")
    host.define()
    host.virsh("start", "web")
    host.goes_on()
    owner = os.stat(host.folder()).st_uid
    assert owner == pwd.getpwnam("libvirt-qemu").pw_uid
    host.virsh("destroy", "web")
    wait("the folder goes", lambda: not os.path.exists(host.folder()), 10)


main()
