#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A drill that is ended from outside leaves no QEMU behind; what is named wrongly
# is refused before anything starts; drills are listed.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
failures=0

fail() {
	echo "FAIL: $*" >&2
	failures=$((failures + 1))
}

refused() {
	local code=$1 rc=0

	shift
	"$TWINFOLD" drill "$@" >"$work/out" 2>"$work/err" || rc=$?
	[[ $rc -eq $code ]] || fail "drill $*: exit $rc, not $code"
	[[ -s $work/err ]] || fail "drill $*: no reason"
}

# The child of process $1, once it is QEMU, within 20 s.
qemu_of() {
	local child

	for ((i = 0; i < 200; i++)); do
		child=$(cat "/proc/$1/task/$1/children" 2>/dev/null || true)
		child=${child%% *}
		if [[ -n $child ]] &&
			grep -q qemu "/proc/$child/comm" 2>/dev/null; then
			echo "$child"
			return
		fi
		sleep 0.1
	done
}

gone() {
	for ((i = 0; i < 100; i++)); do
		[[ -d /proc/$1 ]] || return 0
		sleep 0.1
	done
	return 1
}

end_by() {
	local signal=$1 pid qemu rc=0

	# A job in the background of a script ignores SIGINT.
	env --default-signal="$signal" "$TWINFOLD" drill --backend mce --only vmm-deferred-shared \
		>"$work/out" 2>"$work/err" &
	pid=$!
	qemu=$(qemu_of "$pid")
	if [[ -z $qemu ]]; then
		wait "$pid" && rc=0 || rc=$?
		[[ $rc -ne 77 ]] || { tail -n 1 "$work/err" >&2 && exit 77; }
		fail "no QEMU was started"
		return
	fi
	kill -s "$signal" "$pid"
	wait "$pid" 2>/dev/null || rc=$?
	[[ $rc -gt 128 ]] || fail "SIG$signal did not end it: exit $rc"
	gone "$qemu" || fail "SIG$signal left QEMU behind, process $qemu"
}

"$TWINFOLD" drill --list >"$work/out"
grep -q '^vmm-deferred-shared ' "$work/out" || fail "--list lacks a drill"
refused 2 --backend mce --only nothing
refused 2 --only vmm-deferred-shared
refused 2 --backend mce --kernel "$work/none" --modules "$work"
refused 2 --backend mce --kernel "$TWINFOLD"
end_by INT
end_by TERM
end_by HUP
[[ $failures -eq 0 ]]
