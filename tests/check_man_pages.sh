#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each man page has the sections that a reader looks for, and man finds nothing to complain of.
set -u
command -v man >/dev/null || exit 77
bad=0
for page in datasrv.8 farmsync-agent.8 farmsync-image.1 farmsyncctl.8; do
    file=doc/$page
    [ -f "$file" ] || file=$srcdir/doc/$page
    complaints=$(MANWIDTH=100 LC_ALL=C.UTF-8 man --warnings -l "$file" 2>&1 >/dev/null | grep -v 'cannot adjust line')
    if [ -n "$complaints" ]; then
        echo "$page: $complaints"
        bad=1
    fi
    for section in NAME SYNOPSIS DESCRIPTION; do
        grep -q "^\.SH \"*$section" "$file" || { echo "$page: no section $section"; bad=1; }
    done
done
exit $bad
