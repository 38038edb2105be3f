# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The Go that is here. A distribution's may be too old for a module, and then nothing that the tests
# may install helps: it has to be there, from https://go.dev.

# The one that was installed by hand first: sudo doesn't have it in PATH.
PATH=/usr/local/go/bin:$PATH
# Root's git refuses to look at somebody's checkout, and go then to build it.
export GOFLAGS="${GOFLAGS:-} -mod=readonly -buildvcs=false"

# Whether version $1 is at least version $2.
go_is_at_least() {
        printf '%s\n' "$2" "$1" | sort --version-sort --check=quiet
}

# go_why_not MODULE [PACKAGE…]: nothing, if the packages of the module in that directory can be built
# here; all of them and their tests, if none is named. It is asked in there, since a Go that is too old
# may be able to fetch the one that is needed.
go_why_not() {
        local module=$1 packages=("${@:2}") wanted has

        if ((${#packages[@]} == 0)); then
                packages=(-test ./...)
        fi
        wanted=$(sed -nE 's/^go ([0-9.]+)$/\1/p' "$module/go.mod")
        if ! command -v go >/dev/null; then
                echo "there is no Go, and $wanted or later is needed"
        elif ! has=$(cd "$module" && go env GOVERSION 2>&1); then
                echo "Go $wanted or later is needed: ${has##*$'\n'}"
        elif ! go_is_at_least "${has#go}" "$wanted"; then
                echo "Go is ${has#go}, and $wanted or later is needed"
        elif ! (cd "$module" && go list -deps "${packages[@]}" >/dev/null) >&2; then
                echo "its modules can't be downloaded"
        fi
}
