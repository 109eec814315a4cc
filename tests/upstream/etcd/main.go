// Command etcd is etcd's server as its module offers it; upstream's own main lives in a module that nobody can require.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
