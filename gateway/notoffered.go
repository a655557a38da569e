package gateway

import (
	"context"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// What is not offered says so in words that help whoever reads them, most
// often a person before a terminal.

func notOffered(what string) error {
	return base.Textf(base.ErrUnimplemented, "TabletDB does not offer %s", what)
}

const (
	memoryLayers  = "memory layers; each tablet server caches what is read"
	changeStreams = "change streams"
	sessions      = "the session protocol, which is private to Google's clients; they do without where a server has none"
)

// UpdateMemoryLayer implements adminpb.BigtableInstanceAdminServer.
func (*instanceAdmin) UpdateMemoryLayer(context.Context, *adminpb.UpdateMemoryLayerRequest) (*longrunningpb.Operation, error) {
	return nil, notOffered(memoryLayers)
}

// ListMemoryLayers implements adminpb.BigtableInstanceAdminServer.
func (*instanceAdmin) ListMemoryLayers(context.Context, *adminpb.ListMemoryLayersRequest) (*adminpb.ListMemoryLayersResponse, error) {
	return nil, notOffered(memoryLayers)
}

// GetMemoryLayer implements adminpb.BigtableInstanceAdminServer.
func (*instanceAdmin) GetMemoryLayer(context.Context, *adminpb.GetMemoryLayerRequest) (*adminpb.MemoryLayer, error) {
	return nil, notOffered(memoryLayers)
}

// GenerateInitialChangeStreamPartitions implements bigtablepb.BigtableServer.
func (*data) GenerateInitialChangeStreamPartitions(*bigtablepb.GenerateInitialChangeStreamPartitionsRequest, bigtablepb.Bigtable_GenerateInitialChangeStreamPartitionsServer) error {
	return notOffered(changeStreams)
}

// ReadChangeStream implements bigtablepb.BigtableServer.
func (*data) ReadChangeStream(*bigtablepb.ReadChangeStreamRequest, bigtablepb.Bigtable_ReadChangeStreamServer) error {
	return notOffered(changeStreams)
}

// GetClientConfiguration implements bigtablepb.BigtableServer.
func (*data) GetClientConfiguration(context.Context, *bigtablepb.GetClientConfigurationRequest) (*bigtablepb.ClientConfiguration, error) {
	return nil, notOffered(sessions)
}

// OpenTable implements bigtablepb.BigtableServer.
func (*data) OpenTable(bigtablepb.Bigtable_OpenTableServer) error { return notOffered(sessions) }

// OpenAuthorizedView implements bigtablepb.BigtableServer.
func (*data) OpenAuthorizedView(bigtablepb.Bigtable_OpenAuthorizedViewServer) error {
	return notOffered(sessions)
}

// OpenMaterializedView implements bigtablepb.BigtableServer.
func (*data) OpenMaterializedView(bigtablepb.Bigtable_OpenMaterializedViewServer) error {
	return notOffered(sessions)
}
