// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	remoteexecution "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	batchSize   = 2 << 20 // of a message with small blobs
	chunkSize   = 1 << 20 // of a message with part of a large blob
	everyAction = 2 * time.Minute
)

// client implements what running an action needs of the Remote Execution API.
type client struct {
	cas       remoteexecution.ContentAddressableStorageClient
	stream    bytestream.ByteStreamClient
	execution remoteexecution.ExecutionClient
	cache     remoteexecution.ActionCacheClient
}

// newClient takes gRPC targets.
func newClient(storageTarget, schedulerTarget string) (*client, error) {
	storage, err := dial(storageTarget)
	if err != nil {
		return nil, err
	}
	scheduler, err := dial(schedulerTarget)
	if err != nil {
		return nil, err
	}
	return &client{
		cas:       remoteexecution.NewContentAddressableStorageClient(storage),
		stream:    bytestream.NewByteStreamClient(storage),
		execution: remoteexecution.NewExecutionClient(scheduler),
		cache:     remoteexecution.NewActionCacheClient(storage),
	}, nil
}

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// upload uploads the blobs that the storage lacks.
func (c *client) upload(ctx context.Context, blobs map[string]blob) error {
	request := &remoteexecution.FindMissingBlobsRequest{}
	for _, b := range blobs {
		request.BlobDigests = append(request.BlobDigests, b.digest)
	}
	missing, err := c.cas.FindMissingBlobs(ctx, request)
	if err != nil {
		return err
	}
	batch := &remoteexecution.BatchUpdateBlobsRequest{}
	size := 0
	for _, digest := range missing.MissingBlobDigests {
		content := blobs[digest.Hash].content
		if len(content) > batchSize {
			if err := c.uploadLarge(ctx, blobs[digest.Hash]); err != nil {
				return err
			}
			continue
		}
		if size+len(content) > batchSize {
			if err := c.uploadBatch(ctx, batch); err != nil {
				return err
			}
			batch, size = &remoteexecution.BatchUpdateBlobsRequest{}, 0
		}
		size += len(content)
		batch.Requests = append(batch.Requests,
			&remoteexecution.BatchUpdateBlobsRequest_Request{Digest: digest, Data: content})
	}
	return c.uploadBatch(ctx, batch)
}

func (c *client) uploadBatch(ctx context.Context, batch *remoteexecution.BatchUpdateBlobsRequest) error {
	if len(batch.Requests) == 0 {
		return nil
	}
	answer, err := c.cas.BatchUpdateBlobs(ctx, batch)
	if err != nil {
		return err
	}
	for _, each := range answer.Responses {
		if err := status.ErrorProto(each.Status); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) uploadLarge(ctx context.Context, b blob) error {
	stream, err := c.stream.Write(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("uploads/%s/blobs/%s/%d", rand.Text(), b.digest.Hash, b.digest.SizeBytes)
	for offset := 0; offset < len(b.content); offset += chunkSize {
		end := min(offset+chunkSize, len(b.content))
		err := stream.Send(&bytestream.WriteRequest{
			ResourceName: name,
			WriteOffset:  int64(offset),
			Data:         b.content[offset:end],
			FinishWrite:  end == len(b.content),
		})
		if errors.Is(err, io.EOF) {
			break // the storage has it already, or returns an error below
		} else if err != nil {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func (c *client) download(ctx context.Context, digest *remoteexecution.Digest) ([]byte, error) {
	if digest == nil || digest.SizeBytes == 0 {
		return nil, nil
	}
	stream, err := c.stream.Read(ctx, &bytestream.ReadRequest{
		ResourceName: fmt.Sprintf("blobs/%s/%d", digest.Hash, digest.SizeBytes),
	})
	if err != nil {
		return nil, err
	}
	var content []byte
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return content, nil
		} else if err != nil {
			return nil, err
		}
		content = append(content, chunk.Data...)
	}
}

// inputRoot uploads a tree, to be used by many actions.
func (c *client) inputRoot(ctx context.Context, t *tree) (*remoteexecution.Digest, error) {
	blobs := make(map[string]blob)
	root, err := t.merkle(blobs)
	if err != nil {
		return nil, err
	}
	return root.digest, c.upload(ctx, blobs)
}

// action is a command, and where to run it.
type action struct {
	root    *remoteexecution.Digest
	kind    string // of build directory
	variant *variant
	nodes   bool // with bb_worker's device nodes
	others  bool // on a worker of others, that of examples/config
	command []string
	outputs []string
	cached  string // makes the action cacheable, and distinguishes it; if empty, it is unique and not cached
	timeout time.Duration
}

// outcome is the result of an action: either err, or how it ended.
type outcome struct {
	err    error
	code   int32
	stdout string
	stderr string
	result *remoteexecution.ActionResult
}

func (o outcome) String() string {
	if o.err != nil {
		return o.err.Error()
	}
	return fmt.Sprintf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
}

// properties are the platform properties that select the worker.
func (a *action) properties() []*remoteexecution.Platform_Property {
	if a.others {
		return []*remoteexecution.Platform_Property{{Name: "OSFamily", Value: "linux"}}
	}
	nodes := "no"
	if a.nodes {
		nodes = "yes"
	}
	return []*remoteexecution.Platform_Property{
		{Name: "build-directory", Value: a.kind},
		{Name: "nodes", Value: nodes},
		{Name: "runner", Value: a.variant.name},
	}
}

func (a *action) messages() (*remoteexecution.Digest, map[string]blob, error) {
	salt := a.cached
	if salt == "" {
		salt = rand.Text()
	}
	command, err := newMessageBlob(&remoteexecution.Command{
		Arguments:   a.command,
		OutputPaths: a.outputs,
		EnvironmentVariables: []*remoteexecution.Command_EnvironmentVariable{
			{Name: "PATH", Value: "/usr/bin:/bin"},
			{Name: "SALT", Value: salt},
		},
	})
	if err != nil {
		return nil, nil, err
	}
	message := &remoteexecution.Action{
		CommandDigest:   command.digest,
		InputRootDigest: a.root,
		DoNotCache:      a.cached == "",
		Platform:        &remoteexecution.Platform{Properties: a.properties()},
	}
	if a.timeout > 0 {
		message.Timeout = durationpb.New(a.timeout)
	}
	own, err := newMessageBlob(message)
	if err != nil {
		return nil, nil, err
	}
	return own.digest, map[string]blob{command.digest.Hash: command, own.digest.Hash: own}, nil
}

// run runs an action and waits for its end.
func (c *client) run(a action) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), everyAction)
	defer cancel()
	digest, blobs, err := a.messages()
	if err != nil {
		return outcome{err: err}
	}
	if err := c.upload(ctx, blobs); err != nil {
		return outcome{err: fmt.Errorf("uploading the action: %w", err)}
	}
	response, err := c.execute(ctx, digest)
	if err != nil {
		return outcome{err: err}
	}
	return c.outcome(ctx, response)
}

