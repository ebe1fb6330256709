#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 240
#
# Real machine checks in Intel drill hosts: broadcast to two CPUs, and one that
# a thread consumes in the midst of its loop.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

run_drills lib-srao-shared lib-srar-shared
