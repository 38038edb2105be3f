// SPDX-License-Identifier: Apache-2.0

package mountat_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
)

// Mounts /proc and /sys in a directory tree while the tree is in use.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	client, err := mountat.Dial(ctx, "")
	if err != nil {
		log.Print(err)
		return
	}
	defer client.Close()

	root, err := os.Open("/var/lib/ci/root")
	if err != nil {
		log.Print(err)
		return
	}
	defer root.Close()

	lease, err := client.Mount(ctx, root, mountat.Proc|mountat.Sysfs|mountat.Create)
	if errors.Is(err, mountat.StatusNotAuthorised) {
		log.Print("ask the administrator for --build-directory: ", err)
		return
	} else if err != nil {
		log.Print(err)
		return
	}
	fmt.Println("in use")

	// Not ctx: the mounts must go even if it has ended.
	if err := lease.Release(context.Background()); err != nil {
		log.Print(err)
	}
}
