// Command gen generates the Go code of every .proto file below proto/, beside
// its source. Run it from the root of the repository:
//
//	go run ./proto/gen
//
// It needs no protoc: the files are parsed by protocompile, and the plugins
// protoc-gen-go and protoc-gen-go-grpc run at the versions that go.mod pins as
// tools. Imports resolve against proto/ itself ("lockpb/lockservice.proto"),
// or the repository root ("proto/lockpb/lockservice.proto"), and against every
// descriptor that is linked into this program: the well-known types,
// google/rpc and the Bigtable data and admin API.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"

	_ "cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	_ "cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
	"google.golang.org/protobuf/types/pluginpb"
)

const root = "proto"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "proto/gen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	names, err := sources()
	if err != nil {
		return err
	}
	files, err := compile(ctx, names)
	if err != nil {
		return err
	}
	request, err := newRequest(names, files)
	if err != nil {
		return err
	}
	for _, p := range []struct{ tool, parameter string }{
		{"protoc-gen-go", "paths=source_relative"},
		{"protoc-gen-go-grpc", "paths=source_relative"},
	} {
		if err := generate(ctx, request, p.tool, p.parameter); err != nil {
			return fmt.Errorf("running %s: %w", p.tool, err)
		}
	}
	return nil
}

// sources lists the .proto files below proto/, by their path relative to it.
func sources() ([]string, error) {
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".proto" {
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the sources (run this from the repository root): %w", err)
	}
	if len(names) == 0 {
		return nil, errors.New("no .proto file below " + root)
	}
	sort.Strings(names)
	return names, nil
}

// compile parses and links the named files.
func compile(ctx context.Context, names []string) (linker.Files, error) {
	own := &protocompile.SourceResolver{ImportPaths: []string{root, "."}}
	linked := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		d, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		return protocompile.SearchResult{Desc: d}, nil
	})
	c := protocompile.Compiler{
		Resolver:       protocompile.CompositeResolver{own, linked},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	return c.Compile(ctx, names...)
}

// newRequest builds the plugins' request: all files in topological order.
func newRequest(names []string, files linker.Files) (*pluginpb.CodeGeneratorRequest, error) {
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: names}
	seen := make(map[string]bool)
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] || f.IsPlaceholder() {
			return
		}
		seen[f.Path()] = true
		imports := f.Imports()
		for i := range imports.Len() {
			add(imports.Get(i).FileDescriptor)
		}
		request.ProtoFile = append(request.ProtoFile, fileProto(f))
	}
	for _, f := range files {
		add(f)
	}
	// The plugins want options as plain wire bytes of the known extensions.
	raw, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	request.Reset()
	return request, proto.Unmarshal(raw, request)
}

// fileProto keeps the comments of files that were parsed from source.
func fileProto(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if r, ok := f.(linker.Result); ok {
		return r.FileDescriptorProto()
	}
	if w, ok := f.(protoutil.DescriptorProtoWrapper); ok {
		if p, ok := w.AsProto().(*descriptorpb.FileDescriptorProto); ok {
			return p
		}
	}
	return protodesc.ToFileDescriptorProto(f)
}

// generate runs one plugin and writes what it returns below proto/.
func generate(ctx context.Context, request *pluginpb.CodeGeneratorRequest, tool, parameter string) error {
	request.Parameter = &parameter
	input, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", tool)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output, &response); err != nil {
		return fmt.Errorf("decoding the response: %w", err)
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, f := range response.File {
		path := filepath.Join(root, filepath.FromSlash(f.GetName()))
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
