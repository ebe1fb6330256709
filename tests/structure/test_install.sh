#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Install into an empty prefix; a ten-line embedder builds against it through
# pkg-config (shared and static) and through the CMake package, and runs.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

: "${BUILD_DIR:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
checked=0

cmake --install "$BUILD_DIR" --prefix "$prefix" >"$work/log"
libdir=$(dirname "$(find "$prefix" -name libtwinfold.so | head -n 1)")
export PKG_CONFIG_PATH=$libdir/pkgconfig

cat >"$work/embed.c" <<'EOF'
#include <stdio.h>
#include <twinfold/twinfold.h>

int main(void)
{
	struct tf_engine_opts opts;

	tf_engine_opts_init(&opts);
	printf("twinfold %s, %zu bytes\n", TF_VERSION, opts.size);
	tf_engine_destroy(NULL);
	return opts.max_page_sharing == 256 ? 0 : 1;
}
EOF

step() {
	local what=$1

	shift
	checked=$((checked + 1))
	"$@" >"$work/log" 2>&1 && return
	finding "$what failed:"
	cat "$work/log" >&2
}

# The functions that step() calls; `set -e` is off in them, hence the &&.
# shellcheck disable=SC2317
by_pkg_config() {
	local -a flags libs

	read -ra flags <<<"$(pkg-config --cflags twinfold)"
	read -ra libs <<<"$(pkg-config --libs twinfold)"
	gcc -Wall -Werror "${flags[@]}" "$work/embed.c" "${libs[@]}" \
		-o "$work/embed-shared" &&
		LD_LIBRARY_PATH=$libdir "$work/embed-shared"
}

# shellcheck disable=SC2317
by_pkg_config_static() {
	local -a flags libs

	read -ra flags <<<"$(pkg-config --cflags twinfold)"
	read -ra libs <<<"$(pkg-config --static --libs twinfold)"
	gcc -Wall -Werror "${flags[@]}" "$work/embed.c" \
		"${libs[@]/#-ltwinfold/-l:libtwinfold.a}" \
		-o "$work/embed-static" &&
		"$work/embed-static"
}

# shellcheck disable=SC2317
by_cmake() {
	mkdir -p "$work/cmake"
	cp "$work/embed.c" "$work/cmake"
	cat >"$work/cmake/CMakeLists.txt" <<-'EOF'
		cmake_minimum_required(VERSION 3.25)
		project(embed LANGUAGES C)
		find_package(twinfold 0.1 REQUIRED)
		add_executable(embed embed.c)
		target_link_libraries(embed PRIVATE twinfold::twinfold)
		add_executable(embed-static embed.c)
		target_link_libraries(embed-static
			PRIVATE twinfold::twinfold-static)
	EOF
	cmake -S "$work/cmake" -B "$work/cmake/build" -G Ninja \
		-DCMAKE_PREFIX_PATH="$prefix" &&
		cmake --build "$work/cmake/build" &&
		"$work/cmake/build/embed" &&
		"$work/cmake/build/embed-static"
}

step "building through pkg-config" by_pkg_config
# Coverage counters are no part of a static library that is installed.
if ! nm "$libdir/libtwinfold.a" 2>/dev/null | grep __gcov >/dev/null; then
	step "building statically through pkg-config" by_pkg_config_static
	step "building through the CMake package" by_cmake
fi
step "twinfold --version" "$prefix/bin/twinfold" --version

for header in include/twinfold/*.h; do
	[[ $header == */vmm.h || -f $prefix/$header ]] ||
		finding "$header is not installed"
done
if command -v scdoc >/dev/null; then
	find "$prefix" -name twinfold.1 | grep -q . ||
		finding "the man page twinfold.1 is not installed"
fi

finish "steps" "$checked"
