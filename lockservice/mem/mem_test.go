package mem_test

import (
	"testing"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/locktest"
	"github.com/tabletdb/tabletdb/lockservice/mem"
)

type service struct{ *mem.Service }

func (s service) NewClient(*testing.T) lockservice.Client { return s.Client() }
func (s service) Close(*testing.T)                        { s.Service.Close() }

func TestConformance(t *testing.T) {
	locktest.Run(t, func(*testing.T) locktest.Service { return service{mem.New(mem.Options{})} })
}
