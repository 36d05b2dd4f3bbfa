package main

import (
	"context"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// Sizes are multiples of this.
	unit = 1 << 20
	// mkfs.xfs makes nothing smaller.
	leastXfs = 300 << 20
)

// controller makes, attaches and removes volumes, one call at a time.
type controller struct {
	csi.UnimplementedControllerServer
	*driver
	lock sync.Mutex
}

func (c *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	kinds := []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		// Without it a ReadWriteOncePod claim is not bound.
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if c.attach {
		kinds = append(kinds, csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME)
	}
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range kinds {
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

// refusal is why a volume cannot be used in these ways; nil if it can.
func refusal(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return status.Error(codes.InvalidArgument, "no volume capabilities")
	}
	for _, capability := range capabilities {
		switch mode := capability.GetAccessMode().GetMode(); mode {
		case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		default:
			return status.Errorf(codes.InvalidArgument, "access mode %s: a volume is used on one node at a time", mode)
		}
		switch fs := capability.GetMount().GetFsType(); fs {
		case "", "ext4", "xfs":
		default:
			return status.Errorf(codes.InvalidArgument, "file system %q: there are ext4 and xfs", fs)
		}
	}
	return nil
}

// size is what a volume gets for what was asked.
func size(asked *csi.CapacityRange, capabilities []*csi.VolumeCapability) (int64, error) {
	bytes := max(asked.GetRequiredBytes(), unit)
	for _, capability := range capabilities {
		if capability.GetMount().GetFsType() == "xfs" {
			bytes = max(bytes, leastXfs)
		}
	}
	bytes = (bytes + unit - 1) / unit * unit
	if limit := asked.GetLimitBytes(); limit > 0 && bytes > limit {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are more than the limit of %d", bytes, limit)
	}
	return bytes, nil
}

// place is the node a volume is to be on: the one preferred.
func (c *controller) place(wanted *csi.TopologyRequirement) (string, error) {
	if c.attach {
		return "", nil
	}
	for _, topology := range append(wanted.GetPreferred(), wanted.GetRequisite()...) {
		if node := topology.GetSegments()[c.topologyKey()]; node != "" {
			return node, nil
		}
	}
	return "", status.Error(codes.InvalidArgument, "no node is named in the topology")
}

func (c *controller) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if err := refusal(r.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	bytes, err := size(r.GetCapacityRange(), r.GetVolumeCapabilities())
	if err != nil {
		return nil, err
	}
	node, err := c.place(r.GetAccessibilityRequirements())
	if err != nil {
		return nil, err
	}
	v, err := c.store.read(r.GetName())
	if err != nil {
		return nil, err
	}
	if v == nil {
		used, err := c.store.used(node)
		if err != nil {
			return nil, err
		}
		if left := c.limit - used; bytes > left {
			return nil, status.Errorf(codes.ResourceExhausted, "%d bytes asked, %d left on %q", bytes, left, node)
		}
		v = &volume{Name: r.GetName(), Bytes: bytes, Node: node}
		if err := c.store.create(v); err != nil {
			return nil, err
		}
	} else if v.Bytes != bytes {
		return nil, status.Errorf(codes.AlreadyExists, "%s is there with %d bytes, not %d", v.Name, v.Bytes, bytes)
	}
	made := &csi.Volume{VolumeId: v.Name, CapacityBytes: v.Bytes}
	if v.Node != "" {
		made.AccessibleTopology = []*csi.Topology{{Segments: map[string]string{c.topologyKey(): v.Node}}}
	}
	return &csi.CreateVolumeResponse{Volume: made}, nil
}

func (c *controller) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	v, err := c.store.read(r.GetVolumeId())
	if v == nil || err != nil {
		return &csi.DeleteVolumeResponse{}, err
	}
	if v.Attached != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is attached to %s", v.Name, v.Attached)
	}
	if loop, err := loopOf(c.store.image(v.Name)); err != nil {
		return nil, err
	} else if loop != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is in use as %s", v.Name, loop)
	}
	return &csi.DeleteVolumeResponse{}, c.store.remove(v.Name)
}

func (c *controller) ControllerPublishVolume(_ context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	v, err := c.store.read(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	switch {
	case v == nil:
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.GetVolumeId())
	case v.Attached != "" && v.Attached != r.GetNodeId():
		return nil, status.Errorf(codes.FailedPrecondition, "%s is attached to %s", v.Name, v.Attached)
	}
	v.Attached = r.GetNodeId()
	return &csi.ControllerPublishVolumeResponse{}, c.store.write(v)
}

func (c *controller) ControllerUnpublishVolume(_ context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	v, err := c.store.read(r.GetVolumeId())
	if v == nil || err != nil {
		return &csi.ControllerUnpublishVolumeResponse{}, err
	}
	if v.Attached == r.GetNodeId() {
		v.Attached = ""
		err = c.store.write(v)
	}
	return &csi.ControllerUnpublishVolumeResponse{}, err
}

func (c *controller) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if v, err := c.store.read(r.GetVolumeId()); err != nil {
		return nil, err
	} else if v == nil {
		return nil, status.Errorf(codes.NotFound, "no volume %s", r.GetVolumeId())
	}
	if err := refusal(r.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	confirmed := &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.GetVolumeCapabilities()}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: confirmed}, nil
}

func (c *controller) GetCapacity(_ context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	used, err := c.store.used(r.GetAccessibleTopology().GetSegments()[c.topologyKey()])
	return &csi.GetCapacityResponse{AvailableCapacity: max(c.limit-used, 0)}, err
}
