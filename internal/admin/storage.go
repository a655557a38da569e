package admin

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// storageInfo is how a family is stored, as it is shown. What is not there is as
// it is by default.
type storageInfo struct {
	LocalityGroup string `json:"locality_group,omitempty"`
	InMemory      bool   `json:"in_memory,omitempty"`
	Compression   string `json:"compression,omitempty"`
	Bloom         string `json:"bloom,omitempty"`
}

// newStorageInfo returns nil where everything is as by default.
func newStorageInfo(s *metapb.Storage) *storageInfo {
	i := storageInfo{LocalityGroup: s.GetLocalityGroup(), InMemory: s.GetInMemory()}
	if c := s.GetCompression(); c != metapb.Storage_COMPRESSION_DEFAULT {
		i.Compression = wordOf(c.String(), "COMPRESSION_")
	}
	if b := s.GetBloom(); b != metapb.Storage_BLOOM_DEFAULT {
		i.Bloom = wordOf(b.String(), "BLOOM_")
	}
	if i == (storageInfo{}) {
		return nil
	}
	return &i
}

// wordOf returns the word that users know an enum's value by: ROW_COLUMN is
// row-column.
func wordOf(value, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value, prefix)), "_", "-")
}

// String writes it for people; it is also what parseStorage reads.
func (i *storageInfo) String() string {
	if i == nil {
		return ""
	}
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	add("locality-group", i.LocalityGroup)
	if i.InMemory {
		parts = append(parts, "in-memory")
	}
	add("compression", i.Compression)
	add("bloom", i.Bloom)
	return strings.Join(parts, ",")
}

// setting sets one field of a change by its name.
func setting(c *controlpb.FamilyStorage, name, value string) error {
	switch name {
	case "locality-group":
		c.LocalityGroup = proto.String(value)
	case "in-memory":
		switch value {
		case "", "true":
			c.InMemory = proto.Bool(true)
		case "false":
			c.InMemory = proto.Bool(false)
		default:
			return usagef("in-memory=%s: want true or false", value)
		}
	case "compression":
		n, ok := enumOf(metapb.Storage_Compression_value, "COMPRESSION_", value)
		if !ok {
			return usagef("compression %q: want default, none, snappy or zstd", value)
		}
		c.Compression = metapb.Storage_Compression(n).Enum()
	case "bloom":
		n, ok := enumOf(metapb.Storage_Bloom_value, "BLOOM_", value)
		if !ok {
			return usagef("bloom %q: want default, none, row or row-column", value)
		}
		c.Bloom = metapb.Storage_Bloom(n).Enum()
	default:
		return usagef("storage has no %q: want locality-group, in-memory, compression or bloom", name)
	}
	return nil
}

func enumOf(values map[string]int32, prefix, word string) (int32, bool) {
	for name, n := range values {
		if wordOf(name, prefix) == word {
			return n, true
		}
	}
	return 0, false
}

// parseStorage reads family:name=value,name=value...
func parseStorage(s string) (*controlpb.FamilyStorage, error) {
	family, list, ok := strings.Cut(s, ":")
	if !ok || list == "" {
		return nil, usagef("storage %q: want family:name=value,... such as contents:locality-group=big,compression=zstd,bloom=row,in-memory", s)
	}
	c := &controlpb.FamilyStorage{Family: family}
	for _, part := range strings.Split(list, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if err := setting(c, name, value); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// parseStorages reads the values of --storage for families that are to be.
func parseStorages[F any](list []string, families map[string]F) ([]*controlpb.FamilyStorage, error) {
	var changes []*controlpb.FamilyStorage
	for _, s := range list {
		c, err := parseStorage(s)
		if err != nil {
			return nil, err
		}
		if _, ok := families[c.Family]; !ok {
			return nil, usagef("storage %q: the table is to have no family %q", s, c.Family)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// setStorage asks the master for changes; none is no error.
func (e *env) setStorage(ctx context.Context, table string, changes []*controlpb.FamilyStorage) error {
	if len(changes) == 0 {
		return nil
	}
	return e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		_, err := m.SetFamilyStorage(ctx, &controlpb.SetFamilyStorageRequest{Table: table, Changes: changes})
		return err
	})
}

func (r *run) familyCommand() *cobra.Command {
	return group("family", "Say how the families of a table are stored", r.ofTable(r.familySetCommand()))
}

func (r *run) familySetCommand() *cobra.Command {
	var values [3]string
	var inMemory bool
	names := [3]string{"locality-group", "compression", "bloom"}
	var c *cobra.Command
	c = r.command("set <table> <family>", "Say how a family is stored: locality group, compression, filter", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		full, err := e.fullName(args[0])
		if err != nil {
			return err
		}
		change := &controlpb.FamilyStorage{Family: args[1]}
		changed := false
		for i, name := range names {
			if !c.Flags().Changed(name) {
				continue
			}
			changed = true
			if err := setting(change, name, values[i]); err != nil {
				return err
			}
		}
		if c.Flags().Changed("in-memory") {
			changed = true
			change.InMemory = proto.Bool(inMemory)
		}
		if !changed {
			return usagef("nothing to set: give --locality-group, --in-memory, --compression or --bloom")
		}
		if err := e.setStorage(ctx, full, []*controlpb.FamilyStorage{change}); err != nil {
			return err
		}
		return e.describeTable(ctx, full)
	})
	c.Long = `Set how the cells of a family are stored. Families of one locality group share files,
which a read that asks for no family of the group does not touch; the default group has
no name. A group that is kept in memory is so as a whole, with all its families. What is
written from now on is stored like that; tabletadm compact rewrites what is there.`
	c.Example = `  tabletadm family set pages anchor --locality-group meta --in-memory
  tabletadm family set pages contents --compression zstd --bloom row
  tabletadm family set pages contents --locality-group ''`
	c.Flags().StringVar(&values[0], "locality-group", "", "the families with which it shares files; empty: the default group")
	c.Flags().BoolVar(&inMemory, "in-memory", false, "keep the files of its group in memory, as far as there is room")
	c.Flags().StringVar(&values[1], "compression", "", "default, none, snappy or zstd")
	c.Flags().StringVar(&values[2], "bloom", "", "what filters know of the cells: default, none, row or row-column")
	return c
}
