// Package serverconfig writes a configuration of nats-server in which each part of
// litci is a user with a key of its own, and may do what it must and nothing else.
package serverconfig

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/nats-io/nkeys"

	"github.com/litci/litci/pkg/bus"
)

// Config says what the server is like, and where the files go. Paths in it that only
// the server reads are not looked at.
type Config struct {
	// Dir takes the server's configuration, FileName.
	Dir string
	// Keys takes a folder for each user, with the seed of its key in it, KeyName.
	Keys string
	// Pools are the named pools of machines; each has a user.
	Pools []string
	// Listen and Monitor are the server's addresses, host:port, for clients and for
	// health and figures.
	Listen  string
	Monitor string
	// Store is the server's directory of streams.
	Store string
	// Cert and Key are the server's for TLS, empty for none. With CA clients must show
	// a certificate of that authority.
	Cert string
	Key  string
	CA   string
}

const (
	// FileName is the server's configuration.
	FileName = "nats-server.conf"
	// KeyName is the seed of a user's key.
	KeyName = "nkey"
	// System is the user that looks after the server itself.
	System = "sys"
)

// Written is what Write has made.
type Written struct {
	// File is the server's configuration.
	File string
	// Made and Kept are the users whose keys are new and whose keys were there.
	Made []string
	Kept []string
}

// entry is a user with the public half of its key.
type entry struct {
	bus.User
	Public string
}

// Hears are the subjects that the user subscribes to beside its inbox.
func (e entry) Hears() []string {
	return slices.DeleteFunc(slices.Clone(e.Subscribe), func(s string) bool { return strings.HasPrefix(s, "_INBOX_") })
}

//go:embed nats-server.conf.tmpl
var text string

var page = template.Must(template.New(FileName).Funcs(template.FuncMap{"q": strconv.Quote}).Parse(text))

// Write makes the keys that are missing, keeps those that are there, and writes the
// configuration in one step.
func Write(cfg Config) (Written, error) {
	done := Written{File: filepath.Join(cfg.Dir, FileName)}
	data := struct {
		Config
		Path   string
		Users  []entry
		Viewer entry
		System string
	}{Config: cfg, Path: done.File}
	public := func(name string) (string, error) {
		key, made, err := publicKey(filepath.Join(cfg.Keys, name, KeyName))
		if made {
			done.Made = append(done.Made, name)
		} else {
			done.Kept = append(done.Kept, name)
		}
		return key, err
	}
	for _, u := range bus.Users(cfg.Pools...) {
		key, err := public(u.Name)
		if err != nil {
			return done, err
		}
		if u.Name == bus.Viewer {
			data.Viewer = entry{u, key}
			continue
		}
		data.Users = append(data.Users, entry{u, key})
	}
	var err error
	if data.System, err = public(System); err != nil {
		return done, err
	}
	var out strings.Builder
	if err := page.Execute(&out, data); err != nil {
		return done, fmt.Errorf("nats configuration: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return done, fmt.Errorf("nats configuration: %w", err)
	}
	// Only public halves of keys are in it: the server may run as another user.
	if err := replace(done.File, []byte(out.String()), 0o644); err != nil {
		return done, fmt.Errorf("nats configuration: %w", err)
	}
	return done, nil
}

// publicKey reads a seed file, or makes it where there is none, and returns the
// public half.
func publicKey(file string) (public string, made bool, err error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		public, err = makeKey(file)
		return public, true, err
	}
	if err != nil {
		return "", false, fmt.Errorf("key of a nats user: %w", err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return "", false, fmt.Errorf("%s holds no seed of a user's nkey (%w); keys are never overwritten: restore the file, or delete it for a new key", file, err)
	}
	public, err = pair.PublicKey()
	return public, false, err
}

func makeKey(file string) (public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("key of a nats user: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", fmt.Errorf("key of a nats user: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", fmt.Errorf("key of a nats user: %w", err)
	}
	if err := replace(file, append(seed, '\n'), 0o600); err != nil {
		return "", fmt.Errorf("key of a nats user: %w", err)
	}
	return pair.PublicKey()
}

// replace writes a file in one step, so that nobody reads a part of it.
func replace(file string, data []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(file), ".new-*") // for the owner alone
	if err != nil {
		return err
	}
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
