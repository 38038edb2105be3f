// SPDX-License-Identifier: Apache-2.0

// Ask speaks to a runner as bb_worker does: is it ready, then run one action. It knows the build
// directory's layout and nothing else: in ID are the input root, root, and a directory, tmp.
//
//	ask SOCKET ID COMMAND [ARGUMENT…]
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/buildbarn/bb-remote-execution/pkg/proto/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const patience = 30 * time.Second

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "ask SOCKET ID COMMAND [ARGUMENT…]")
		os.Exit(2)
	}
	if err := ask(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ask fails when the runner does, or the action.
func ask(socket, id string, command []string) error {
	connection, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	client := runner.NewRunnerClient(connection)
	if _, err := client.CheckReadiness(ctx, &runner.CheckReadinessRequest{}); err != nil {
		return fmt.Errorf("CheckReadiness: %w", err)
	}
	response, err := client.Run(ctx, &runner.RunRequest{
		Arguments:          command,
		StdoutPath:         id + "/stdout",
		StderrPath:         id + "/stderr",
		InputRootDirectory: id + "/root",
		TemporaryDirectory: id + "/tmp",
	})
	if err != nil {
		return fmt.Errorf("Run: %w", err)
	}
	if response.ExitCode != 0 {
		return fmt.Errorf("exit code %d", response.ExitCode)
	}
	return nil
}
