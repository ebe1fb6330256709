# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory errors in a guest's shared pages."""


def lose_shared(guest):
    """One page of each content that many pages share."""
    assert guest.stats()["pages_recoverable"] > 0
    lost = set()
    for addresses in guest.shared_slots().values():
        if len(addresses) < 12 or len(lost) == 8:
            continue
        content = guest.page(addresses[0])
        if content in lost:
            continue  # a second copy: it is to heal the first
        lost.add(content)
        guest.ctl("inject", gpa=addresses[0], how="sim")
    assert len(lost) >= 4, f"{len(lost)} contents with many sharers"


def heals(guest):
    """It does not notice that they are lost."""
    before = guest.stats()
    guest.ctl("stop")
    lose_shared(guest)
    guest.rounds(2)
    guest.wait("heals", lambda: guest.stats()["heals"] > before["heals"])
    assert guest.stats()["vmces"] == before["vmces"]
    guest.ctl("start")
