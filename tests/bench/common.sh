# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Sourced by the tests of the bench: the settings of the host that it changes
# and must put back, a folder to work in, and the process that runs.
set -euo pipefail
: "${TWINFOLD:?the path of the command}"

ksm=/sys/kernel/mm/ksm
settings=(/proc/sys/vm/max_map_count)
for name in run sleep_millisecs pages_to_scan smart_scan use_zero_pages \
	max_page_sharing merge_across_nodes advisor_mode; do
	[[ -e $ksm/$name ]] && settings+=("$ksm/$name")
done
work=$(mktemp -d)
running=
trap '[[ -z $running ]] || { kill "$running" && wait; }; rm -rf "$work"' EXIT

# At rest: whoever changes them holds this lock, as `twinfold bench` does.
show_settings() {
	(
		flock -w 60 9 || echo "another program has changed them"
		grep -H . "${settings[@]}"
	) 9</proc/sys/vm/max_map_count
}

# Run the bench, wrongly: exit 2, and a word of $2 on stderr.
check_usage() {
	local rc=0

	# shellcheck disable=SC2086
	"$TWINFOLD" bench $1 >"$work/out" 2>"$work/err" || rc=$?
	[[ $rc -eq 2 ]] || fail "$1: exit $rc, not 2"
	[[ ! -s $work/out ]] || fail "$1: something on stdout"
	grep -q "${2-}" "$work/err" || fail "$1: no word of '${2-}' on stderr"
}

# For whoever sources this.
# shellcheck disable=SC2034
before=$(show_settings)
