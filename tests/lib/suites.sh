# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # root.sh, daemon.sh assign
#
# Third-party test suites: Go's and Python's own, for packages that use /proc, /sys and /dev. They run as
# the user of the root, outside of it and, with mountatd's mounts, inside. Each test must have the same
# result on both sides.
#
# A side is where they run: outside, inside, or bare, which is inside without /dev. Working directory,
# temporary files, environment and command line are the same on each. Results are in
# suites_results/SIDE/SUITE, one "TEST PASS|FAIL|SKIP" per line.

suites_go=(os os/exec os/signal syscall net runtime/pprof)
# shellcheck disable=SC2034 # for the script
suites_python=(test_os test_pty test_subprocess test_multiprocessing_spawn test_socket test_shutil)
# The suites that run concurrently, on each side. They mostly sleep: in sequence they take over seven
# minutes, like this two; the longest is multiprocessing with 100 s.
suites_lanes=(
        'test_multiprocessing_spawn'
        'test_os test_pty test_shutil test_subprocess test_socket'
        'os os/exec os/signal syscall net runtime/pprof'
)
# The timeout of one suite: twice what the longest takes on a busy machine.
suites_seconds_max=300
suites_python_directory=/usr/lib/python3.11/test
suites_pids=()
# Some of Go's tests build programs, which takes the same version of Go.
suites_path=/usr/bin:/bin

# Expected differences: the suite, the test, the result outside and inside, and the reason:
#
# user-namespace: unshare(2) and clone(2) deny a user namespace to a process in a chroot, and these tests
# skip themselves without one. The chroot is the cause, not the mounts.
suites_differences() {
        cat <<'END'
syscall TestAmbientCapsUserns                       PASS SKIP user-namespace
syscall TestCloneNEWUSERAndRemap/setgroups=false    PASS SKIP user-namespace
syscall TestEmptyCredGroupsDisableSetgroups         PASS SKIP user-namespace
syscall TestPidFDWithUserNS                         PASS SKIP user-namespace
syscall TestUnshareUidGidMapping                    PASS SKIP user-namespace
END
}

# Call after root_make. The directory of the suites has the same path on each side.
suites_make() {
        suites_home=$root_area/suites
        suites_results=$root_area/results
        mkdir -p "$suites_home"/{bin,home,tmp} "$suites_results"/{outside,inside,bare}
        chown "$root_user:$root_user" "$suites_home"/{home,tmp}
        mkdir -p "$root$suites_home"
        # In the overlay this is the directory underneath a mount of the host, which may be closed.
        chmod 0755 "$root$root_area"
        mount --bind "$suites_home" "$root$suites_home"
}

