#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 300
#
# Smoke test of `twinfold bench`: every case runs at a small size and has its
# keys, and the host's settings are afterwards as before, also when the bench
# is interrupted or its measuring process dies. Figures are not judged here.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
failures=0
skipped=0
ran=0

fail() {
	echo "FAIL: $*" >&2
	failures=$((failures + 1))
}

same_settings() {
	local now

	now=$(show_settings)
	[[ $now == "$before" ]] || {
		fail "$*: settings changed:"
		diff <(echo "$before") <(echo "$now") >&2 || true
	}
}

# Each argument is a key, or outer.key; what is missing is printed.
missing_keys() {
	python3 - "$@" <<'PY'
import json, sys
result = json.load(open(sys.argv[1]))
for path in sys.argv[2:]:
    value = result
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            print(path)
            break
        value = value[key]
PY
}

# case "arguments" keys...
check_case() {
	local arguments=$1 rc=0 missing
	shift

	# shellcheck disable=SC2086
	"$TWINFOLD" bench $arguments --json >"$work/out" 2>"$work/err" || rc=$?
	same_settings "$arguments"
	if [[ $rc -eq 77 ]]; then
		echo "skip: $arguments: $(tail -n 1 "$work/err")" >&2
		skipped=$((skipped + 1))
		return
	fi
	ran=$((ran + 1))
	if [[ $rc -ne 0 ]]; then
		fail "$arguments: exit $rc: $(tail -n 3 "$work/err")"
		return
	fi
	missing=$(missing_keys "$work/out" "$@" 2>&1) || missing="no JSON"
	[[ -z $missing ]] || fail "$arguments: keys missing: $missing"
}

# What KSM shares needs no mapping of ours.
check_handed() {
	python3 - "$work/out" <<'PY' || fail "--scatter ksm: KSM got nothing"
import json, sys
ours = json.load(open(sys.argv[1]))["twinfold"]
sys.exit(ours["sharing"] <= ours["vmas"])
PY
}

sides() {
	local key

	for key in "$@"; do
		echo "twinfold.$key"
		echo "ksm.$key"
	done
}

wait_for_setting() {
	for _ in $(seq 200); do
		[[ $(cat "$1") == "$2" ]] && return
		sleep 0.05
	done
	return 1
}

# A long bench in the background, waited for until it has changed settings.
start_long() {
	env --default-signal=INT,TERM "$TWINFOLD" bench steady --vs ksm \
		--mem 64 --passes 100000 --json >"$work/out" 2>"$work/err" &
	running=$!
	wait_for_setting "$ksm/pages_to_scan" 100000 && sleep 0.3
}

end_long() {
	local what=$1 want=$2 rc=0

	wait "$running" || rc=$?
	running=
	[[ $rc -eq $want ]] || fail "$what: exit $rc, not $want"
	same_settings "$what"
	ran=$((ran + 1))
}

check_signal() {
	start_long || {
		fail "SIG$1: the bench did not start: $(cat "$work/err")"
		return
	}
	kill -s "$1" "$running"
	end_long "SIG$1" "$2"
}

# Nothing of it is left to put the settings back, but its guardian.
check_killed() {
	local child rc=0

	start_long || {
		fail "SIGKILL: the bench did not start"
		return
	}
	child=$(cut -d ' ' -f 1 "/proc/$running/task/$running/children")
	kill -s KILL "$running"
	wait "$running" || rc=$?
	running=
	[[ $rc -eq 137 ]] || fail "SIGKILL: exit $rc, not 137"
	for _ in $(seq 100); do
		[[ $(show_settings) == "$before" && ! -e /proc/$child ]] && break
		sleep 0.1
	done
	same_settings "SIGKILL"
	[[ ! -e /proc/$child ]] || fail "SIGKILL: the measuring process runs on"
	ran=$((ran + 1))
}

check_dead_child() {
	local child

	start_long || {
		fail "dead child: the bench did not start"
		return
	}
	child=$(cut -d ' ' -f 1 "/proc/$running/task/$running/children")
	kill -s KILL "$child"
	end_long "dead child" 1
}

mapfile -t converge < <(sides cpu_s wall_s shared sharing net_saved_bytes vmas)
mapfile -t steady < <(sides ns_per_page_pass)
mapfile -t churn < <(sides sharing cpu_s break_p50_us break_p99_us)

check_usage nonsense converge
check_usage "sparse --vs ksm" "no KSM"
check_usage "steady --shape runs --dirty 0.1" unique
check_usage "steady --dirty 1.5" "from 0 to 1"
check_usage "converge --shape nonsense" scattered
check_usage "converge --scatter nonsense" "only ksm"
check_usage "converge --scatter" scatter
check_usage "sparse --scatter ksm" "no KSM"

for shape in scattered runs zero; do
	check_case "converge --shape $shape --mem 16 --vs ksm" case shape \
		mem_mib max_map_count ratio_cpu ratio_wall "${converge[@]}"
done
check_case "converge --mem 16 --max-map-count 65530 --runs 2" runs \
	twinfold.cpu_s
before_scatter=$skipped
check_case "converge --scatter ksm --mem 16 --max-map-count 2400" case shape \
	mem_mib max_map_count twinfold.{cpu_s,wall_s,shared,sharing} \
	twinfold.{zero_pages,net_saved_bytes,vmas,passes}
[[ $skipped -gt $before_scatter ]] || check_handed
check_case "converge --scatter ksm --mem 16 --max-map-count 2400 --vs ksm" \
	ratio_cpu ratio_wall "${converge[@]}"
check_case "steady --mem 16 --dirty 0.01 --passes 5 --vs ksm" shape mem_mib \
	dirty ratio "${steady[@]}"
check_case "churn --mem 8 --rounds 2 --vs ksm" rounds "${churn[@]}"
check_case "sparse" tib populated pass_ms first_pass_ms unmerge_ms
check_case "memory --mem 16 --vs ksm" shape metadata_bytes_per_page \
	kernel_bytes_per_merged_page net_saved_fraction \
	ksm.kernel_bytes_per_merged_page
check_case "fence --mem 4 --seconds 1" pause_p50_us pause_p99_us
check_case "heal --mem 16" n sharers p50_us p99_us all_sharers_us find_ratio

if [[ -w $ksm/run && $skipped -eq 0 ]]; then
	check_signal INT 130
	check_signal TERM 143
	check_killed
	check_dead_child
fi

echo "$ran ran, $skipped skipped, $failures failures"
[[ $failures -eq 0 ]] || exit 1
[[ $ran -gt 0 ]] || exit 77
