# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # build.sh assigns
#
# The Go that is here and, where it is too old for a module, one that can be had. After packages.sh and
# build.sh.

# The one that was installed by hand first: sudo doesn't have it in PATH.
PATH=/usr/local/go/bin:$PATH
# Root's git refuses to look at somebody's checkout, and go then to build it.
export GOFLAGS="${GOFLAGS:-} -mod=readonly -buildvcs=false"

# Whether version $1 is at least version $2.
go_is_at_least() {
        printf '%s\n' "$2" "$1" | sort --version-sort --check=quiet
}

# go_too_old MODULE: why the Go that is here can't build the module in that directory; nothing if it
# can. It is asked in there, since a Go that is too old may be able to fetch the one that is needed.
go_too_old() {
        local module=$1 wanted has failed=

        wanted=$(sed -nE 's/^go ([0-9.]+)$/\1/p' "$module/go.mod")
        if ! command -v go >/dev/null; then
                echo "there is no Go, and $wanted or later is needed"
                return
        fi
        has=$(cd "$module" && go env GOVERSION 2>&1) || failed=yes
        has=${has##*$'\n'} # that it downloads one stands before
        if [[ $failed ]]; then
                echo "Go $wanted or later is needed: $has"
        elif ! go_is_at_least "${has#go}" "$wanted"; then
                echo "Go is ${has#go}, and $wanted or later is needed"
        fi
}

# go_prepare MODULE: installs a Go for it where there is none that will do, and is silent where that
# fails: go_why_not tells. Debian 12's own is too old for any of the modules. The one in its backports is
# as well, but it fetches the one that a module names, which is a module itself.
go_prepare() {
        if [[ $(go_too_old "$1") ]] && go_install; then
                PATH=/usr/lib/go-1.23/bin:$PATH
                export GOTOOLCHAIN=auto
        fi
}

# Beside the distribution's, which stays what `go` is.
go_install() (
        if ! grep -qsx VERSION_CODENAME=bookworm /etc/os-release || ! packages_install go; then
                return 1
        fi
        suite=$(mktemp -d)
        trap 'rm -r "$suite"' EXIT
        packages_use_suite bookworm-backports "$suite"
        packages_install backports
)

# go_why_not MODULE [PACKAGE…]: nothing, if the packages of the module in that directory can be built
# here; all of them and their tests, if none is named.
go_why_not() {
        local module=$1 packages=("${@:2}") reason

        if ((${#packages[@]} == 0)); then
                packages=(-test ./...)
        fi
        reason=$(go_too_old "$module")
        if [[ $reason ]]; then
                echo "$reason"
        elif ! (cd "$module" && go list -deps "${packages[@]}" >/dev/null) >&2; then
                echo "its modules can't be downloaded"
        fi
}

# Sets runner_missing, to why mountat-runner can't be built here, nothing if it can, and runner_option, for
# build_make_package.
go_prepare_runner() {
        local module=$repository/client/buildbarn

        go_prepare "$module"
        runner_missing=$(go_why_not "$module" ./cmd/mountat-runner)
        runner_option=-DMOUNTATD_RUNNER=ON
        if [[ $runner_missing ]]; then
                # shellcheck disable=SC2034 # for the scripts
                runner_option=-DMOUNTATD_RUNNER=OFF
        fi
}
