#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What prose names must exist: `tf_...` and `TF_...` in backticks in README.md
# and docs/, `folder/file.ext` there, and tf_...() in source comments.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

code_dirs=(include engine ras vmm agent tests)
mapfile -t sources < <(files "${code_dirs[@]}" -- '*.c' '*.h')
for file in "${sources[@]}"; do
	code_of "$file"
done >"$work/code"
grep -oE '\b(tf|TF)_[A-Za-z0-9_]+' "$work/code" | sort -u >"$work/names"
grep -oE '\btf_[A-Za-z0-9_]+ *\(' "$work/code" | tr -d ' (' |
	sort -u >"$work/functions"
# Options of the build are identifiers too.
cat CMakeLists.txt cmake/* tests/CMakeLists.txt CMakePresets.json |
	grep -oE '\b(tf|TF)_[A-Za-z0-9_]+' | sort -u >>"$work/names"

exists() {
	grep -qxF "$1" "$2"
}

check_quoted() {
	local where=$1 word=$2

	case $word in
	tf_*\(\)) exists "${word%()}" "$work/functions" ;;
	*) exists "$word" "$work/names" ;;
	esac || finding "$where: \`$word\` does not exist in the code"
}

check_path() {
	local where=$1 path=${2#./}

	[[ $path == build/* || $path == build-*/* ]] && return
	compgen -G "$path" >/dev/null ||
		finding "$where: \`$path\` is no file of this tree"
}

# shellcheck disable=SC2016
quoted='`((tf|TF)_[A-Za-z0-9_]+(\(\))?)`'
path_re='`((\./)?[A-Za-z0-9_.*-]+(/[A-Za-z0-9_.*-]+)+'
path_re+='\.(c|h|S|sh|md|map|scd|txt|cmake|in))`'
checked=0
mapfile -t prose < <(files README.md docs -- '*.md')
for file in "${prose[@]}"; do
	while IFS=: read -r line word; do
		check_quoted "$file:$line" "${word//\`/}"
		checked=$((checked + 1))
	done < <(grep -noE "$quoted" "$file" || true)
	while IFS=: read -r line word; do
		check_path "$file:$line" "${word//\`/}"
		checked=$((checked + 1))
	done < <(grep -noE "$path_re" "$file" || true)
done

# A function that is named with () in a comment and nowhere in the code.
for file in "${sources[@]}"; do
	while IFS=: read -r line word; do
		exists "${word%()}" "$work/functions" ||
			finding "$file:$line: $word does not exist in the code"
		checked=$((checked + 1))
	done < <(grep -noE '\btf_[a-z0-9_]+\(\)' "$file" || true)
done

finish "names" "$checked"
