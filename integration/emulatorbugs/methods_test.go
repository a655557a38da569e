package emulatorbugs

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// kept checks that an operation can be asked for.
func (s *server) kept(op *longrunningpb.Operation) {
	s.Helper()
	got, err := longrunningpb.NewOperationsClient(s.cc).GetOperation(s.ctx, &longrunningpb.GetOperationRequest{Name: op.Name})
	if err != nil || !proto.Equal(got, op) {
		s.Errorf("operation %s is kept as %v, %v", op.Name, got, err)
	}
}

// everyMethod calls every method of every service with a request of nothing,
// and with requests that are full of nonsense. Each gets an answer that says
// what is wrong, and the server lives.
func everyMethod(s *server) {
	called := 0
	for _, f := range []protoreflect.FileDescriptor{
		bigtablepb.File_google_bigtable_v2_bigtable_proto, adminpb.File_google_bigtable_admin_v2_bigtable_table_admin_proto,
		adminpb.File_google_bigtable_admin_v2_bigtable_instance_admin_proto, longrunningpb.File_google_longrunning_operations_proto,
	} {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				called++
				s.call(methods.Get(j))
			}
		}
	}
	if called < 84 {
		s.Errorf("only %d methods were found", called)
	}
	s.must(s.mutate(s.table, "r", set("f", "a", 1000, "1")))
}

// answers are the codes with which a server may answer whatever it is sent.
var answers = []codes.Code{codes.OK, codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.AlreadyExists,
	codes.PermissionDenied, codes.Aborted, codes.Unimplemented}

// call calls a method.
func (s *server) call(m protoreflect.MethodDescriptor) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	s.must(err)
	for _, text := range []string{"", "x", "projects/p/instances/nonsense", "projects/p/instances/nonsense/tables/x", "projects/p/instances/nonsense/clusters/c/backups/b", "operations/x"} {
		req := t.New()
		if text != "" {
			fill(req, text, 4)
		}
		err := s.invoke(m, req.Interface())
		code, says := status.Code(err), status.Convert(err).Message()
		generated := strings.HasPrefix(says, "method ") || strings.HasPrefix(says, "unknown ")
		if !slices.Contains(answers, code) || code == codes.Unimplemented && generated {
			s.Errorf("%s with %q: %v", m.FullName(), text, err)
		}
	}
}

// invoke sends one request and returns how the call ends.
func (s *server) invoke(m protoreflect.MethodDescriptor, req proto.Message) error {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	path := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	st, err := s.cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: m.IsStreamingClient()}, path)
	if err != nil {
		return err
	}
	if err := st.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := st.CloseSend(); err != nil {
		return err
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	s.must(err)
	for {
		if err := st.RecvMsg(t.New().Interface()); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// fill sets the fields of m, and of what is in it, to something.
func fill(m protoreflect.Message, text string, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if f.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case f.IsMap():
			if f.MapKey().Kind() == protoreflect.StringKind && f.MapValue().Message() != nil {
				v := m.NewField(f).Map().NewValue()
				fill(v.Message(), text, depth-1)
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(text).MapKey(), v)
			}
		case f.IsList():
			l := m.Mutable(f).List()
			if f.Message() != nil {
				fill(l.AppendMutable().Message(), text, depth-1)
			} else {
				l.Append(scalar(f, text))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), text, depth-1)
		default:
			m.Set(f, scalar(f, text))
		}
	}
}

// scalar returns a value for a field that is no message.
func scalar(f protoreflect.FieldDescriptor, text string) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(0.5)
	}
	return protoreflect.ValueOfFloat64(0.5)
}
