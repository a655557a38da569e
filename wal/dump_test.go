package wal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/mem"
)

func TestDump(t *testing.T) {
	store := mem.New()
	history(t, store, 4, Snappy, 100)
	end, err := Seal(t.Context(), store, writer, 0, sealer)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteIndex(t.Context(), store, writer, 0, end); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), base.LogObject(writer, 2), []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := Dump(t.Context(), &got, store, writer, DumpOptions{From: 1, Records: true, Bodies: 6}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "dump.txt")
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("Dump wrote\n%s", got.String())
	}
}
