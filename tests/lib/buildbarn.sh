# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # build.sh assigns
#
# Buildbarn's programs, of the version that tests/buildbarn/go.mod pins, and mountat-runner, built into
# build/buildbarn. After packages.sh, build.sh and go.sh.

buildbarn=$repository/tests/buildbarn
buildbarn_bin=$repository/build/buildbarn

# Nothing, if they can be built here.
buildbarn_why_not() {
        go_why_not "$buildbarn" tool .
}

# Quiet, unless it fails.
buildbarn_make() {
        local log=$build_logs/buildbarn.build.log

        mkdir -p "$buildbarn_bin" "$build_logs"
        if ! buildbarn_build >"$log" 2>&1; then
                cat "$log" >&2
                return 1
        fi
}

# They share most packages, so the first takes the time.
buildbarn_build() {
        local package

        buildbarn_patch || return 1
        for package in $(cd "$buildbarn" && go list tool) .; do
                (cd "$buildbarn" &&
                        go build -modfile="$buildbarn_bin/go.mod" -o "$buildbarn_bin/" "$package") ||
                        return 1
        done
        (cd "$repository/client/buildbarn" &&
                CGO_ENABLED=0 go build -trimpath -o "$buildbarn_bin/" ./cmd/mountat-runner)
}

# In its own build, Buildbarn patches this generated function to take the interface. Here it is a
# copy of its module that is patched, and a copy of go.mod that names it.
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
