// Command csi-driver is the CSI driver of the test cluster: volumes are sparse image files on loop devices.
//
// One process without -node is the controller of a driver, and one with -node serves each node. Volumes belong to the
// node they were made for, or, with -attach, go to any one node at a time.
package main

import (
	"flag"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	var d driver
	flag.StringVar(&d.name, "name", "", "name of the driver")
	flag.StringVar(&d.node, "node", "", "serve this node; without it, be the controller")
	flag.BoolVar(&d.attach, "attach", false, "volumes are attached to one node at a time, and bound to none")
	flag.Int64Var(&d.limit, "limit", 20<<30, "bytes of volumes a node (with -attach: the cluster) holds")
	volumes := flag.String("volumes", "", "directory of the volumes, seen by every process of the driver")
	socket := flag.String("socket", "", "where to listen")
	register := flag.String("register", "", "socket at which the kubelet asks who this is")
	flag.Parse()
	if d.name == "" || *volumes == "" || *socket == "" {
		log.Fatal("-name, -volumes and -socket are needed")
	}
	d.store = store{dir: *volumes}

	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, &d)
	if d.node == "" {
		csi.RegisterControllerServer(server, &controller{driver: &d})
	} else {
		csi.RegisterNodeServer(server, &node{driver: &d})
	}
	if *register != "" {
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, &registrant{name: d.name, endpoint: *socket})
		go serve(registrar, *register)
	}
	serve(server, *socket)
}

// serve listens at a socket in place of any that was there, for good.
func serve(server *grpc.Server, socket string) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		log.Fatal(err)
	}
	os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}
