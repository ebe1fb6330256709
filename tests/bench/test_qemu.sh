#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctest-timeout: 120
#
# `twinfold bench qemu` with one small guest: the result has its keys, both
# sides have shared pages, the host's settings are as before, and no QEMU and
# no socket is left, also when it is interrupted. Figures are not judged.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

fail() {
	echo "FAIL: $*" >&2
	tail -n 5 "$work/err" >&2
	exit 1
}

# What runs with the kernel that only this test names.
guests() {
	pgrep -f -- "-serial .* -kernel $work/kernel" || true
}

check_left() {
	for _ in $(seq 50); do
		[[ -z $(guests) ]] && break
		sleep 0.1
	done
	[[ -z $(guests) ]] || fail "$1: QEMU still runs"
	show_settings | diff <(echo "$before") - >&2 ||
		fail "$1: settings changed"
}

check_usage "--mem 16"
check_usage "--guests 0"
check_usage "--kernel $work/none"
check_usage "--scatter ksm"

if [[ -n ${TF_SANITIZE:-} ]]; then
	echo "a sanitizer cannot be loaded into stock QEMU" >&2
	exit 77
fi
kernel=$(find "$SRC_DIR/build-guest/boot" -name 'vmlinuz-*' 2>/dev/null |
	sort | tail -n 1)
[[ -n $kernel ]] || {
	echo "no guest kernel in build-guest/; run ./dev setup" >&2
	exit 77
}
ln -s "$kernel" "$work/kernel"
small=(bench qemu --mem 128 --guests 1 --pairs 1 --seconds 1
	--kernel "$work/kernel" --json)

rc=0
"$TWINFOLD" "${small[@]}" >"$work/out" 2>"$work/err" || rc=$?
if [[ $rc -eq 77 ]]; then
	tail -n 1 "$work/err" >&2
	exit 77
fi
[[ $rc -eq 0 ]] || fail "exit $rc"
check_left "a whole run"
python3 - "$work/out" <<'PY' || fail "the result is not as it must be"
import json
import sys

with open(sys.argv[1], encoding="utf8") as file:
    result = json.load(file)
assert result["case"] == "qemu"
assert (result["guests"], result["mem_mib"], result["pairs"]) == (1, 128, 1)
for side in ("twinfold", "ksm", "ksm_across"):
    for key in ("net_saved_bytes", "cpu_s", "steady_cpu_s", "wall_s",
                "shared", "sharing", "scan_cpu_s"):
        assert isinstance(result[side][key], (int, float)), (side, key)
    assert result[side]["sharing"] > 0, side
    assert result[side]["steady_cpu_s"] > 0, side
for key in ("guest_write_ratio", "guest_read_ratio"):
    assert result[key] > 0, key
PY

env --default-signal=INT "$TWINFOLD" "${small[@]}" >"$work/out" \
	2>"$work/err" &
running=$!
for _ in $(seq 100); do
	[[ -n $(guests) ]] && break
	sleep 0.1
done
[[ -n $(guests) ]] || fail "no guest was started"
kill -s INT "$running"
rc=0
wait "$running" || rc=$?
[[ $rc -eq 130 ]] || fail "SIGINT: exit $rc, not 130"
running=
check_left SIGINT
