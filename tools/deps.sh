#!/bin/sh
# deps - installs what Penstock is built, tested and measured with, and nothing that is there already.
#
# Usage: tools/deps.sh [build] [test] [bench] [cluster] [package] [system] [format]
#        default: build test bench
#
# Knows Debian 12 and 13 and Ubuntu 24.04, as root or through sudo. Asks dpkg first: when nothing
# is missing it says nothing, needs no network and no rights. A command that is on the PATH counts,
# wherever it came from; a Node 18 or newer is kept.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

# package          or package:command (the command on the PATH is as good as the package)
BUILD="make:make gcc:gcc libc6-dev meson:meson ninja-build:ninja pkgconf:pkg-config
    libuv1-dev libssl-dev libyajl-dev libjansson-dev libyaml-dev zlib1g-dev libwslay-dev
    libhiredis-dev libzstd-dev libsqlite3-dev libncurses-dev libprotobuf-c-dev protobuf-c-compiler:protoc-c
    python3:python3 git:git xz-utils:xz ca-certificates"
TEST="libcmocka-dev clang:clang curl:curl openssl:openssl wrk:wrk slowhttptest:slowhttptest
    mandoc:mandoc tmux:tmux prometheus:promtool"
BENCH="nginx:nginx libnginx-mod-nchan haproxy:haproxy varnish:varnishd varnish-modules wrk:wrk nghttp2-client:h2load"
CLUSTER="redis-server:redis-server redis-tools:redis-cli" # make run CLUSTER=1
PACKAGE="dpkg-dev:dpkg-shlibdeps"
SYSTEM="debootstrap:debootstrap systemd-container:systemd-nspawn" # a Debian to install the package on
FORMAT="clang-format:clang-format"
SERVICES="nginx haproxy varnish redis-server prometheus prometheus-node-exporter" # packages that start a daemon of their own: ours to use, not to run

say() {
    echo "deps: $*"
}

has_command() {
    # Daemons live in sbin, which an ordinary user's PATH may lack.
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]
}

# The clang runtime (sanitizers, libFuzzer) is a package of its own, numbered like clang.
clang_runtime() {
    if resources=$(clang -print-resource-dir 2>/dev/null); then
        [ -z "$(find "$resources/" -name 'libclang_rt.fuzzer*.a' 2>/dev/null)" ] || return 0
        version=$(clang -dumpversion | cut -d. -f1)
    else
        case "$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")" in
        debian-12) version=14 ;;
        debian-13) version=19 ;;
        ubuntu-24.04) version=18 ;;
        *) version=$(apt-cache depends clang 2>/dev/null |
            sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1) ;;
        esac
    fi
    if [ -n "$version" ]; then
        echo "libclang-rt-$version-dev"
    fi
}

node_packages() {
    major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p') || major=
    if [ -z "$major" ] || [ "$major" -lt 18 ]; then
        echo nodejs
    fi
    has_command npm || echo npm
}

# Tests of the page. Ubuntu has Chromium as a snap only, which is for its user to choose: they are left out there.
browser_packages() {
    if ! has_command chromium && ! has_command chromium-browser && [ "$(. /etc/os-release && echo "$ID")" = debian ]; then
        echo chromium
    fi
}

# Reads "package" or "package:command" words, prints the packages that are not there.
missing_of() {
    unknown=
    for word in "$@"; do
        case $word in
        *:*) has_command "${word#*:}" || unknown="$unknown ${word%%:*}" ;;
        *) unknown="$unknown $word" ;;
        esac
    done
    [ -n "$unknown" ] || return 0
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $unknown 2>/dev/null |
        sed -n 's/ installed$//p' | tr '\n' ' ')
    for package in $unknown; do
        case " $installed" in
        *" $package "*) ;;
        *) echo "$package" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# A peer of a test or a benchmark is installed to be started by hand: its package may not start a service now...
POLICY=/usr/sbin/policy-rc.d
forbid_services() {
    if [ ! -e "$POLICY" ]; then
        trap 'as_root rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
}

# ... nor at the next boot.
quiet_service() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now "$1" >/dev/null 2>&1 || true
    else
        as_root update-rc.d "$1" disable >/dev/null 2>&1 || true
    fi
    say "$1 is installed for tests and benchmarks; its service is neither started nor enabled"
}

install_packages() {
    if [ "$(id -u)" -ne 0 ] && ! has_command sudo; then
        say "these packages are missing and need root: $*"
        say "as root: apt-get update && apt-get install $*"
        exit 1
    fi
    say "installing: $*"
    as_root apt-get update -q || say "the package lists could not all be refreshed; trying with what is there"
    for package in "$@"; do
        case " $SERVICES " in
        *" $package "*) forbid_services ;;
        esac
    done
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@"
    for package in "$@"; do
        case " $SERVICES " in
        *" $package "*) quiet_service "$package" ;;
        esac
    done
    say "installed: $*"
}

wanted=
BUILD="$BUILD $(node_packages)" # the page; the scenarios
for group in "${@:-build test bench}"; do
    for name in $group; do
        case $name in
        build) wanted="$wanted $BUILD" ;;
        test) wanted="$wanted $BUILD $PACKAGE $CLUSTER $TEST $(clang_runtime) $(browser_packages)" ;;
        bench) wanted="$wanted $BUILD $CLUSTER $BENCH" ;;
        cluster) wanted="$wanted $CLUSTER" ;;
        package) wanted="$wanted $BUILD $PACKAGE" ;;
        system) wanted="$wanted $SYSTEM" ;;
        format) wanted="$wanted $FORMAT" ;;
        *)
            say "no group '$name': build, test, bench, cluster, package, system, format" >&2
            exit 2
            ;;
        esac
    done
done

if ! has_command dpkg-query; then
    say "not a Debian or Ubuntu system; have these in place: $(echo $wanted | sed 's/:[^ ]*//g')"
    exit 0
fi
# shellcheck disable=SC2086
missing=$(missing_of $wanted | sort -u)
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    install_packages $missing
fi
