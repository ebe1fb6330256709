# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Sourced by the tests of the tree's structure: they look at the sources under
# SRC_DIR and print one line "file:line: what is wrong" for each finding.
set -euo pipefail
: "${SRC_DIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
cd "$SRC_DIR"
export LC_ALL=C

findings=0

finding() {
	echo "$*" >&2
	findings=$((findings + 1))
}

# Exit as the test's result; $1 says what was counted, $2 how many.
finish() {
	if [[ $2 -eq 0 ]]; then
		finding "nothing to check: no $1 found under $SRC_DIR"
	fi
	echo "$2 $1 checked, $findings findings"
	[[ $findings -eq 0 ]]
	exit
}

# Print the files under the folders before "--" with one of the names after it.
files() {
	local -a dirs=() names=()

	while [[ $# -gt 0 && $1 != -- ]]; do
		[[ -e $1 ]] && dirs+=("$1")
		shift
	done
	shift
	[[ ${#dirs[@]} -gt 0 ]] || return 0
	for name in "$@"; do
		names+=(-o -name "$name")
	done
	find "${dirs[@]}" \( -name .git -o -path './build*' \) -prune -o \
		-type f \( "${names[@]:1}" \) -print | sed 's|^\./||' | sort
}

# Print a C file without its comments, lines kept.
code_of() {
	gcc -fpreprocessed -dD -E -P -x c "$1" 2>/dev/null
}
