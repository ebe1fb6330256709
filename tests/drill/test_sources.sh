#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# `./dev setup` makes package sources for a release's backports from the
# system's own, in both of apt's formats.
set -euo pipefail
: "${SRC_DIR:?the source tree}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
eval "$(sed -n '/^backports_of()/,/^}/p' "$SRC_DIR/dev")"

cat >"$work/a.sources" <<'END'
# A comment
Types: deb
URIs: http://one.test/debian
Suites: somename somename-updates
Components: main
# Another
Signed-By: /some/key

Types: deb
URIs: http://two.test/debian-security
Suites: somename-security
Components: main
END
cat >"$work/a.sources.want" <<'END'
Types: deb
URIs: http://one.test/debian
Suites: somename-backports
Components: main
Signed-By: /some/key

END
cat >"$work/b.list" <<'END'
# deb http://three.test/debian somename main
deb http://one.test/debian somename main contrib
deb [arch=amd64 signed-by=/some/key] http://two.test/debian somename main
deb [ arch=amd64 signed-by=/some/key ] http://two.test/x somename main
deb-src http://one.test/debian somename main
deb http://one.test/debian somename-updates main
deb http://one.test/other othername main
END
cat >"$work/b.list.want" <<'END'
deb http://one.test/debian somename-backports main contrib
deb [arch=amd64 signed-by=/some/key] http://two.test/debian somename-backports main
deb [ arch=amd64 signed-by=/some/key ] http://two.test/x somename-backports main
END
for name in a.sources b.list; do
	backports_of "$work/$name" somename >"$work/$name.got"
	diff -u "$work/$name.want" "$work/$name.got" || rc=1
done
exit "${rc:-0}"
