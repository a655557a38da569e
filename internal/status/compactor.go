package status

import (
	"context"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// localCompactor is a worker of this process.
type localCompactor struct {
	Name    string      `json:"name"`
	Error   string      `json:"error,omitempty"`
	Slots   uint32      `json:"slots"`
	Done    uint64      `json:"done"`
	Failed  uint64      `json:"failed"`
	Refused uint64      `json:"refused"`
	Read    output.Size `json:"read_bytes"`
	Written output.Size `json:"written_bytes"`
	Running []workRow   `json:"running"`
	Recent  []workRow   `json:"recent"`
}

// workRow is one job of a worker.
type workRow struct {
	Tablet  uint64          `json:"tablet"`
	Server  string          `json:"server"` // who asked
	Started output.Time     `json:"started"`
	Elapsed output.Duration `json:"elapsed_seconds"`
	Input   output.Size     `json:"input_bytes"`
	Read    output.Size     `json:"read_bytes"`
	Written output.Size     `json:"written_bytes"`
	Files   uint32          `json:"files"`
	Reason  string          `json:"reason"`
	Error   string          `json:"error,omitempty"`
}

// ownCompactor asks a worker of this process, by a call.
func ownCompactor(ctx context.Context, name string, c compactorpb.CompactorServer) localCompactor {
	x := localCompactor{Name: name}
	r, err := c.Status(ctx, &compactorpb.StatusRequest{})
	if err != nil {
		x.Error = err.Error()
		return x
	}
	x.Slots, x.Done, x.Failed, x.Refused = r.GetRecord().GetSlots(), r.Done, r.Failed, r.Refused
	x.Read, x.Written = output.Size(r.ReadBytes), output.Size(r.WrittenBytes)
	x.Running, x.Recent = workRows(r.Running), workRows(r.Recent)
	x.Recent = x.Recent[:min(20, len(x.Recent))]
	return x
}

func workRows(list []*compactorpb.Work) []workRow {
	rows := make([]workRow, 0, len(list))
	for _, w := range list {
		rows = append(rows, workRow{
			Tablet: w.Tablet, Server: w.Server, Started: microTime(w.StartedUs), Elapsed: micros(w.ElapsedUs), Input: output.Size(w.InputBytes),
			Read: output.Size(w.ReadBytes), Written: output.Size(w.WrittenBytes), Files: w.Files, Reason: w.Reason, Error: w.Error,
		})
	}
	return rows
}
