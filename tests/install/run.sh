#!/bin/sh
# usage: run.sh BUILD_DIR
# Installs a build into a temporary folder and uses it from outside the tree: a C program through
# pkg-config, a C++17 CMake project with archives and a SQLite of its own, the adapter skeleton.
set -eu
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

passed=0
ok()
{
    echo "ok: $1"
    passed=$((passed + 1))
}

DESTDIR="$tmp/root" meson install -C "$build" --no-rebuild >"$tmp/install.log" 2>&1 || {
    cat "$tmp/install.log"
    exit 1
}
pc=$(dirname "$(find "$tmp/root" -name tpcore.pc)")
libdir=$(dirname "$(find "$tmp/root" -name libtpcore.so)")
export PKG_CONFIG_PATH="$pc" PKG_CONFIG_SYSROOT_DIR="$tmp/root"
unset CPATH LIBRARY_PATH || true

cc -std=c11 -Wall -Werror "$here/user.c" $(pkg-config --cflags --libs tpcore) -o "$tmp/user"
LD_LIBRARY_PATH="$libdir" "$tmp/user"
ok "C program through pkg-config"

cc -std=c11 -Wall -Werror "$here/user.c" $(pkg-config --cflags tpcore) "$libdir/libtpcore.a" \
    $(pkg-config --variable=third_party tpcore) -lm -ldl -lpthread -o "$tmp/user-static"
"$tmp/user-static"
ok "the same program with libtpcore.a"

if ls "$libdir"/libtpcore-sqlite.a >/dev/null 2>&1; then
    cmake -S "$here/cmake" -B "$tmp/cmake" -DCMAKE_PREFIX_PATH="$tmp/root$(pkg-config --variable=prefix tpcore | sed "s|^$tmp/root||")" \
        >"$tmp/cmake.log" 2>&1 && cmake --build "$tmp/cmake" >>"$tmp/cmake.log" 2>&1 || {
        cat "$tmp/cmake.log"
        exit 1
    }
    "$tmp/cmake/product" "$tmp/data"
    if ldd "$tmp/cmake/product" | grep -E 'libsqlite3|libtpcore'; then
        echo "product must carry its own SQLite and the archives"
        exit 1
    fi
    ok "C++17 CMake project with archives and its own SQLite"
fi

door=$(find "$tmp/root" -name tpcore_sql.so)
if [ -n "$door" ] && command -v sqlite3 >/dev/null 2>&1; then
    exported=$(nm -D --defined-only "$door" | awk '{ print $3 }')
    needed=$(readelf -d "$door" | grep -c 'NEEDED.*\(sqlite3\|libtpcore\)') || true
    loaded=$(sqlite3 -cmd ".load ${door%.so}" :memory: "SELECT name FROM pragma_module_list WHERE name = 'telemetry'")
    if [ "$exported $needed $loaded" != "sqlite3_tpcoresql_init 0 telemetry" ]; then
        echo "tpcore_sql.so: exports $exported, needs $needed libraries that it must not, loaded: $loaded"
        exit 1
    fi
    ok "extension for sqlite3"
fi

if [ -d "$root/examples/adapter-skeleton" ]; then
    cp -r "$root/examples/adapter-skeleton" "$tmp/skeleton"
    meson setup "$tmp/skeleton/build" "$tmp/skeleton" >"$tmp/skeleton.log" 2>&1 &&
        ninja -C "$tmp/skeleton/build" >>"$tmp/skeleton.log" 2>&1 || {
        cat "$tmp/skeleton.log"
        exit 1
    }
    cc -std=c11 -Wall -Werror "$here/load.c" $(pkg-config --cflags --libs tpcore) -o "$tmp/load"
    LD_LIBRARY_PATH="$libdir" "$tmp/load" "$(find "$tmp/skeleton/build" -name 'tpc_*.so')"
    ok "adapter skeleton built against the installed library and loaded"
    for so in "$libdir"/tpcore/tpc_*.so; do
        LD_LIBRARY_PATH="$libdir" "$tmp/load" "$so"
        ok "$(basename "$so") loads"
    done
fi
echo "tk: install passed=$passed failed=0 skipped=0 seconds=0"
