// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	remoteexecution "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
)

// tree is a directory, file or link of an input root under construction.
type tree struct {
	children   map[string]*tree // of a directory, else nil
	link       string
	content    []byte
	executable bool
}

func newTree() *tree {
	return &tree{children: make(map[string]*tree)}
}

// directory returns the directory at that path, creating it if needed and following the tree's links.
func (t *tree) directory(name string) *tree {
	at := t
	for part := range strings.SplitSeq(path.Clean("/" + name)[1:], "/") {
		if part == "" {
			continue
		}
		next := at.children[part]
		if next == nil {
			next = newTree()
			at.children[part] = next
		}
		if next.link != "" { // at the top, and relative: /lib and the like
			next = t.directory(next.link)
		}
		at = next
	}
	return at
}

func (t *tree) add(name string, leaf *tree) {
	t.directory(path.Dir(name)).children[path.Base(name)] = leaf
}

func (t *tree) addFile(name string, content []byte, executable bool) {
	t.add(name, &tree{content: content, executable: executable})
}

// addHost copies the host's file at that path, or all files below a directory. It follows symbolic links.
func (t *tree) addHost(name string) error {
	return filepath.WalkDir(name, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if isSuperfluous(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) && entry.Type()&fs.ModeSymlink != 0 {
			return nil // a dangling link
		} else if err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		t.addFile(name, content, info.Mode()&0o111 != 0)
		return nil
	})
}

// isSuperfluous reports large directories of Python's library that a build doesn't need.
func isSuperfluous(directory string) bool {
	return slices.Contains([]string{"__pycache__", "test", "idlelib", "tkinter", "ensurepip", "lib2to3",
		"dist-packages", "site-packages"}, directory) || strings.HasPrefix(directory, "config-3")
}

// blob is content with its digest.
type blob struct {
	digest  *remoteexecution.Digest
	content []byte
}

func newBlob(content []byte) blob {
	sum := sha256.Sum256(content)
	return blob{
		digest: &remoteexecution.Digest{
			Hash:      hex.EncodeToString(sum[:]),
			SizeBytes: int64(len(content)),
		},
		content: content,
	}
}

func newMessageBlob(message proto.Message) (blob, error) {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	return newBlob(content), err
}

// merkle returns the directory's own blob, and adds it and all below to blobs.
func (t *tree) merkle(blobs map[string]blob) (blob, error) {
	directory := &remoteexecution.Directory{}
	for name, child := range t.children {
		switch {
		case child.link != "":
			directory.Symlinks = append(directory.Symlinks,
				&remoteexecution.SymlinkNode{Name: name, Target: child.link})
		case child.children != nil:
			below, err := child.merkle(blobs)
			if err != nil {
				return blob{}, err
			}
			directory.Directories = append(directory.Directories,
				&remoteexecution.DirectoryNode{Name: name, Digest: below.digest})
		default:
			file := newBlob(child.content)
			blobs[file.digest.Hash] = file
			directory.Files = append(directory.Files, &remoteexecution.FileNode{
				Name: name, Digest: file.digest, IsExecutable: child.executable})
		}
	}
	sortByName(directory.Files)
	sortByName(directory.Directories)
	sortByName(directory.Symlinks)
	own, err := newMessageBlob(directory)
	if err != nil {
		return blob{}, fmt.Errorf("encoding a directory: %w", err)
	}
	blobs[own.digest.Hash] = own
	return own, nil
}

func sortByName[T interface{ GetName() string }](nodes []T) {
	slices.SortFunc(nodes, func(a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) })
}
