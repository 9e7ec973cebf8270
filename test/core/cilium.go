// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// cilium BTF OBJECT...: whether cilium/ebpf loads eBPF objects with this BTF as KernelTypes. A line an object, as judge.c's.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func load(path string, types *btf.Spec) error {
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		return err
	}
	options := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: types}}
	collection, err := ebpf.NewCollectionWithOptions(spec, options)
	if err == nil {
		collection.Close()
	}
	return err
}

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	types, err := btf.LoadSpecFromReader(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, path := range os.Args[2:] {
		name := filepath.Base(path)
		if err := load(path, types); err != nil {
			fmt.Println(name, "fails", 1, strings.SplitN(err.Error(), "\n", 2)[0])
		} else {
			fmt.Println(name, "loads")
		}
	}
}
