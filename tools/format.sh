#!/bin/sh
# format - runs clang-format over C files: changed | all | check
#
# .clang-format is written for version 14, which is taken when it is there beside another one.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."

tool=$(command -v clang-format-14 || command -v clang-format)
changed() {
    git diff --name-only --diff-filter=d HEAD -- '*.c' '*.h'
    git ls-files --others --exclude-standard -- '*.c' '*.h'
}

case ${1:-changed} in
changed) changed | xargs -r "$tool" -i ;;
all) git ls-files -- '*.c' '*.h' | xargs -r "$tool" -i ;;
check) git ls-files -- '*.c' '*.h' | xargs -r "$tool" --dry-run -Werror ;;
*)
    echo "usage: tools/format.sh changed|all|check" >&2
    exit 2
    ;;
esac
