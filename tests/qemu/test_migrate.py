# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
"""A guest moves between QEMUs, with the library on either side or not.

Precopy and postcopy over a loopback socket; the guest checks its files all the
time.
"""
from guest import Guest, require
from migration import migrate

require()


def main():
    source = Guest("source")
    source.ready()
    source.merged(2000)
    source.rounds(1)
    for step, (library, *capabilities) in enumerate((
            (True,), (True, "postcopy-ram"), (False,),
            (True, "postcopy-ram"))):
        target = Guest(f"target{step}", "-incoming", "defer",
                       library=library)
        migrate(source, target, *capabilities)
        source = target


main()
