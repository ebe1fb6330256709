#!/bin/busybox sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=dash
#
# The first program of a test guest: files in tmpfs, checked and rewritten in
# a loop, each against a sum that was made from its source, not from the file.
# Says on the console "guest: ready", "guest: round N ok", "guest: FAILED ...".
# With a disk (virtio-blk), it is read and written by direct I/O meanwhile. A
# word on the second serial line is done and answered "guest: WORD done": "fill"
# takes 32 MiB of memory, all of few contents, "drop" frees it.

/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=80% t /t
for module in /modules/*.ko; do
	[ -e "$module" ] && insmod "$module" 2>/dev/null
done

fail() {
	echo "guest: FAILED $*"
}

# Content $1: 256 KiB of this program's own binary, from some place on.
content() {
	dd if=/bin/busybox bs=64k skip="$1" count=4 2>/dev/null
}

sum() {
	md5sum | cut -d' ' -f1
}

# File $1 gets content $2.
put() {
	content "$2" >"/t/$1"
	eval "want_$1=\$sum_$2 content_$1=$2"
}

check_all() {
	for file in /t/*; do
		name=${file##*/}
		want=
		eval "want=\$want_$name"
		[ "$(sum <"$file")" = "$want" ] && continue
		fail "$name in round $round, then $(sum <"$file"), not $want"
		eval "content \"\$content_$name\"" | cmp -l - "$file" | head -n 4
	done
}

# The same place of the disk gets one content after another, and so does the
# buffer that it is read into.
disk() {
	while :; do
		for c in 0 1 2 3; do
			content "$c" | dd of=/dev/vda bs=64k oflag=direct \
				iflag=fullblock 2>/dev/null
			eval "want=\$sum_$c"
			for _ in 1 2 3 4; do
				got=$(dd if=/dev/vda bs=64k count=4 \
					iflag=direct 2>/dev/null | sum)
				[ "$got" = "$want" ] || fail "disk, content $c"
			done
		done
		echo "guest: disk ok"
	done
}

# By doubling: starting programs takes long in a guest without KVM.
fill() {
	content 1 >/filled/a
	for _ in 1 2 3 4 5 6 7; do
		cat /filled/a /filled/a >/filled/b
		mv /filled/b /filled/a
	done
}

obey() {
	while read -r word; do
		case $word in
		fill) fill ;;
		drop) rm /filled/a ;;
		esac
		echo "guest: $word done"
	done
}

round=0
for c in 0 1 2 3 4 5 6 7; do
	eval "sum_$c=$(content $c | sum)"
done
for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
	put "a$i" 0
	put "b$i" 2
done
for i in 0 1 2 3; do
	dd if=/dev/urandom bs=64k count=4 2>/dev/null >"/t/u$i"
	eval "want_u$i=$(sum <"/t/u$i")"
done
if grep -q '^1: uart:16' /proc/tty/driver/serial; then
	mkdir /filled
	mount -t tmpfs -o size=80% f /filled
	exec 3</dev/ttyS1
	obey <&3 &
fi
echo "guest: ready"
[ -e /dev/vda ] && disk &

while :; do
	round=$((round + 1))
	check_all
	put "a$((round % 20))" $((round % 8))
	put "b$(((round + 7) % 20))" $(((round + 3) % 8))
	put "a$(((round + 19) % 20))" 0
	put "b$(((round + 26) % 20))" 2
	echo "guest: round $round ok"
done
