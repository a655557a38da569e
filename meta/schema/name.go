// Package schema turns the table records of package meta into what the admin
// API shows and takes, and checks what users ask for. It is pure: gateway and
// master do the reading and writing. Errors carry the texts and sentinels that
// clients of the Bigtable API know.
package schema

import (
	"fmt"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Limits of names and keys.
const (
	MaxTableID    = 50
	MaxFamilyName = 64
	MaxRowKey     = 4096
	// MaxFamilies is the most column families that a table may have.
	MaxFamilies = 1000
)

// Name is the parsed name of a table.
type Name struct{ Project, Instance, Table string }

// String returns projects/P/instances/I/tables/T.
func (n Name) String() string { return n.Parent() + "/tables/" + n.Table }

// Parent returns projects/P/instances/I.
func (n Name) Parent() string { return "projects/" + n.Project + "/instances/" + n.Instance }

// ParseName parses projects/P/instances/I/tables/T. The error wraps
// base.ErrInvalid.
func ParseName(s string) (Name, error) {
	parent, table, ok := strings.Cut(s, "/tables/")
	n, err := ParseParent(parent)
	if !ok || err != nil {
		return Name{}, base.Invalidf("Invalid table name %q. Should be of the form projects/<project>/instances/<instance>/tables/<table>", s)
	}
	n.Table = table
	return n, CheckTableID(table)
}

// ParseParent parses projects/P/instances/I; Table is empty.
func ParseParent(s string) (Name, error) {
	p := strings.Split(s, "/")
	if len(p) != 4 || p[0] != "projects" || p[2] != "instances" || !segment(p[1]) || !segment(p[3]) {
		return Name{}, base.Invalidf("Invalid instance name %q. Should be of the form projects/<project>/instances/<instance>", s)
	}
	return Name{Project: p[1], Instance: p[3]}, nil
}

// maxSegment bounds the names of projects and instances, which we do not
// restrict any further: emulator users call them anything.
const maxSegment = 256

func segment(s string) bool {
	if s == "" || len(s) > maxSegment {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// CheckTableID checks the last part of a table's name.
func CheckTableID(id string) error { return CheckID("table", id, MaxTableID) }

// CheckID checks the id of a new resource: some letters, digits, '-', '_' and
// '.', beginning with a letter, digit or '_'.
func CheckID(what, id string, most int) error {
	if id == "" || len(id) > most || !nameBytes(id) || id[0] == '-' || id[0] == '.' {
		return base.Invalidf("Invalid %s id %q. Should match [_a-zA-Z0-9][-_.a-zA-Z0-9]* and have at most %d characters", what, id, most)
	}
	return nil
}

// CheckFamilyName checks the name of a column family.
func CheckFamilyName(name string) error {
	if name == "" || len(name) > MaxFamilyName || !nameBytes(name) {
		return base.Invalidf("Invalid column family id %q. Should match [-_.a-zA-Z0-9]+ and have at most %d characters", name, MaxFamilyName)
	}
	return nil
}

func nameBytes(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0) {
			return false
		}
	}
	return true
}

// NotFound is the error for a table that does not exist.
func NotFound(name string) error { return base.Textf(base.ErrNotFound, "Table not found: %s", name) }

// Exists is the error for a table that exists already.
func Exists(name string) error { return base.Textf(base.ErrExists, "Table already exists: %s", name) }

func familyNotFound(table, family string) error {
	return base.Textf(base.ErrFamilyNotFound, "Column family not found: %s", fmt.Sprintf("%s/columnFamilies/%s", table, family))
}
