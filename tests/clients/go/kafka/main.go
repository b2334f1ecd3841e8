// A Kafka broker in memory, for the Collector's configurations that put Kafka between agents and gateways: its address
// on stdout, until stdin ends. It is the fake that franz-go, whose client the Collector uses, is tested with.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, os.Args[1:]...))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer broker.Close()
	fmt.Println(broker.ListenAddrs()[0])
	io.Copy(io.Discard, os.Stdin)
}
