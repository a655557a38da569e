package adminstore

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tabletdb/tabletdb/internal/base"
)

// ApplyMask sets the fields of dst that paths name to what they are in src:
// an unset field of src clears that of dst. A path that leads through an unset
// message of src clears the last field only, if it is set. allowed says which
// paths may be updated; one may also go on below an allowed path.
func ApplyMask[M proto.Message](dst, src M, paths []string, allowed ...string) error {
	if len(paths) == 0 {
		return base.Invalidf("A non-empty 'update_mask' must be specified")
	}
	for _, p := range paths {
		if !slices.ContainsFunc(allowed, func(a string) bool { return p == a || strings.HasPrefix(p, a+".") }) {
			return base.Invalidf("Error in field 'update_mask' : %q cannot be updated (only %s)", p, strings.Join(allowed, ", "))
		}
		if err := applyPath(dst.ProtoReflect(), src.ProtoReflect(), p); err != nil {
			return err
		}
	}
	return nil
}

func applyPath(dst, src protoreflect.Message, path string) error {
	name, rest, nested := strings.Cut(path, ".")
	f := dst.Descriptor().Fields().ByName(protoreflect.Name(name))
	if f == nil {
		return base.Invalidf("Error in field 'update_mask' : %s has no field %q", dst.Descriptor().Name(), name)
	}
	if !nested {
		if src.Has(f) {
			dst.Set(f, src.Get(f))
		} else {
			dst.Clear(f)
		}
		return nil
	}
	if f.Message() == nil || f.IsList() || f.IsMap() {
		return base.Invalidf("Error in field 'update_mask' : field %q of %s has no fields", name, dst.Descriptor().Name())
	}
	if !src.Has(f) && !dst.Has(f) {
		return checkPath(f.Message(), rest)
	}
	// Mutable would switch a oneof of dst on, which is meant where src has it.
	if !dst.Has(f) {
		dst.Set(f, protoreflect.ValueOfMessage(src.Get(f).Message().Type().New()))
	}
	return applyPath(dst.Mutable(f).Message(), src.Get(f).Message(), rest)
}

func checkPath(d protoreflect.MessageDescriptor, path string) error {
	name, rest, nested := strings.Cut(path, ".")
	f := d.Fields().ByName(protoreflect.Name(name))
	if f == nil || nested && f.Message() == nil {
		return base.Invalidf("Error in field 'update_mask' : %s has no field %q", d.Name(), path)
	}
	if nested {
		return checkPath(f.Message(), rest)
	}
	return nil
}
