#!/bin/sh
# static_library - makes one static library of several, in which hidden symbols are local.
#
# Archives know nothing of visibility: linked as they are, every internal function would be a name in
# the program. So what is needed becomes one object, and what is hidden in it is nobody else's.
#
# Usage: tools/static_library.sh OUT FIRST.a OTHER.a...    the first as a whole, of the others what it needs
#
# SPDX-License-Identifier: Apache-2.0
set -eu

out=$1
first=$2
shift 2
object=$out.o

ld -r -o "$object" --whole-archive "$first" --no-whole-archive --start-group "$@" --end-group
objcopy --localize-hidden "$object"
rm -f "$out"
ar rcsD "$out" "$object"
rm "$object"
