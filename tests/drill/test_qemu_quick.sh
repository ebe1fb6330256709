#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
#
# A Linux guest of stock QEMU under nested KVM in a drill host, with the preload
# library: a real machine check on a shared page is nothing to it, nor to QEMU.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

run_drills qemu-deferred-shared
