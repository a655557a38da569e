package bench

import (
	"context"
	"fmt"

	"cloud.google.com/go/bigtable/bttest"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/bench/proc"
)

// emulatorMessage is the largest message of Google's cbtemulator, in bytes.
const emulatorMessage = 256 << 20

// emulatorCommand runs Google's in-memory emulator as their own program for it
// does.
func (a *app) emulatorCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{Use: "emulator", Short: "Run Google's in-memory emulator", Args: cobra.NoArgs, Hidden: true}
	c.RunE = func(c *cobra.Command, _ []string) error {
		a.began = true
		return a.emulator(c.Context(), listen)
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on")
	return c
}

func (a *app) emulator(ctx context.Context, listen string) error {
	s, err := bttest.NewServer(listen, grpc.MaxRecvMsgSize(emulatorMessage), grpc.MaxSendMsgSize(emulatorMessage))
	if err != nil {
		return fmt.Errorf("run emulator: %w", err)
	}
	defer s.Close()
	if _, err := fmt.Fprintf(a.out.w, "%s%s\n", proc.EmulatorReady, s.Addr); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
