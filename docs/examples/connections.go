// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// connections OBJECT DOCUMENT BTF: prints each TCP connection over IPv4 as it is established, with cilium/ebpf.
//
//	offsetof kernel --format json > kernel.json
//	offsetof btf --elf -o kernel.btf
//	go build connections.go
//	./connections connections.o kernel.json kernel.btf
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// constants gives what the object asks for; one that is not known is null in the document.
func constants(path string, names ...string) map[string]interface{} {
	var document struct {
		Kernel struct {
			Constants map[string]*uint32
		}
	}
	text, err := os.ReadFile(path)
	must(err)
	must(json.Unmarshal(text, &document))
	values := map[string]interface{}{}
	for _, name := range names {
		value := document.Kernel.Constants[name]
		if value == nil {
			log.Fatalf("%s is not known on this kernel", name)
		}
		values[name] = *value
	}
	return values
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: connections OBJECT DOCUMENT BTF")
	}
	spec, err := ebpf.LoadCollectionSpec(os.Args[1])
	must(err)
	must(spec.RewriteConstants(constants(os.Args[2], "offset_family", "offset_daddr", "offset_dport")))
	file, err := os.Open(os.Args[3])
	must(err)
	types, err := btf.LoadSpecFromReader(file)
	must(err)
	options := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: types}}
	collection, err := ebpf.NewCollectionWithOptions(spec, options)
	must(err)
	defer collection.Close()
	attached, err := link.AttachRawTracepoint(link.RawTracepointOptions{
		Name:    "inet_sock_set_state",
		Program: collection.Programs["on_state"],
	})
	must(err)
	defer attached.Close()
	events, err := ringbuf.NewReader(collection.Maps["events"])
	must(err)
	fmt.Fprintln(os.Stderr, "watching")
	for {
		record, err := events.Read()
		must(err)
		event := record.RawSample
		fmt.Printf("%s:%d from port %d\n", net.IP(event[:4]),
			binary.BigEndian.Uint16(event[4:]), binary.LittleEndian.Uint16(event[6:]))
	}
}
