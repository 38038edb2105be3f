# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # build.sh assigns
#
# The installed Go, or if that is too old for a module, one that can be installed. After packages.sh and
# build.sh.

# A manually installed Go comes first: sudo's PATH lacks it.
PATH=/usr/local/go/bin:$PATH
# git run by root refuses another user's checkout, and then go refuses to build it.
export GOFLAGS="${GOFLAGS:-} -mod=readonly -buildvcs=false"

# Whether version $1 is at least version $2.
go_is_at_least() {
        printf '%s\n' "$2" "$1" | sort --version-sort --check=quiet
}

# go_too_old MODULE: prints why the installed Go can't build the module in that directory; nothing if it
# can. Runs go in that directory, since an old Go may download the toolchain that the module needs.
go_too_old() {
        local module=$1 wanted has failed=

        wanted=$(sed -nE 's/^go ([0-9.]+)$/\1/p' "$module/go.mod")
        if ! command -v go >/dev/null; then
                echo "there is no Go, and $wanted or later is needed"
                return
        fi
        has=$(cd "$module" && go env GOVERSION 2>&1) || failed=yes
        has=${has##*$'\n'} # without the lines about a download
        if [[ $failed ]]; then
                echo "Go $wanted or later is needed: $has"
        elif ! go_is_at_least "${has#go}" "$wanted"; then
                echo "Go is ${has#go}, and $wanted or later is needed"
        fi
}

# go_prepare MODULE: installs a Go for it if there is no suitable one. Prints nothing if that fails:
# go_why_not does. Debian 12's own Go is too old for every module. The one in its backports is too, but it
# downloads the toolchain that a module names.
go_prepare() {
        if [[ $(go_too_old "$1") ]] && go_install; then
                PATH=/usr/lib/go-1.23/bin:$PATH
                export GOTOOLCHAIN=auto
        fi
}

# Installed alongside the distribution's, which remains `go`.
go_install() (
        if ! grep -qsx VERSION_CODENAME=bookworm /etc/os-release || ! packages_install go; then
                return 1
        fi
        suite=$(mktemp -d)
        trap 'rm -r "$suite"' EXIT
        packages_use_suite bookworm-backports "$suite"
        packages_install backports
)

# go_why_not MODULE [PACKAGE…]: prints why the packages of the module in that directory, by default all
# with their tests, can't be built; nothing if they can.
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

# Sets runner_missing to why mountat-runner can't be built, empty if it can, and runner_option for
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