# Each lane has the root, with its current mounts, bind-mounted at another path, since a root has only
# one /dev at a time.
suites_make_lanes() {
        local lane

        for ((lane = 0; lane < ${#suites_lanes[@]}; lane++)); do
                mkdir "$root/build/lane.$lane"
                mount --rbind "$root" "$root/build/lane.$lane"
        done
}

# Builds Go's suites with the first Go in PATH. Prints why they can't run, if so.
suites_build_go() {
        local source package

        if ! command -v go >/dev/null; then
                echo "there is no Go"
                return 0
        fi
        source=$(suites_go_source)
        for package in "${suites_go[@]}"; do
                if ! compgen -G "$source/$package/*_test.go" >/dev/null; then
                        echo "Go came without its tests"
                        return 0
                fi
        done
        for package in "${suites_go[@]}"; do
                (cd "$source" && GOFLAGS='' GOTOOLCHAIN=local go test -c \
                        -o "$suites_home/bin/${package//\//-}" "$package") >&2
        done
}

# Whether Go is in the root.
suites_why_not_go() {
        if ! root_has "$(suites_go_source)"; then
                echo "impossible here: Go isn't on the root file system"
        fi
}

suites_go_source() {
        realpath "$(go env GOROOT)/src"
}

suites_why_not_python() {
        if [[ ! -e $suites_python_directory/test_pty.py ]]; then
                echo "libpython3.11-testsuite could not be installed"
        fi
}

# suites_command SUITE [TEST]: sets suites_directory and suites_argv. Go's run with -short, without tests
# that need the internet or only repeat more. Python's run with the default resources, without the network
# or much memory.
suites_command() {
        if [[ $1 == test_* ]]; then
                suites_directory=$suites_home
                suites_argv=(/usr/bin/python3.11 -m test -v ${2:+--match "$2"} "$1")
        else
                suites_directory=$(suites_go_source)/$1
                suites_argv=("$suites_home/bin/${1//\//-}" -test.v -test.short
                        ${2:+-test.run "$(suites_go_pattern "$2")"})
        fi
}

# suites_go_pattern TEST: prints a pattern that matches only that test, one regex per level.
suites_go_pattern() {
        sed -E 's/[][\.*^$+?(){}|]/\\&/g; s,/,$/^,g; s/^/^/; s/$/$/' <<<"$1"
}

# suites_enter SIDE COMMAND…: runs it as the user of the root, with CAP_SYS_CHROOT if needed, which
# mountatctl doesn't pass on.
suites_enter() {
        local side=$1 capabilities=-all enter=() where=${suites_root:-$root}

        shift
        case $side in
        inside) enter=("$root_area/mountatctl" run --dev "$where" --) ;;
        bare) enter=("$root_area/mountatctl" run "$where" --) ;;
        esac
        if ((${#enter[@]} > 0)); then
                capabilities=-all,+sys_chroot
        fi
        # In a new session, so that a terminal makes no difference.
        setsid --wait timeout --kill-after=10 "$suites_seconds_max" \
                env --ignore-environment PATH="$suites_path" HOME="$suites_home/home" \
                TMPDIR="$suites_home/tmp" LC_ALL=C.UTF-8 \
                MOUNTATD_SOCKET="$daemon_directory/socket" \
                setpriv --reuid="$root_user" --regid="$root_user" --clear-groups \
                --inh-caps="$capabilities" --ambient-caps="$capabilities" \
                --bounding-set="$capabilities" --no-new-privs "${enter[@]}" "$@" </dev/null
}

# suites_run SIDE SUITE [TEST]: writes the suite's results, and next to them its output to SUITE.log and its
# status to SUITE.status.
suites_run() {
        local file=$suites_results/$1/${2//\//-} suites_directory suites_argv status=0
        local start=$EPOCHSECONDS

        suites_command "${@:2}"
        # shellcheck disable=SC2016 # for the shell in there
        suites_enter "$1" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh \
                "$suites_directory" "${suites_argv[@]}" >"$file.log" 2>&1 || status=$?
        echo "$status" >"$file.status"
        echo $((EPOCHSECONDS - start)) >"$file.seconds"
        if [[ $2 == test_* ]]; then
                suites_read_python <"$file.log" | LC_ALL=C sort -u >"$file"
        else
                suites_read_go <"$file.log" | LC_ALL=C sort -u >"$file"
        fi
}

suites_read_go() {
        sed -nE 's/^.*--- (PASS|FAIL|SKIP): ([^ ]+) \([0-9.]+s\)$/\2 \1/p'
}

# A test's name may be followed by its description on another line, and by what it prints.
suites_read_python() {
        awk '
                /^ *[A-Za-z_0-9]+ \(test\./ { name = $2; gsub(/[()]/, "", name) }
                name && match($0, /(^|\.\.\. )(ok|FAIL|ERROR|skipped .*|expected failure)$/) {
                        result = substr($0, RSTART); sub(/^\.\.\. /, "", result)
                        if (result ~ /^(ok|expected)/) result = "PASS"
                        else if (result ~ /^skipped/) result = "SKIP"
                        else result = "FAIL"
                        print name, result
                }'
}

# suites_start SUITE…: starts them, outside and inside, in their lanes.
suites_start() {
        local lane side suite suites suites_root

        for ((lane = 0; lane < ${#suites_lanes[@]}; lane++)); do
                suites_root=$root/build/lane.$lane
                suites=()
                for suite in ${suites_lanes[lane]}; do
                        if [[ " $* " == *" $suite "* ]]; then
                                suites+=("$suite")
                        fi
                done
                for side in outside inside; do
                        for suite in "${suites[@]}"; do
                                suites_run "$side" "$suite"
                        done &
                        suites_pids+=($!)
                done
        done
}

suites_await() {
        local pid

        for pid in "${suites_pids[@]}"; do
                wait "$pid"
        done
        suites_pids=()
}

# Ends running suites if the script is interrupted.
suites_stop() {
        local pid children

        for pid in "${suites_pids[@]}"; do
                read -r -a children <"/proc/$pid/task/$pid/children" || true
                kill "$pid" "${children[@]}" 2>/dev/null || true
        done 2>/dev/null
        suites_pids=()
}

# suites_same SUITE: whether the results inside equal those outside. Prints their number and the
# differences.
suites_same() {
        local test outside inside reason wrong=0

        if ! suites_tell outside "$1" || ! suites_tell inside "$1"; then
                return 1
        fi
        while read -r test outside inside; do
                reason=$(suites_reason "$1" "$test" "$outside" "$inside")
                if [[ ! $reason ]] && suites_same_alone "$1" "$test"; then
                        reason='by chance, the same alone'
                fi
                echo "$test: $outside outside, $inside inside: ${reason:-not the same}"
                if [[ ! $reason ]]; then
                        wrong=$((wrong + 1))
                fi
        done < <(suites_compare "$suites_results"/{outside,inside}/"${1//\//-}")
        ((wrong == 0))
}

# suites_fail_bare SUITE [TEST]: whether what passes outside fails with only /proc and /sys.
suites_fail_bare() {
        local file=${1//\//-} status changed

        suites_run bare "$@"
        status=$(<"$suites_results/bare/$file.status")
        changed=$(suites_compare "$suites_results"/{outside,bare}/"$file" |
                awk -v "test=${2:-}" '$2 == "PASS" && (test == "" || test == $1)')
        if ((status > 124)) || [[ ! $changed ]]; then
                echo "status $status"
                tail -n 50 "$suites_results/bare/$file.log"
                return 1
        fi
}

# suites_tell SIDE SUITE: prints its results. Fails if there are none: it crashed, hung, or didn't run.
suites_tell() {
        local file=$suites_results/$1/${2//\//-} status

        status=$(<"$file.status")
        echo "$1: $(grep -c ' PASS$' "$file") passed, $(grep -c ' FAIL$' "$file") failed," \
                "$(grep -c ' SKIP$' "$file") skipped, status $status, $(<"$file.seconds") s"
        # With failed tests, Go exits with 1 and Python with 2.
        if ((status > 2)) || [[ ! -s $file ]]; then
                tail -n 50 "$file.log"
                return 1
        fi
}

# suites_compare OUTSIDE INSIDE: prints "TEST RESULT RESULT" for each difference; - means no result.
suites_compare() {
        LC_ALL=C join -a 1 -a 2 -e - -o 0,1.2,2.2 "$1" "$2" | awk '$2 != $3'
}

suites_reason() {
        suites_differences | awk -v "want=$*" '$1 " " $2 " " $3 " " $4 == want { print $5 }'
}

# Whether a test with a difference has none when it runs alone. Inside first, so that the daemon isn't idle
# for long.
suites_same_alone() {
        local suites_results=$root_area/again outside inside

        mkdir -p "$suites_results"/{inside,outside}
        for _ in 1 2; do
                suites_run inside "$1" "$2"
                suites_run outside "$1" "$2"
                inside=$(suites_result inside "$1" "$2")
                outside=$(suites_result outside "$1" "$2")
                if [[ $inside && $inside == "$outside" ]]; then
                        return 0
                fi
        done
        tail -n 20 "$suites_results/inside/${1//\//-}.log"
        return 1
}

# suites_result SIDE SUITE TEST
suites_result() {
        awk -v "test=$3" '$1 == test { print $2 }' "$suites_results/$1/${2//\//-}"
}
