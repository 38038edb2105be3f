# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # build.sh assigns
#
# Buildbarn's programs, of the version that tests/buildbarn/go.mod pins, and mountat-runner, built into
# build/buildbarn. After packages.sh, build.sh and go.sh.

buildbarn=$repository/tests/buildbarn
buildbarn_bin=$repository/build/buildbarn

# Prints why they can't be built here; nothing if they can.
buildbarn_why_not() {
        go_why_not "$buildbarn" tool .
}

buildbarn_make() {
        buildbarn_logged buildbarn_build
}

# Builds a bb_runner with the decorator of client/buildbarn/runner too, as bb_runner_inside.
buildbarn_make_inside() {
        buildbarn_logged buildbarn_build_inside
}

# Builds mountat-runner of the previous release, as mountat-runner.previous, to compare the overhead with.
# A copy of the sources without history has no such row.
buildbarn_make_previous() {
        local reason

        rm -f "$buildbarn_bin/mountat-runner.previous"
        reason=$(build_previous_why_not)
        if [[ $reason ]]; then
                echo "# the overhead of the release before this one is not measured: $reason"
        else
                buildbarn_logged buildbarn_build_previous
        fi
}

# Prints output only on failure. One at a time, as build_logged; go itself locks go.mod.
buildbarn_logged() {
        local log=$build_logs/$1.log

        mkdir -p "$buildbarn_bin" "$build_logs"
        if ! (flock 9 && "$@") 9<"$buildbarn/run" >"$log" 2>&1; then
                cat "$log" >&2
                return 1
        fi
}

# The programs share most packages, so the first one takes longest.
buildbarn_build() {
        local package

        buildbarn_patch || return 1
        for package in $(cd "$buildbarn" && go list tool) .; do
                (cd "$buildbarn" &&
                        go build -modfile="$buildbarn_bin/go.mod" -o "$buildbarn_bin/" "$package") ||
                        return 1
        done
        buildbarn_build_runner "$repository" "$buildbarn_bin/"
}

# buildbarn_build_runner SOURCES OUTPUT
buildbarn_build_runner() {
        (cd "$1/client/buildbarn" && CGO_ENABLED=0 go build -trimpath -o "$2" ./cmd/mountat-runner)
}

buildbarn_build_previous() {
        local sources=$buildbarn_bin/previous

        build_extract_previous "$sources" || return 1
        buildbarn_build_runner "$sources" "$buildbarn_bin/mountat-runner.previous"
}

# Buildbarn's own build patches this generated function to take the interface. Here, a copy of the
# module is patched, and a copy of go.mod refers to it.
buildbarn_patch() {
        local module=google.golang.org/genproto/googleapis/bytestream directory
        local copy=$buildbarn_bin/bytestream

        directory=$(cd "$buildbarn" && go list -f '{{.Dir}}' "$module") || return 1
        rm -rf "$copy"
        cp -r --no-preserve=mode "$directory" "$copy"
        sed -i 's/^func RegisterByteStreamServer(s \*grpc.Server,/func RegisterByteStreamServer(s grpc.ServiceRegistrar,/' \
                "$copy"/*.go
        cp "$buildbarn/go.mod" "$buildbarn/go.sum" "$buildbarn_bin/"
        go mod edit -replace="$module=$copy" "$buildbarn_bin/go.mod"
}

# Builds Buildbarn's main with bb_runner.patch and the decorator. Call after buildbarn_build.
buildbarn_build_inside() {
        local package=github.com/buildbarn/bb-remote-execution/cmd/bb_runner
        local module=github.com/mountatd/mountatd/client directory
        local copy=$buildbarn_bin/inside

        directory=$(cd "$buildbarn" && go list -f '{{.Dir}}' "$package") || return 1
        rm -rf "$copy"
        install -D -m 0644 "$directory/main.go" "$copy/cmd/bb_runner/main.go"
        patch --strip=1 --fuzz=0 --directory="$copy" \
                <"$repository/client/buildbarn/runner/bb_runner.patch" || return 1
        cp "$buildbarn_bin/go.mod" "$buildbarn_bin/go.sum" "$copy/"
        go mod edit -require="$module/go@v0.0.0" -replace="$module/go=$repository/client/go" \
                -require="$module/buildbarn/runner@v0.0.0" \
                -replace="$module/buildbarn/runner=$repository/client/buildbarn/runner" \
                -replace="$module/buildbarn=$repository/client/buildbarn" "$copy/go.mod"
        (cd "$buildbarn" && go build -modfile="$copy/go.mod" -o "$buildbarn_bin/bb_runner_inside" \
                "$copy/cmd/bb_runner/main.go")
}
