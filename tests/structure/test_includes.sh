#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Who may include whom, and who may talk to the kernel:
#   include -> nothing       engine/base -> include
#   engine -> engine/base    ras -> engine, engine/base
#   vmm, agent -> engine/base (all of them -> include)    tests -> anything
# Only the kernel seam, engine/os_*.c, makes system calls for engine and ras.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

part_of() {
	case $1 in
	include/*) echo include ;;
	engine/base/*) echo base ;;
	*) echo "${1%%/*}" ;;
	esac
}

allowed() {
	case $1 in
	include) echo "include" ;;
	base) echo "base include" ;;
	engine) echo "engine base include" ;;
	ras) echo "ras engine base include" ;;
	vmm) echo "vmm base include" ;;
	agent) echo "agent base include" ;;
	esac
}

# Print the file of the tree that `#include "$2"` in file $1 means.
resolve() {
	local candidate

	for candidate in "$(dirname "$1")/$2" "include/$2" "$2"; do
		if [[ -f $candidate ]]; then
			realpath --relative-to=. "$candidate"
			return
		fi
	done
}

check_include() {
	local file=$1 line=$2 name=$3 target part

	target=$(resolve "$file" "$name")
	if [[ -z $target ]]; then
		finding "$file:$line: \"$name\" is no file of this tree"
		return
	fi
	part=$(part_of "$file")
	if [[ " $(allowed "$part") " != *" $(part_of "$target") "* ]]; then
		finding "$file:$line: $part must not include $target"
	fi
}

# System calls by their libc names; `os->mmap(` is the seam and is fine.
calls='mmap|munmap|mremap|madvise|process_madvise|mprotect|mincore|msync'
calls+='|mlock|munlock|mbind|get_mempolicy|set_mempolicy|memfd_create'
calls+='|fallocate|ftruncate|ioctl|syscall|open|openat|close|fcntl|dup|dup2'
calls+='|read|write|pread|pwrite|readv|writev|lseek|poll|ppoll|select'
calls+='|epoll_wait|eventfd|fork|vfork|execve|prctl|fopen|fclose'
calls+='|process_vm_readv|process_vm_writev|userfaultfd|fstat|stat|sysconf'

check_calls() {
	local text line

	while IFS= read -r text; do
		line=$(grep -nF -- "$text" "$1" | head -n 1 | cut -d: -f1 || true)
		finding "$1:${line:-1}: direct system call: $text"
	done < <(code_of "$1" | sed 's/"[^"]*"/""/g; s/^[[:blank:]]*//' |
		grep -v '^#' | grep -E "(^|[^A-Za-z0-9_>.])($calls) *\(" || true)
}

checked=0
while IFS= read -r file; do
	while IFS=: read -r line text; do
		name=${text#*\"}
		check_include "$file" "$line" "${name%%\"*}"
	done < <(grep -nE '^ *# *include +"' "$file" || true)
	checked=$((checked + 1))
done < <(files include engine ras vmm agent -- '*.c' '*.h' '*.S')

while IFS= read -r file; do
	[[ $file == engine/os_*.c ]] || check_calls "$file"
done < <(files engine ras -- '*.c' '*.h')

# The check itself: each of these must be found.
self=$(mktemp -d)
trap 'rm -rf "$self"' EXIT
before=$findings
mkdir -p "$self/include" "$self/engine" "$self/vmm"
touch "$self/engine/os.h" "$self/include/a.h"
printf 'int f(void)\n{\n\treturn ioctl(1, 2);\n}\n' >"$self/engine/a.c"
cd "$self"
{
	check_include include/a.h 1 engine/os.h
	check_include vmm/a.c 1 engine/os.h
	check_include vmm/a.c 1 nowhere.h
	check_calls engine/a.c
} 2>/dev/null
cd "$SRC_DIR"
found=$((findings - before))
findings=$before
[[ $found -eq 4 ]] || finding "the check is broken: found $found of 4"

finish "files" "$checked"
