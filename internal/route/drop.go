package route

import (
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// AppendDrop appends the request for DropRows of the rows in g, which has no id
// yet.
func AppendDrop(dst []byte, g rowset.Range) ([]byte, error) {
	r := &bigtablepb.RowRange{StartKey: &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: g.Start}}
	if len(g.End) > 0 {
		r.EndKey = &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: g.End}
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, r)
}

// ParseDrop is the inverse of AppendDrop. It aliases the request.
func ParseDrop(req []byte) (rowset.Range, mutation.Once, error) {
	once, err := mutation.ParseID(req)
	if err != nil {
		return rowset.Range{}, once, err
	}
	r := &bigtablepb.RowRange{}
	if err := proto.Unmarshal(req, r); err != nil {
		return rowset.Range{}, once, fmt.Errorf("%w: malformed RowRange: %v", base.ErrInvalid, err)
	}
	g, err := rowset.FromRange(r)
	return g, once, err
}
