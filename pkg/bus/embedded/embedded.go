// Package embedded runs a NATS server inside the process, for `litci up` without
// a server of its own, for the demo and for tests. It listens on loopback, so that
// the nats command line works beside it.
package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/litci/litci/pkg/bus"
)

// Config says where the server listens and keeps its data.
type Config struct {
	// Dir is the data directory; streams and keys live below it.
	Dir string
	// Listen is host:port; port 0 takes any free one.
	Listen string
	// SyncAlways writes every message to the disk before it is acknowledged: with it a
	// power cut loses nothing that was answered with 202.
	SyncAlways bool
}

// Server is a running server.
type Server struct {
	server *server.Server
	lock   *os.File
	// KeyFile and TailKeyFile are nkey seeds below the data directory: the first may do
	// everything, the second only look.
	KeyFile     string
	TailKeyFile string
	addressFile string
	// Storage is how many bytes the streams may take.
	Storage int64
}

// authTimeout is how long a client may take to sign in; the server's own two seconds
// are too few for a machine that stands still for a moment.
const authTimeout = 30 * time.Second

// Start runs a server. The nkeys that it accepts are made at the first start.
func Start(cfg Config) (*Server, error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address of nats %q: %w", cfg.Listen, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("listen address of nats %q: %w", cfg.Listen, err)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats data: %w", err)
	}
	s := &Server{KeyFile: filepath.Join(cfg.Dir, keyName), TailKeyFile: filepath.Join(cfg.Dir, "tail.nk")}
	if s.lock, err = lock(cfg.Dir); err != nil {
		return nil, err
	}
	if err := s.start(cfg, host, number); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

func (s *Server) start(cfg Config, host string, port int) error {
	key, err := publicKey(s.KeyFile)
	if err != nil {
		return err
	}
	tailKey, err := publicKey(s.TailKeyFile)
	if err != nil {
		return err
	}
	if s.Storage, err = storage(cfg.Dir); err != nil {
		return err
	}
	s.server, err = server.NewServer(&server.Options{
		ServerName: "litci", Host: host, Port: port, NoSigs: true, NoLog: true,
		AuthTimeout: authTimeout.Seconds(),
		JetStream:   true, StoreDir: cfg.Dir, SyncAlways: cfg.SyncAlways, JetStreamMaxStore: s.Storage,
		Nkeys: []*server.NkeyUser{{Nkey: key}, {Nkey: tailKey, Permissions: tailPermissions()}},
	})
	if err != nil {
		return fmt.Errorf("nats server: %w", err)
	}
	// The server itself says nothing of a port that is taken.
	if port != server.RANDOM_PORT {
		probe, err := net.Listen("tcp", cfg.Listen)
		if err != nil {
			return fmt.Errorf("nats server: %w", err)
		}
		if err := probe.Close(); err != nil {
			return fmt.Errorf("nats server: %w", err)
		}
	}
	go s.server.Start() // Shutdown ends it
	if !s.server.ReadyForConnections(30 * time.Second) {
		s.server.Shutdown()
		s.server.WaitForShutdown()
		return fmt.Errorf("nats server does not listen on %s", cfg.Listen)
	}
	s.addressFile = filepath.Join(cfg.Dir, addressName)
	if err := keepAddress(s.addressFile, s.URL()); err != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
		return err
	}
	return nil
}

// tailPermissions let a person look on and change nothing.
func tailPermissions() *server.Permissions {
	all := bus.Users()
	tail := all[slices.IndexFunc(all, func(u bus.User) bool { return u.Name == bus.Viewer })]
	return &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: tail.Subscribe},
		Publish:   &server.SubjectPermission{Allow: tail.Publish},
	}
}

// publicKey reads a seed file, or makes it, and returns the public half.
func publicKey(file string) (string, error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return "", fmt.Errorf("nkey: %w", err)
		}
		if seed, err = pair.Seed(); err != nil {
			return "", fmt.Errorf("nkey: %w", err)
		}
		if err := os.WriteFile(file, seed, 0o600); err != nil {
			return "", fmt.Errorf("nkey: %w", err)
		}
	} else if err != nil {
		return "", fmt.Errorf("nkey: %w", err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return "", fmt.Errorf("nkey seed file %s: %w", file, err)
	}
	return pair.PublicKey()
}

// storage is three quarters of what is free on the disk or taken by the streams
// already: what they reserved when the disk was emptier must fit still.
func storage(dir string) (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("disk of %s: %w", dir, err)
	}
	taken := int64(0)
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err == nil { // else it has just gone
			taken += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("nats data: %w", err)
	}
	return (int64(disk.Bavail)*disk.Bsize + taken) / 4 * 3, nil
}

// URL is the address on which the server listens.
func (s *Server) URL() string { return s.server.ClientURL() }

// InProcessConn connects without a socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// Stop ends the server once everything is on the disk. Clients go first.
func (s *Server) Stop() {
	_ = os.Remove(s.addressFile) // one that is left names a server that does not answer
	s.server.Shutdown()
	s.server.WaitForShutdown()
	_ = s.lock.Close() // read only; the lock goes with it
}

// lock takes the data directory for this process: two servers on one directory
// would damage each other's streams.
func lock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("nats data: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("nats data: %s is in use by another process of litci", dir), file.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nats data: lock of %s: %w", dir, err), file.Close())
	}
	return file, nil
}
