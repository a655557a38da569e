package server_test

import (
	"testing"

	"github.com/tabletdb/tabletdb/lockservice/locktest"
)

func TestConformanceOneReplica(t *testing.T) {
	locktest.Run(t, func(t *testing.T) locktest.Service {
		return locktest.NewCluster(t, &locktest.ClusterConfig{Replicas: 1})
	})
}

func TestConformanceThreeReplicas(t *testing.T) {
	locktest.Run(t, func(t *testing.T) locktest.Service {
		return locktest.NewCluster(t, &locktest.ClusterConfig{Replicas: 3})
	})
}
