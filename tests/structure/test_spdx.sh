#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Every source file names its licence at its top: C and assembly in the first
# line, the others in the first five (an interpreter line may come before).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tag='SPDX-License-Identifier: LGPL-2.1-or-later'
checked=0

check() {
	head -n "$1" "$2" | grep -qF "$tag" ||
		finding "$2: no '$tag' in the first $1 lines"
	checked=$((checked + 1))
}

while IFS= read -r file; do
	check 1 "$file"
done < <(files include engine ras vmm agent tests -- '*.c' '*.h' '*.S')

while IFS= read -r file; do
	check 5 "$file"
done < <(files . -- '*.sh' '*.cmake' '*.cmake.in' '*.pc.in' '*.map' '*.scd' \
	'*.ld' '*.service' CMakeLists.txt dev run)

[[ -s COPYING ]] || finding "COPYING is missing"

finish "files" "$checked"
