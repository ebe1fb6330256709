#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A source file above 800 lines holds two concepts: split it.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

limit=800
checked=0
while IFS= read -r file; do
	lines=$(wc -l <"$file")
	if [[ $lines -gt $limit ]]; then
		finding "$file: $lines lines, more than $limit"
	fi
	checked=$((checked + 1))
done < <(files include engine ras vmm agent -- '*.c' '*.h' '*.S')

finish "files" "$checked"
