#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The documents that man pages are made of have the sections that a reader looks for, and man finds nothing to
# complain of in what pandoc makes of them.
set -eu
cd "$(dirname "$0")/.."
command -v man >/dev/null && command -v pandoc >/dev/null || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bad=0
for document in datasrv agent farmsync-image farmsync-sim farmsyncctl; do
    page=$scratch/$document.man
    pandoc --standalone --from markdown-smart --to man --output "$page" "doc/$document.md"
    complaints=$(MANWIDTH=100 LC_ALL=C.UTF-8 man --warnings -l "$page" 2>&1 >/dev/null | grep -v 'cannot adjust line' || true)
    [ -z "$complaints" ] || { echo "doc/$document.md: $complaints"; bad=1; }
    for section in NAME SYNOPSIS DESCRIPTION; do
        grep -q "^\.SH \"*$section" "$page" || { echo "doc/$document.md: no section $section"; bad=1; }
    done
done
exit $bad
