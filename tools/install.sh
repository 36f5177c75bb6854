#!/bin/sh
# install - what meson install can't do by itself: files that the program writes, and the unit.
#
# Usage: tools/install.sh PROGRAM BINDIR DATADIR MANDIR     by meson install, which sets DESTDIR and
#                                                           the MESON_INSTALL_* variables
#
# SPDX-License-Identifier: Apache-2.0
set -eu
umask 022

program=$1
prefix=${INSTALL_PREFIX:-$MESON_INSTALL_PREFIX}
bindir=$2
data=$MESON_INSTALL_DESTDIR_PREFIX/$3
man=$MESON_INSTALL_DESTDIR_PREFIX/$4
units=$MESON_INSTALL_DESTDIR_PREFIX/lib/systemd/system

install_pages() {
    pages=$("$program" manual)
    for page in $pages; do
        folder=$man/man${page##*.}
        word=${page%.*}
        mkdir -p "$folder"
        "$program" manual "${word#penstock-}" >"$folder/$page"
    done
}

install_completion() {
    mkdir -p "$data/bash-completion/completions" "$data/zsh/site-functions"
    "$program" completion bash >"$data/bash-completion/completions/penstock"
    "$program" completion zsh >"$data/zsh/site-functions/_penstock"
}

install_unit() {
    mkdir -p "$units"
    sed "s|@BINDIR@|$prefix/$bindir|g" "$MESON_SOURCE_ROOT/deploy/penstock.service.in" \
        >"$units/penstock.service"
}

install_pages
install_completion
install_unit
