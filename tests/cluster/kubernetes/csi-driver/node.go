package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// node mounts volumes on one node, one call at a time.
type node struct {
	csi.UnimplementedNodeServer
	*driver
	lock sync.Mutex
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	info := &csi.NodeGetInfoResponse{NodeId: n.node}
	if !n.attach {
		info.AccessibleTopology = &csi.Topology{Segments: map[string]string{n.topologyKey(): n.node}}
	}
	return info, nil
}

func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	response := &csi.NodeGetCapabilitiesResponse{}
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		response.Capabilities = append(response.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

// image is the file of a volume that may be used here.
func (n *node) image(id string) (string, error) {
	v, err := n.store.read(id)
	if err != nil {
		return "", err
	}
	if v == nil {
		return "", status.Errorf(codes.NotFound, "no volume %s", id)
	}
	home := v.Node
	if n.attach {
		home = v.Attached
	}
	if home != n.node {
		return "", status.Errorf(codes.FailedPrecondition, "%s is not on %s but on %q", id, n.node, home)
	}
	return n.store.image(id), nil
}

// NodeStageVolume makes what pods of this node share: the mounted file system, or the block device.
func (n *node) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	n.lock.Lock()
	defer n.lock.Unlock()
	image, err := n.image(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if r.GetVolumeCapability().GetBlock() != nil {
		_, err = setLoop(image)
		return &csi.NodeStageVolumeResponse{}, err
	}
	stage := r.GetStagingTargetPath()
	if mounted, err := isMounted(stage); mounted || err != nil {
		return &csi.NodeStageVolumeResponse{}, err
	}
	mount := r.GetVolumeCapability().GetMount()
	if err := haveFileSystem(image, mount.GetFsType()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(stage, 0o750); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, mountImage(image, stage, mount.GetMountFlags())
}

func (n *node) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	n.lock.Lock()
	defer n.lock.Unlock()
	if err := unmount(r.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	// That of a file system went with the mount.
	loop, err := loopOf(n.store.image(r.GetVolumeId()))
	if loop != "" {
		_, err = run("losetup", "--detach", loop)
	}
	return &csi.NodeUnstageVolumeResponse{}, err
}

// NodePublishVolume gives a pod what was staged.
func (n *node) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	n.lock.Lock()
	defer n.lock.Unlock()
	image, err := n.image(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	target := r.GetTargetPath()
	if mounted, err := isMounted(target); mounted || err != nil {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return nil, err
	}
	source := r.GetStagingTargetPath()
	if r.GetVolumeCapability().GetBlock() != nil {
		if source, err = setLoop(image); err == nil {
			err = os.WriteFile(target, nil, 0o640)
		}
	} else if err = os.Mkdir(target, 0o750); errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, bind(source, target, r.GetReadonly())
}

func (n *node) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	n.lock.Lock()
	defer n.lock.Unlock()
	target := r.GetTargetPath()
	if err := unmount(target); err != nil {
		return nil, err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
