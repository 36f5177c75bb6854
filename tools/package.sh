#!/bin/sh
# package - builds a Debian package of Penstock: FOLDER/penstock_VERSION_ARCH.deb
#
# Usage: tools/package.sh [FOLDER]       default: build/package
#
#   PACKAGE_VERSION   instead of the version in meson.build, e.g. 0.1.0+git20250101
#   MAINTAINER        "Name <address>" for the package's head
#   PACKAGE_BUILD     a finished build to take instead of making one, whatever its prefix: a test
#                     that has one need not wait for another
#
# A build of its own in FOLDER/obj, installed below FOLDER/debian/penstock with meson install: whatever is
# installed there, libraries and headers included, is in the package. What is special about Debian
# is in deploy/debian. The same commit gives the same bytes: times are those of the commit, paths
# don't show. Needs no root and no fakeroot.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
umask 022
cd "$(dirname "$0")/.."

out=${1:-build/package}
mkdir -p "$out"
out=$(cd "$out" && pwd)
obj=${PACKAGE_BUILD:-$out/obj}
root=$out/debian/penstock
doc=$root/usr/share/doc/penstock
version=${PACKAGE_VERSION:-$(sed -n "s/^ *version: '\(.*\)',$/\1/p" meson.build)}
maintainer=${MAINTAINER:-Penstock <penstock@localhost>}
arch=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC

build() {
    if [ ! -f "$obj/build.ninja" ]; then
        meson setup "$obj" --prefix=/usr --sysconfdir=/etc --localstatedir=/var -Dtests=disabled \
            -Dc_args="-ffile-prefix-map=$PWD=. -ffile-prefix-map=$obj=obj" >"$out/setup.log"
    fi
    ninja -C "$obj" >"$out/build.log" || {
        tail -n 40 "$out/build.log"
        exit 1
    }
}

# INSTALL_PREFIX is for tools/install.sh, which writes the path of the program into the unit.
stage() {
    rm -rf "$root"
    INSTALL_PREFIX=/usr meson install -C "$obj" --no-rebuild --destdir "$root" >"$out/install.log"
    if [ ! -d "$root/usr/bin" ]; then # the prefix of PACKAGE_BUILD: it becomes /usr
        prefix=$(dirname "$(dirname "$(find "$root" -path '*/bin/penstock')")")
        mv "$prefix" "$out/debian/usr"
        rm -rf "$root"
        mkdir "$root"
        mv "$out/debian/usr" "$root/usr"
    fi
}

# What Debian keeps elsewhere, or packed.
arrange() {
    mkdir -p "$root/etc/penstock" "$root/etc/logrotate.d" "$root/usr/share/zsh/vendor-completions" "$doc"
    mv "$root/usr/share/zsh/site-functions/_penstock" "$root/usr/share/zsh/vendor-completions/"
    rmdir "$root/usr/share/zsh/site-functions"
    install -m 644 deploy/penstock.yaml "$root/etc/penstock/penstock.yaml"
    install -m 644 deploy/penstock.logrotate "$root/etc/logrotate.d/penstock"
    sed "s/@YEAR@/$(date -d "@$SOURCE_DATE_EPOCH" +%Y)/" deploy/debian/copyright >"$doc/copyright"
    find "$root/usr/share/man" -type f -name '*.[0-9]' -exec gzip -9n {} +
    {
        printf 'penstock (%s) stable; urgency=medium\n\n' "$version"
        printf '  * Built from commit %s.\n\n' "$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
        printf ' -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip -9n >"$doc/changelog.gz"
}

# A build with another prefix (PACKAGE_BUILD) wrote that one.
fix_prefix() {
    find "$root/usr/lib" -name '*.pc' -exec sed -i 's|^prefix=.*|prefix=/usr|' {} +
}

# Programs and libraries, told by their first bytes.
list_elf() {
    find "$root/usr" -type f -size +3c | while read -r file; do
        [ "$(head -c 4 "$file" | od -An -tx1 | tr -d ' ')" != 7f454c46 ] || echo "$file"
    done
}

strip_all() {
    list_elf | while read -r file; do
        strip --strip-unneeded --remove-section=.comment --remove-section=.note "$file"
    done
    find "$root/usr/lib" -name '*.a' -exec strip --strip-debug --enable-deterministic-archives {} +
}

# dpkg-shlibdeps wants to stand in a source package: it gets as much of one as it looks at.
find_dependencies() {
    printf 'Source: penstock\n\nPackage: penstock\nArchitecture: any\n' >"$out/debian/control"
    # shellcheck disable=SC2046
    (cd "$out" && dpkg-shlibdeps -O $(list_elf)) | sed -n 's/^shlibs:Depends=//p'
}

describe() {
    size=$(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%s\n' |
        awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
    mkdir -p "$root/DEBIAN"
    depends=$(find_dependencies)
    [ -n "$depends" ]
    sed -e "s|@VERSION@|$version|" -e "s|@ARCH@|$arch|" -e "s|@MAINTAINER@|$maintainer|" \
        -e "s|@SIZE@|$size|" -e "s|@DEPENDS@|$depends|" deploy/debian/control.in >"$root/DEBIAN/control"
    for script in postinst prerm postrm; do
        install -m 755 "deploy/debian/$script" "$root/DEBIAN/$script"
    done
    (cd "$root" && find etc -type f | sort | sed 's|^|/|') >"$root/DEBIAN/conffiles"
    (cd "$root" && find usr -type f | sort | xargs md5sum) >"$root/DEBIAN/md5sums"
    if [ -n "$(find "$root/usr" -name 'lib*.so.*')" ]; then
        echo 'activate-noawait ldconfig' >"$root/DEBIAN/triggers"
    fi
}

# Modes are set here, whatever the umask was when sources were checked out.
pack() {
    find "$root" -type d -exec chmod 755 {} +
    find "$root" -exec touch --no-dereference -d "@$SOURCE_DATE_EPOCH" {} +
    deb=$out/penstock_${version}_$arch.deb
    dpkg-deb --root-owner-group -Zxz --build "$root" "$deb" >/dev/null
    echo "$deb"
}

[ -n "${PACKAGE_BUILD:-}" ] || build
stage
strip_all
arrange
fix_prefix
describe
pack
