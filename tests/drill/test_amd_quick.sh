#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 240
#
# Real machine checks in an AMD drill host, guests under nested KVM: a shared
# page heals, a page that is nowhere else is a machine check of its guest.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

run_drills vmm-deferred-shared vmm-consumed-unique
