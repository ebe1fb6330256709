#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Every public header compiles alone, as C17 and as C++17, with each compiler.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

warnings=(-Wall -Wextra -Wpedantic -Werror)
checked=0

compile() {
	local header=$1 out

	shift
	if ! out=$(printf '#include "%s"\n' "${header#include/}" |
		"$@" "${warnings[@]}" -D_POSIX_C_SOURCE=200809L -Iinclude \
			-fsyntax-only - 2>&1); then
		finding "$header: does not compile alone with $*"
		printf '%s\n' "$out" >&2
	fi
	checked=$((checked + 1))
}

while IFS= read -r header; do
	for cc in gcc clang; do
		command -v "$cc" >/dev/null || continue
		compile "$header" "$cc" -xc -std=c17 -Wshadow
	done
	for cxx in g++ clang++; do
		command -v "$cxx" >/dev/null || continue
		compile "$header" "$cxx" -xc++ -std=c++17
	done
done < <(files include -- '*.h')

finish "compilations" "$checked"
