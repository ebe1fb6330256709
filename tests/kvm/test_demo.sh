#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
#
# `twinfold demo` loses pages of every kind: what has a twin heals, what has
# none is a machine check, under KVM and under threads.
set -euo pipefail

: "${TWINFOLD:?the path of the command}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for backend in kvm thread; do
	rc=0
	TWINFOLD_DEMO_BACKEND=$backend "$TWINFOLD" demo --guests 2 --mem 4 \
		--seconds 1 --json >"$work/out" 2>"$work/err" || rc=$?
	if [[ $rc -ne 0 ]]; then
		cat "$work/err" >&2
		exit "$rc"
	fi
	python3 - "$work/out" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
print({k: d[k] for k in ("backend", "faults_injected", "healed", "vmces",
                         "expected_vmces", "guest_checks", "seconds")})
assert d["faults_injected"] == 2 * 2 * 4, "two of a kind and guest"
assert d["vmces"] == d["expected_vmces"] == 2 * 2
assert d["healed"] == d["faults_injected"] - d["expected_vmces"]
assert d["guest_check_failures"] == 0
PY
done
