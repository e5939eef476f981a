#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every message number in the sources stands in doc/messages.md, once, and every number that stands
# there is in the sources. In C a number is a literal "FS0123" (or begins one: "FS0123: ..."), in SQL it
# begins a text: 'FS1001: ...'. In the Python of farmsyncctl it is a literal "FS0900", too.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

find lib mod_farmsync datasrv tools -name '*.c' -exec cat {} + 2>/dev/null |
    grep -Eo '"FS[0-9]{4}([":])' | grep -Eo 'FS[0-9]{4}' >"$scratch/all" || true
find scripts/farmctl -name '*.py' -exec cat {} + 2>/dev/null |
    grep -Eo '"FS[0-9]{4}"' | grep -Eo 'FS[0-9]{4}' >>"$scratch/all" || true
find sql -name '*.sql' -exec cat {} + 2>/dev/null |
    grep -Eo "['\"]FS[0-9]{4}: " | grep -Eo 'FS[0-9]{4}' >>"$scratch/all" || true
sort -u "$scratch/all" >"$scratch/used"
grep -Eo '^\| *FS[0-9]{4} ' doc/messages.md | grep -Eo 'FS[0-9]{4}' | sort >"$scratch/listed"
sort -u "$scratch/listed" >"$scratch/known"

bad=0
for number in $(uniq -d "$scratch/listed"); do
    echo "$number is listed more than once in doc/messages.md; give each message its own number"
    bad=1
done
for number in $(comm -23 "$scratch/used" "$scratch/known"); do
    echo "$number is not listed in doc/messages.md; used in:"
    grep -rlE "$number" --include='*.c' --include='*.sql' --include='*.py' lib mod_farmsync datasrv sql scripts/farmctl | sed 's/^/    /'
    bad=1
done
for number in $(comm -13 "$scratch/used" "$scratch/known"); do
    echo "$number is listed in doc/messages.md, but no source has it; remove the line"
    bad=1
done
[ "$(wc -l <"$scratch/used")" -gt 20 ] || { echo "hardly any message number was found"; bad=1; }
[ $bad = 0 ] && echo "$(wc -l <"$scratch/used") message numbers, all listed"
exit $bad
