#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# farmsync-image: each command, and what it says when something is wrong.
tool=./datasrv/farmsync-image
dir=$(mktemp -d "${TMPDIR:-/tmp}/farmsync-tool-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
./tests/tools/make_images "$dir" || exit 1
old=$dir/old.fsi new=$dir/new.fsi other=$dir/other.fsi
tab=$(printf '\t')
failed=0

fail() { echo "FAILED: $1" >&2; failed=1; }
# expect STATUS TEXT COMMAND...: the exit status, and TEXT somewhere in what it prints
expect() {
    want=$1 text=$2
    shift 2
    out=$("$@" 2>&1)
    status=$?
    [ "$status" -eq "$want" ] || fail "status $status, not $want: $* ($out)"
    case $out in *"$text"*) ;; *) fail "no '$text' from $*: $out" ;; esac
}
# same TEXT COMMAND...: exactly this output
same() {
    text=$1
    shift
    out=$("$@" 2>&1)
    [ "$out" = "$text" ] || fail "$* gives
$out
instead of
$text"
}

expect 0 "version${tab}7" "$tool" info "$old"
expect 0 "rows${tab}4" "$tool" info "$old"
expect 0 "column${tab}sku${tab}text${tab}key 2" "$tool" info "$old"
same "de${tab}sku-1
de${tab}sku-2
fr${tab}sku-1
it${tab}sku-9" "$tool" list "$old"
same "fr${tab}sku-1" "$tool" list "$old" fr
same "" "$tool" list "$old" d
same 'land	de
sku	sku-2
price	007
no`te	"quoted"\x0A
picture	\x89P' "$tool" get "$old" de sku-2
same '{"land":"de","sku":"sku-2","price":"007","no`te":"\"quoted\"\u000A","picture":"iVA="}' \
    "$tool" get "$old" de sku-2 --json
same '{"land":"de","sku":"sku-1","price":1.75,"no`te":"it'"'"'s \\ good","picture":"iQ=="}
{"land":"fr","sku":"sku-1","price":-2e3,"no`te":null,"picture":"iVA="}
{"land":"fr","sku":"sku-7","price":4,"no`te":"new","picture":"iVBO"}
{"land":"it","sku":"sku-9","price":3,"no`te":"","picture":"iVBORw=="}' "$tool" dump "$new"
expect 0 'INSERT INTO `prices` (`land`,`sku`,`price`,`no``te`,`picture`) VALUES (' \
    "$tool" dump "$new" --sql
expect 0 "('fr','sku-7',4,'new',X'89504E');" "$tool" dump "$new" --sql
expect 0 "CONVERT(X'6974277320" "$tool" dump "$new" --sql
same "~ de${tab}sku-1
    price: 1.50 -> 1.75
- de${tab}sku-2
~ fr${tab}sku-1
    picture: \\x89PN -> \\x89P
+ fr${tab}sku-7" "$tool" diff "$old" "$new"
expect 1 '' "$tool" diff "$old" "$new"
expect 0 '' "$tool" diff "$old" "$old"
expect 2 FS0942 "$tool" diff "$old" "$other"
expect 0 sound "$tool" verify "$old"
cp "$old" "$dir/$(sha256sum < "$old" | cut -c1-64).fsi"
expect 0 'what its name says' "$tool" verify "$dir/$(sha256sum < "$old" | cut -c1-64).fsi"
cp "$new" "$dir/$(sha256sum < "$old" | cut -c1-64).fsi"
expect 2 FS0114 "$tool" verify "$dir/$(sha256sum < "$old" | cut -c1-64).fsi"
expect 1 FS0940 "$tool" get "$old" de sku-3
expect 2 FS0941 "$tool" get "$old" de
expect 2 FS0941 "$tool" list "$old" a b c
expect 2 FS0111 "$tool" info /nonexistent
expect 2 FS0112 "$tool" verify "$0"
expect 2 usage "$tool"
expect 2 usage "$tool" frobnicate "$old"
expect 2 usage "$tool" dump "$old" --sql --json
expect 0 usage "$tool" --help
expect 2 FS0943 sh -c "'$tool' dump '$old' > /dev/full"
exit $failed