func (c *client) execute(ctx context.Context, digest *remoteexecution.Digest) (*remoteexecution.ExecuteResponse, error) {
	stream, err := c.execution.Execute(ctx, &remoteexecution.ExecuteRequest{
		ActionDigest:    digest,
		SkipCacheLookup: true,
	})
	if err != nil {
		return nil, err
	}
	for {
		operation, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		if !operation.Done {
			continue
		}
		if err := status.ErrorProto(operation.GetError()); err != nil {
			return nil, err
		}
		response := &remoteexecution.ExecuteResponse{}
		return response, operation.GetResponse().UnmarshalTo(response)
	}
}

func (c *client) outcome(ctx context.Context, response *remoteexecution.ExecuteResponse) outcome {
	o := outcome{err: status.ErrorProto(response.Status), result: response.Result}
	if response.Result == nil {
		return o
	}
	o.code = response.Result.ExitCode
	for _, output := range []struct {
		digest *remoteexecution.Digest
		to     *string
	}{{response.Result.StdoutDigest, &o.stdout}, {response.Result.StderrDigest, &o.stderr}} {
		content, err := c.download(ctx, output.digest)
		if err != nil {
			return outcome{err: fmt.Errorf("downloading the output: %w", err)}
		}
		*output.to = string(content)
	}
	return o
}

// runWhenReady is run for the first action, and waits for the workers.
func (c *client) runWhenReady(a action) outcome {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		o := c.run(a)
		noWorkers := status.Code(o.err) == codes.Unavailable &&
			strings.Contains(o.err.Error(), "No workers exist")
		if !noWorkers || time.Now().After(deadline) {
			return o
		}
	}
}

// outputTree returns the action's output directory "".
func (c *client) outputTree(o outcome) (*remoteexecution.Directory, error) {
	if o.result == nil || len(o.result.OutputDirectories) != 1 {
		return nil, fmt.Errorf("not one output directory: %v", o.result)
	}
	ctx, cancel := context.WithTimeout(context.Background(), everyAction)
	defer cancel()
	content, err := c.download(ctx, o.result.OutputDirectories[0].TreeDigest)
	if err != nil {
		return nil, err
	}
	message := &remoteexecution.Tree{}
	if err := proto.Unmarshal(content, message); err != nil {
		return nil, err
	}
	return message.Root, nil
}
