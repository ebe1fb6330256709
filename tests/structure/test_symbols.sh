#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libtwinfold.so exports what the public headers declare: the exported names,
# the symbol map and the declarations are the same set. vmm.h is left out: it
# belongs to the lightweight VMM, which is another library.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

: "${BUILD_DIR:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for header in include/twinfold/*.h; do
	[[ $header == */vmm.h ]] || code_of "$header"
done | grep -vE '^#|typedef' | grep -oE '\btf_[a-z0-9_]+ *\(' | tr -d ' (' |
	sort -u >"$work/declared"

grep -oE '^[[:space:]]+tf_[a-z0-9_]+;' engine/libtwinfold.map |
	tr -d '[:blank:];' | sort -u >"$work/mapped"

nm -D --defined-only "$BUILD_DIR/libtwinfold.so" |
	awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	sort -u >"$work/exported"

compare() {
	local name

	while IFS= read -r name; do
		finding "$name is $3 but not $4"
	done < <(comm -23 "$work/$1" "$work/$2")
}

compare declared mapped "declared in include/" "in engine/libtwinfold.map"
compare mapped declared "in engine/libtwinfold.map" "declared in include/"
compare mapped exported "in engine/libtwinfold.map" "exported"
compare exported mapped "exported" "in engine/libtwinfold.map"

readelf -dW "$BUILD_DIR/libtwinfold.so" | grep -q 'SONAME.*libtwinfold\.so\.0' ||
	finding "libtwinfold.so has no soname libtwinfold.so.0"

finish "symbols" "$(wc -l <"$work/exported")"
