#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every directive is documented in doc/configuration.md with syntax, default and context, is shown by
# DUMP_FARMSYNC, and nothing is documented that isn't a directive. Every per-place setting has a
# default and a merge rule.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source=mod_farmsync/settings.c
dump="mod_farmsync/server_status.c mod_farmsync/*_status.c"
document=doc/configuration.md
sample=mod_farmsync/farmsync.conf.sample
bad=0
complain() {
    echo "$1"
    bad=1
}

grep -hEo 'AP_INIT_[A-Z0-9_]+\( *"(Session)?FarmSync[A-Za-z]+"' mod_farmsync/*.c mod_farmsync/*.h |
    grep -Eo '(Session)?FarmSync[A-Za-z]+' | sort >"$scratch/known"
grep -Eo '^### (Session)?FarmSync[A-Za-z]+' "$document" | grep -Eo '(Session)?FarmSync[A-Za-z]+' | sort >"$scratch/documented"
[ "$(wc -l <"$scratch/known")" -ge 10 ] || complain "hardly any directive was found in mod_farmsync"
for name in $(comm -23 "$scratch/known" "$scratch/documented"); do
    complain "$name has no heading '### $name' in $document; describe it there"
done
for name in $(comm -13 "$scratch/known" "$scratch/documented"); do
    complain "$name is described in $document, but mod_farmsync has no such directive; remove it"
done
for name in $(cat "$scratch/known"); do
    part=$(sed -n "/^### $name\$/,/^##/p" "$document")
    for word in Syntax Default Context; do
        echo "$part" | grep -q "^| $word" || complain "$name: $document lacks its '| $word' line"
    done
    grep -Eq "^#?$name +" "$sample" || complain "$name is not in $sample"
    grep -q "\"$name" $dump || complain "$name is not shown by DUMP_FARMSYNC (in one of $dump)"
done

sed -n '/typedef struct fs_place_t/,/} fs_place_t/p' mod_farmsync/settings.h |
    grep -Eo '[a-z_]+;' | tr -d ';' | grep -v fs_place_t >"$scratch/fields"
for function in fs_settings_create_place fs_settings_merge_place; do
    sed -n "/^void \*$function/,/^}/p" "$source" >"$scratch/body"
    for field in $(cat "$scratch/fields"); do
        grep -Eq "place->$field *=|\(&place->$field[,)]" "$scratch/body" || complain "$function doesn't set $field"
    done
done

sed -n '/typedef struct fs_session_place_t/,/} fs_session_place_t/p' mod_farmsync/session_settings.h |
    grep -Eo '[a-z_]+;' | tr -d ';' | grep -v fs_session_place_t >"$scratch/fields"
for function in fs_session_create_place fs_session_merge_place; do
    sed -n "/^void \*$function/,/^}/p" mod_farmsync/session_settings.c >"$scratch/body"
    for field in $(cat "$scratch/fields"); do
        grep -q "place->$field *=" "$scratch/body" || complain "$function doesn't set $field"
    done
done

[ $bad = 0 ] && echo "$(wc -l <"$scratch/known") directives, all documented, in the sample and shown"
exit $bad
