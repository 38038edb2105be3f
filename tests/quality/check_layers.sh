#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The layers of the source: each kind of call is only in the module that owns it, and includes go only from
# upper layers to lower ones. Each rule is then tested on a copy of the source with one violation. Prints TAP.

set -euo pipefail

self=$(realpath "$0")
root=$(dirname "$(dirname "$(dirname "$self")")")
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT
number=0
failures=0

# ok DESCRIPTION PROBLEMS: passes if there are none.
ok() {
        number=$((number + 1))
        if [[ -z $2 ]]; then
                echo "ok $number - $1"
        else
                echo "not ok $number - $1"
                echo "# ${2//$'\n'/$'\n'# }"
                failures=$((failures + 1))
        fi
}

# Copies the sources.
copy_sources() {
        rm -rf "$copies/all"
        mkdir "$copies/all"
        (cd "$root" && cp --parents common/*.[ch] daemon/*.[ch] client/*.[ch] "$copies/all")
        cd "$copies/all"
}

# Removes comments and strings, which may mention anything, and keeps the line numbers.
strip_prose() {
        perl -0777 -i -pe '
                s{(^[ \t]*\#[ \t]*include[^\n]*|\x27(?:\\.|[^\x27\\\n])+\x27)
                  |(/\*.*?\*/|//[^\n]*)
                  |("(?:\\.|[^"\\\n])*")}
                 {defined $1 ? $1 : defined $2 ? "\n" x ($2 =~ tr/\n//) : "\"\""}gsemx' \
                common/*.[ch] daemon/*.[ch] client/*.[ch]
}

# stands_only_in DESCRIPTION EXTENDED-REGEX FILE…
stands_only_in() {
        local description=$1 pattern=$2 problems file

        shift 2
        problems=$({ grep -nE "$pattern" common/*.[ch] daemon/*.[ch] client/*.[ch] || true; } |
                while IFS= read -r line; do
                        [[ " $* " == *" ${line%%:*} "* ]] || echo "$line"
                done)
        # It must occur there, or the pattern is wrong.
        for file in "$@"; do
                grep -qE "$pattern" "$file" || problems+="$file has none"
        done
        ok "$description" "$problems"
}

# Regular expressions for one of these names, and for a call of one of these functions.
name() {
        echo "(^|[^A-Za-z0-9_])($1)([^A-Za-z0-9_]|\$)"
}

call() {
        echo "(^|[^A-Za-z0-9_.>])($1) *\\("
}

# ---- the layers: a module may include its own header and those of lower layers ----

declare -A layer=(
        [kernel]=10 [log]=10 [privilege]=10 [instance]=10 [namespaces]=15
        [seccomp]=20 [target]=20 [state]=20 [unmount]=20 [quota]=20 [superblock]=20
        [policy]=25 [mount]=25 [thread]=25
        [dev]=28 [template]=30
        [leases]=35
        [lease]=40
        [sweep]=45 [request]=45
        [refusal]=48 [connection]=50
        [bus_question]=50 # the manager's header for questions that bus.c asks
        [manager]=55
        [bus]=60
        [listener]=63 [server]=65 [options]=65 [main]=70
)

included() {
        sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$1"
}

layers_of_daemon() {
        local file module header other

        for file in daemon/*.[ch]; do
                module=$(basename "${file%.?}")
                module=${module%%_*} # a module may have several files
                if [[ -z ${layer[$module]:-} ]]; then
                        echo "$file: in no layer: say in tests/quality/check_layers.sh in which"
                        continue
                fi
                for header in $(included "$file"); do
                        other=$(basename "$header" .h)
                        case $header in
                        common/*) ;;
                        "daemon/$module.h" | "daemon/${module}_"*.h) ;;
                        daemon/*)
                                if ((${layer[$other]:-99} >= ${layer[$module]})); then
                                        echo "$file includes $header"
                                fi
                                ;;
                        *) echo "$file includes $header" ;;
                        esac
                done
        done
}

# includes_only DIRECTORY PREFIX…
includes_only() {
        local file header allowed prefix

        for file in "$1"/*.[ch]; do
                for header in $(included "$file"); do
                        allowed=
                        for prefix in "${@:2}"; do
                                [[ $header == "$prefix"* ]] && allowed=1
                        done
                        [[ -n $allowed ]] || echo "$file includes $header"
                done
        done
}

headers_are_complete() {
        local file

        for file in common/*.h daemon/*.h; do
                ${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Wall -Werror -fsyntax-only -I"$root" \
                        -include "$root/$file" -x c /dev/null 2>&1 || echo "$file"
        done
}

everything_has_a_licence() {
        local file

        for file in common/*.[ch] daemon/*.[ch] client/*.[ch]; do
                head -1 "$root/$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
        done
}

rules() {
        stands_only_in 'control messages are built and read in fdpass alone' \
                "$(name 'CMSG_[A-Z]+|SCM_[A-Z]+')|$(call '(recv|send)m?msg')" common/fdpass.c
        stands_only_in 'mount syscalls are made in kernel alone' \
                "$(call 'fsopen|fsconfig|fsmount|fspick|open_tree|move_mount|mount_setattr|mount|umount2?|pivot_root')" \
                daemon/kernel.c
        stands_only_in 'calls without a name are made in kernel and root alone' \
                "$(call 'syscall')" daemon/kernel.c client/root.c
        stands_only_in 'working directories and namespaces change in kernel and enter alone' \
                "$(call 'f?chdir|chroot|unshare|setns')" daemon/kernel.c client/enter.c
        stands_only_in 'facts of descriptors are asked for in kernel, holding and unmount alone' \
                "$(call 'statx|statv?fs|fstatv?fs|name_to_handle_at|readlinkat')" \
                daemon/kernel.c client/{holding,unmount}.c
        stands_only_in 'threads are made and joined in thread, log and keeper alone' \
                "$(call 'pthread_(create|join|detach|cancel|attr_[a-z]+|kill)')" \
                daemon/thread.c daemon/log.c client/keeper.c
        stands_only_in 'mutexes are where threads share something' \
                "$(call 'pthread_(mutex|rwlock|spin)_[a-z]+')" \
                daemon/{connection,leases,log,quota,refusal,template,thread}.c client/turn.c
        stands_only_in 'libcap is used in privilege alone' \
                "sys/capability\\.h|$(call 'cap_[a-z_]+')" \
                daemon/privilege.c
        stands_only_in 'libseccomp is used in seccomp alone' \
                "<seccomp\\.h|$(call 'seccomp_(init|load|release|rule_[a-z_]+|attr_[a-z]+)')" \
                daemon/seccomp.c
        stands_only_in 'sd-bus is used in bus and manager alone, and by the client that calls them' \
                'sd-bus\.h|sd_bus_' \
                daemon/{bus,manager}.c daemon/bus_question.h daemon/manager_list.{c,h} \
                client/manager.{c,h} client/{list,status,unmount}.c
        stands_only_in 'the journal is written to in log_line alone' 'sd-journal\.h|sd_journal_' \
                daemon/log_line.c
        stands_only_in 'byte order is known to wire alone' \
                "endian\\.h|$(call '(le|be)(16|32|64)toh|hto(le|be)(16|32|64)|[hn]to[hn][sl]|(__builtin_)?bswap_?[0-9]+')" \
                common/wire.c
        stands_only_in 'no string function without a size is used' \
                "$(call 'strcat|v?sprintf|gets|strtok|alloca|system|popen')"
        ok 'daemon/ includes from upper layers to lower ones' "$(layers_of_daemon)"
        ok 'common/ includes nothing but itself' "$(includes_only common common/)"
        ok 'client/ includes nothing of the daemon' "$(includes_only client client/ common/ mountat.h)"
}

# ---- each rule can fail: an added violation causes exactly one more failure ----

# sees FILE LINE: appends the line to the file.
sees() {
        local before=$failures

        copy_sources
        printf '\n%s\n' "$2" >>"$1"
        strip_prose
        number_before=$number
        rules >"$copies/rules"
        number=$number_before
        if ((failures == before + 1)); then
                failures=$before
                ok "sees in $1: $2" ''
        else
                failures=$before
                ok "sees in $1: $2" "$(cat "$copies/rules")"
        fi
}

self_checks() {
        sees daemon/connection.c 'void x(void) { CMSG_FIRSTHDR(0); }'
        sees daemon/lease.c 'void x(void) { move_mount(0, "", 0, "", 0); }'
        sees daemon/unmount.c 'void x(void) { chdir("/"); }'
        sees daemon/target.c 'void x(void) { fstatfs(0, 0); }'
        sees daemon/connection.c 'void x(void) { pthread_create(0, 0, 0, 0); }'
        sees daemon/request.c 'void x(void) { pthread_mutex_lock(0); }'
        sees daemon/main.c '#include <sys/capability.h>'
        sees daemon/server.c '#include <systemd/sd-bus.h>'
        sees daemon/manager.h 'int x(struct sd_bus_message *message);'
        sees daemon/manager.c '#include "daemon/bus.h"'
        sees daemon/server.c 'void x(void) { sd_journal_sendv(0, 0); }'
        sees daemon/state.c 'void x(void) { htole32(1); }'
        sees client/root.c 'void x(void) { sprintf(0, ""); }'
        sees daemon/policy.c '#include "daemon/leases.h"'
        sees daemon/kernel.h '#include "daemon/log.h"'
        sees daemon/privilege.c '#include "daemon/kernel.h"'
        sees daemon/quota.c '#include "daemon/policy.h"'
        sees daemon/lease.c '#include "daemon/sweep.h"'
        sees daemon/new.c ''
        sees common/wire.h '#include "daemon/log.h"'
        sees client/mountat.c '#include "daemon/kernel.h"'
}

copy_sources
strip_prose
rules
ok 'every header can be included first' "$(headers_are_complete)"
ok 'every source names its licence' "$(everything_has_a_licence)"
self_checks
echo "1..$number"
((failures == 0))
