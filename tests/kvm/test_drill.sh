#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 240
#
# `twinfold drill`: 200 memory errors under KVM guests, and 300 under threads;
# every key of its JSON, and the exit codes of what this host cannot do.
set -euo pipefail

: "${TWINFOLD:?the path of the command}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
	echo "FAIL: $*" >&2
	failures=$((failures + 1))
}

run() {
	rc=0
	"$TWINFOLD" "$@" >"$work/out" 2>"$work/err" || rc=$?
}

# What must hold is computed here again: exit codes may lie.
judge() {
	python3 - "$work/out" "$@" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
want = {"backend": "sim", "seed": int(sys.argv[2]), "faults": int(sys.argv[3]),
        "unrecoverable": 1, "wrong_bytes": 0, "lost_writes": 0,
        "guest_check_failures": 0, "kernel_warnings": 0,
        "vmces": d["expected_vmces"], "engine_degraded": True,
        "engine_aborted": True, "guests_run_as": sys.argv[4]}
bad = [f"{k} is {d.get(k)}, not {v}" for k, v in want.items() if d.get(k) != v]
if d["healed"] + d["expected_vmces"] != d["faults"]:
    bad.append("healed and expected_vmces are not the faults")
if sum(d["by_source"].values()) != d["healed"]:
    bad.append("by_source is not healed")
if d["expected_vmces"] != d["by_kind"]["unique"]:
    bad.append("expected_vmces are not the unique pages")
for kind, n in d["by_kind"].items():
    if n < d["faults"] / 20:
        bad.append(f"only {n} faults in {kind} pages")
for key in ("guest_checks", "baseline_deaths", "breaks", "unmerges"):
    if not d[key] > 0:
        bad.append(f"{key} is {d[key]}")
if not 0 < d["p50_us"] <= d["p99_us"]:
    bad.append("p50_us and p99_us make no sense")
print({k: d[k] for k in ("faults", "healed", "vmces", "guest_checks",
                         "p50_us", "p99_us", "seconds")})
print("\n".join(bad))
sys.exit(bool(bad))
PY
}

drill() {
	local guests=$1 faults=$2 seed=$3

	echo "$guests: $faults faults, seed $seed"
	TWINFOLD_DRILL_GUESTS=$guests run drill --faults "$faults" \
		--seed "$seed" --json
	if [[ $rc -eq 77 ]]; then
		echo "skip: $guests: $(tail -n 1 "$work/err")"
		skipped=1
		return
	fi
	if [[ $rc -ne 0 ]]; then
		fail "$guests: exit $rc"
		cat "$work/err" >&2
	fi
	judge "$seed" "$faults" "$guests" || fail "$guests: see above"
}

# Each either works, or says what is missing and puts nothing on stdout.
refusal() {
	run drill --backend "$1" --faults 1 --json
	case $rc in
	0) ;;
	77)
		grep -q "backend $1: this host lacks" "$work/err" ||
			fail "--backend $1: no reason given"
		[[ ! -s $work/out ]] || fail "--backend $1: 77 and output"
		;;
	*) fail "--backend $1: exit $rc" ;;
	esac
}

skipped=
drill kvm 200 20
drill thread 300 21
grep -q CONFIG_MEMORY_FAILURE=y "/boot/config-$(uname -r)" 2>/dev/null || {
	refusal madvise
	refusal hwpoison
}
[[ $failures -eq 0 ]] || exit 1
[[ -z $skipped ]] || exit 77
