module github.com/mountatd/mountatd/client/buildbarn/runner

go 1.26.6

require (
	github.com/buildbarn/bb-remote-execution v0.0.0-20260814085403-13313e6ab05b
	github.com/buildbarn/bb-storage v0.0.0-20260805174928-33530b6bb903
	github.com/mountatd/mountatd/client/buildbarn v0.0.0
	github.com/mountatd/mountatd/client/go v0.0.0
	golang.org/x/sys v0.45.0
	google.golang.org/grpc v1.81.1
	google.golang.org/protobuf v1.36.12-0.20260120151049-f2248ac996af
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/google/go-jsonnet v0.22.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_golang v1.23.2 // indirect
	github.com/prometheus/client_model v0.6.2 // indirect
	github.com/prometheus/common v0.67.5 // indirect
	github.com/prometheus/procfs v0.20.1 // indirect
	go.yaml.in/yaml/v2 v2.4.4 // indirect
	golang.org/x/crypto v0.52.0 // indirect
	golang.org/x/net v0.55.0 // indirect
	golang.org/x/sync v0.20.0 // indirect
	golang.org/x/text v0.37.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa // indirect
	sigs.k8s.io/yaml v1.6.0 // indirect
)

replace github.com/mountatd/mountatd/client/buildbarn => ..

replace github.com/mountatd/mountatd/client/go => ../../go

// Copied from Buildbarn's go.mod, since replacements don't apply to dependents.
replace go.uber.org/mock => go.uber.org/mock v0.4.0

replace cel.dev/expr => cel.dev/expr v0.25.1

// Only for Windows; the version that Buildbarn pins is in no checksum database.
replace github.com/winfsp/go-winfsp => github.com/winfsp/go-winfsp v1.0.3
