# Sourced by examples/quickstart and tests/run: installs the Debian packages that are missing.
# usage: install_packages NAME...
#
# Packages that bring a daemon must not start it: a policy-rc.d that answers 101 says so while we
# install. One that is there already is left alone.

install_packages()
{
    missing=""
    for package in "$@"; do
        if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing="$missing $package"
        fi
    done
    if [ -z "$missing" ]; then
        return 0
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
    fi
    echo "installing:$missing" >&2
    policy=/usr/sbin/policy-rc.d
    made_policy=""
    if [ ! -e "$policy" ]; then
        made_policy=$policy
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    log=$(mktemp)
    status=0
    # shellcheck disable=SC2086
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing \
        </dev/null >"$log" 2>&1; then
        # The package lists may be old or absent.
        { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $missing; } </dev/null >"$log" 2>&1 || status=$?
    fi
    if [ -n "$made_policy" ]; then
        $as_root rm -f "$made_policy"
    fi
    if [ "$status" -ne 0 ]; then
        echo "apt-get could not install:$missing" >&2
        tail -n 20 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}
