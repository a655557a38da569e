package conformance

import (
	"os"
	"regexp"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestEveryMethodIsDocumented: docs/bigtable-api.md says of every method what
// becomes of it, in the table of its service, and of no other.
func TestEveryMethodIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/bigtable-api.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]map[string]int{}
	var of string
	for _, m := range regexp.MustCompile("(?m)^\\| (?:`(google[\\w.]+)`|([A-Z]\\w*(?:, [A-Z]\\w*)*)) \\||^#").FindAllSubmatch(b, -1) {
		switch {
		case len(m[1]) > 0:
			of = string(m[1])
			tables[of] = map[string]int{}
		case len(m[2]) == 0:
			of = ""
		case of != "":
			for _, name := range regexp.MustCompile(`\w+`).FindAllString(string(m[2]), -1) {
				tables[of][name]++
			}
		}
	}
	for _, f := range []protoreflect.FileDescriptor{
		bigtablepb.File_google_bigtable_v2_bigtable_proto, adminpb.File_google_bigtable_admin_v2_bigtable_table_admin_proto,
		adminpb.File_google_bigtable_admin_v2_bigtable_instance_admin_proto, longrunningpb.File_google_longrunning_operations_proto,
	} {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			documented := tables[string(s.FullName())]
			for j := range s.Methods().Len() {
				name := string(s.Methods().Get(j).Name())
				if documented[name] != 1 {
					t.Errorf("%s is documented %d times", s.Methods().Get(j).FullName(), documented[name])
				}
				delete(documented, name)
			}
			for name := range documented {
				t.Errorf("%s has no method %s", s.FullName(), name)
			}
		}
	}
}
