# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
"""A guest moves between QEMUs, with the library on either side or not.

Precopy and postcopy over a loopback socket, and through a file (save and
restore); the guest checks its files all the time.
"""
import socket

from guest import Guest, require, work

require()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def set_up(guest, postcopy):
    guest.qmp("migrate-set-capabilities", capabilities=[
        {"capability": "postcopy-ram", "state": postcopy}])
    guest.qmp("migrate-set-parameters", **{
        "max-bandwidth": 1 << 30, "max-postcopy-bandwidth": 0})


def status(guest):
    return guest.qmp("query-migrate").get("status")


def finished(guest):
    now = status(guest)
    assert now not in ("failed", "cancelled"), guest.read("stderr")
    return now == "completed"


def goes_on(target):
    # The console of the target begins where the guest is.
    target.wait_more(r"guest: round \d+ ok", 2)
    if target.library:
        target.merged(2000)
        target.wait_more(r"guest: round \d+ ok", 1)


def migrate(source, target, postcopy, uri):
    for guest in (source, target):
        set_up(guest, postcopy)
    target.qmp("migrate-incoming", uri=uri)
    source.qmp("migrate", uri=uri)
    if postcopy:
        source.qmp("migrate-start-postcopy")
    source.wait("migrated", lambda: finished(source))
    goes_on(target)
    source.qmp("quit")
    source.process.wait(30)


def restore(source):
    set_up(source, False)
    source.qmp("stop")
    path = f"exec:cat > {work}/saved"
    source.qmp("migrate", uri=path)
    source.wait("saved", lambda: finished(source))
    source.qmp("quit")
    source.process.wait(30)
    target = Guest("restored", "-incoming", f"exec:cat < {work}/saved")
    target.wait("restored", lambda: target.qmp("query-status")["status"]
                == "paused")
    target.qmp("cont")
    goes_on(target)


def main():
    source = Guest("source")
    source.ready()
    source.merged(2000)
    source.rounds(1)
    for step, (library, postcopy) in enumerate((
            (True, False), (True, True), (False, False), (True, True))):
        target = Guest(f"target{step}", "-incoming", "defer",
                       library=library)
        migrate(source, target, postcopy, f"tcp:127.0.0.1:{free_port()}")
        source = target
    restore(source)


main()
