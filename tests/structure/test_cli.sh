#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 180
#
# The command's manners: exit 2 and nothing on stdout for wrong usage, exit 0
# for help and version, and --json alone on stdout.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

: "${TWINFOLD:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checked=0

run() {
	rc=0
	"$TWINFOLD" "$@" >"$work/out" 2>"$work/err" </dev/null || rc=$?
	checked=$((checked + 1))
}

usage_error() {
	run "$@"
	[[ $rc -eq 2 ]] || finding "twinfold $*: exit $rc, not 2"
	[[ ! -s $work/out ]] || finding "twinfold $*: usage error on stdout"
	[[ -s $work/err ]] || finding "twinfold $*: no word on stderr"
}

works() {
	run "$@"
	[[ $rc -eq 0 ]] || finding "twinfold $*: exit $rc, not 0"
	[[ -s $work/out ]] || finding "twinfold $*: nothing on stdout"
}

is_one_object() {
	python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
sys.exit(not (isinstance(value, dict) and value))' "$1" 2>/dev/null
}

json_alone() {
	run "$@" --json
	if [[ $rc -eq 77 ]]; then
		echo "skip: twinfold $*: $(tail -n 1 "$work/err")" >&2
		return
	fi
	[[ $rc -eq 0 ]] || {
		finding "twinfold $* --json: exit $rc, not 0"
		tail -n 5 "$work/err" >&2
	}
	is_one_object "$work/out" ||
		finding "twinfold $* --json: stdout is not one JSON object"
}

usage_error
usage_error no-such-verb
usage_error --no-such-option
usage_error demo --no-such-option
usage_error demo stray-argument
usage_error demo --guests 0
usage_error demo --guests many
usage_error demo --mem -1
usage_error demo --seconds 1x
usage_error drill stray-argument
usage_error drill --backend no-such-backend
usage_error drill --faults 0
usage_error drill --seed many
usage_error bench
usage_error bench no-such-case
usage_error bench sparse stray-argument
usage_error bench converge --shape no-such-shape
usage_error bench steady --dirty 2
usage_error bench converge --vs no-such-rival

works --help
works --version
grep -q "^twinfold [0-9]" "$work/out" || finding "--version names no version"
works demo --help
works bench --help
works drill --help

json_alone demo --guests 2 --mem 8 --seconds 2
json_alone drill --faults 5 --seed 1
json_alone bench sparse

finish "command lines" "$checked"
