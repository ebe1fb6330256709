# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Sourced by the tests that start a drill host: run the drills that are named,
# and judge their figures once more, as exit codes may lie.
set -euo pipefail
: "${TWINFOLD:?the path of the command}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# By emulation, an instrumented program takes minutes, and finds what the other
# tests find.
if [[ -n ${TF_SANITIZE-} ]]; then
	echo "skip: a drill host is too slow for sanitizers" >&2
	exit 77
fi

judge() {
	python3 - "$work/out" "$@" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
drills = sys.argv[2:]
bad = []
def want(name, value, right):
    if value != right:
        bad.append(f"{name} is {value}, not {right}")
rows = {(r["drill"], r["configuration"]): r for r in d["rows"]}
want("rows", sorted(rows), sorted((n, c) for n in drills
                                  for c in ("baseline", "twinfold")))
ours = [r for r in d["rows"] if r["configuration"] == "twinfold"]
for r in d["rows"]:
    want(f"{r['drill']} {r['configuration']}: ran", r["ran"], True)
    want(f"{r['drill']} {r['configuration']}: why", r["why"], "")
for r in ours:
    unique = r["drill"].endswith("-unique")
    want(r["drill"] + ": expected_vmces", r["expected_vmces"], int(unique))
    want(r["drill"] + ": vmces", r["vmces"], int(unique))
    want(r["drill"] + ": healed", r["healed"], int(not unique))
    want(r["drill"] + ": deaths", r["deaths"], 0)
    if not r["guest_checks"] > 1000:
        bad.append(f"{r['drill']}: only {r['guest_checks']} checks")
for key in ("unrecoverable", "wrong_bytes", "lost_writes",
            "guest_check_failures", "kernel_warnings", "failed", "not_run"):
    want(key, d[key], 0)
for key in ("faults", "healed", "vmces", "guest_checks"):
    want(key, d[key], sum(r[key] for r in ours))
want("faults", d["faults"], len(drills))
want("backend", d["backend"], "mce")
if not d["baseline_deaths"] and not any(
        r["vmces"] for r in d["rows"] if r["configuration"] == "baseline"):
    bad.append("nobody died in the baseline: were the faults real?")
if any(r["heal_us"] for r in ours) and not 0 < d["p50_us"] <= d["p99_us"]:
    bad.append("p50_us and p99_us make no sense")
print({k: d[k] for k in ("faults", "healed", "vmces", "guest_checks",
                         "baseline_deaths", "p50_us", "p99_us")})
for r in d["rows"]:
    print(f"{r['drill']:24}{r['configuration']:10}{r['outcome']}")
print("\n".join(bad))
sys.exit(bool(bad))
PY
}

run_drills() {
	local -a only=()
	local name rc=0

	for name in "$@"; do
		only+=(--only "$name")
	done
	"$TWINFOLD" drill --backend mce "${only[@]}" --logs "$work/logs" \
		--json >"$work/out" 2>"$work/err" || rc=$?
	if [[ $rc -eq 77 ]]; then
		tail -n 1 "$work/err" >&2
		exit 77
	fi
	if [[ $rc -ne 0 ]]; then
		echo "FAIL: exit $rc" >&2
		cat "$work/err" >&2
		tail -n 30 "$work"/logs/* >&2
	fi
	judge "$@" || exit 1
	[[ $rc -eq 0 ]]
}
