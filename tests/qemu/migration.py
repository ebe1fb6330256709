# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that move between two QEMUs, or into a file and out of it."""
import socket


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def set_up(guest, *on):
    """Switch these capabilities on, and no time is lost by being careful."""
    guest.qmp("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": name in on}
        for name in ("postcopy-ram", "background-snapshot", *on)])
    guest.qmp("migrate-set-parameters", **{
        "max-bandwidth": 1 << 30, "max-postcopy-bandwidth": 0})


def finished(guest):
    now = guest.qmp("query-migrate").get("status")
    assert now not in ("failed", "cancelled"), guest.read("stderr")
    return now == "completed"


def save(source, uri, *capabilities):
    """The guest's state goes to `uri`; a guest that ran goes on only by a
    background snapshot."""
    set_up(source, *capabilities)
    source.qmp("migrate", uri=uri)
    source.wait("saved", lambda: finished(source))


def goes_on(target):
    # The console of the target begins where the guest is.
    target.wait_more(r"guest: round \d+ ok", 2)
    if target.library:
        target.merged(2000)
        target.wait_more(r"guest: round \d+ ok", 1)


def migrate(source, target, *capabilities):
    """`target` waits with -incoming defer; `source` ends."""
    uri = f"tcp:127.0.0.1:{free_port()}"
    for guest in (source, target):
        set_up(guest, *capabilities)
    target.qmp("migrate-incoming", uri=uri)
    source.qmp("migrate", uri=uri)
    if "postcopy-ram" in capabilities:
        source.qmp("migrate-start-postcopy")
    source.wait("migrated", lambda: finished(source))
    goes_on(target)
    source.qmp("quit")
    source.process.wait(30)


def job(guest, command, name, **arguments):
    """One that goes on after its command."""
    def concluded():
        jobs = guest.qmp("query-jobs")
        found = [j for j in jobs if j["id"] == name]
        assert found and "error" not in found[0], jobs
        return found[0]["status"] == "concluded"
    guest.qmp(command, **{"job-id": name}, **arguments)
    guest.wait(f"{command} done", concluded)
    guest.qmp("job-dismiss", id=name)


def snapshot_image(guest, path):
    """An image that can hold snapshots, by QEMU itself; node "q"."""
    size = 16 << 20
    job(guest, "blockdev-create", "file", options={
        "driver": "file", "filename": path, "size": 0})
    file = {"driver": "file", "filename": path, "cache": {"direct": True}}
    guest.qmp("blockdev-add", **{"node-name": "f"}, **file)
    job(guest, "blockdev-create", "format", options={
        "driver": "qcow2", "file": "f", "size": size})
    guest.qmp("blockdev-add", driver="qcow2", file="f", **{
        "node-name": "q", "cache": {"direct": True}})
