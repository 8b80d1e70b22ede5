package serverconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/litci/litci/pkg/bus"
)

func write(t *testing.T, cfg Config) Written {
	t.Helper()
	done, err := Write(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// files are the contents of a tree by their paths.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestKeysAreKeptAndOthersAreMade(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: filepath.Join(dir, "nats"), Keys: filepath.Join(dir, "keys"), Listen: "0.0.0.0:4222", Monitor: "0.0.0.0:8222", Store: "/data"}
	first := write(t, cfg)
	if len(first.Kept) > 0 || !slices.Contains(first.Made, "planner") || !slices.Contains(first.Made, System) {
		t.Errorf("the first time %+v", first)
	}
	before := files(t, dir)
	for path, text := range before {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		seed := strings.HasPrefix(path, "keys/")
		if seed != (info.Mode().Perm() == 0o600) || seed != strings.HasPrefix(text, "SU") {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		if !seed && strings.Contains(text, "SU") && strings.Contains(text, strings.TrimSpace(before["keys/planner/nkey"])) {
			t.Errorf("%s holds a seed", path)
		}
	}
	cfg.Pools = []string{"gpu"}
	second := write(t, cfg)
	if !slices.Equal(second.Made, []string{"pool-gpu"}) || len(second.Kept) != len(first.Made) {
		t.Errorf("with a pool more %+v", second)
	}
	after := files(t, dir)
	for path := range before {
		if strings.HasPrefix(path, "keys/") && after[path] != before[path] {
			t.Errorf("%s was overwritten", path)
		}
	}
	third := write(t, cfg)
	if len(third.Made) > 0 || !maps.Equal(files(t, dir), after) {
		t.Errorf("once more %+v", third)
	}
}

func TestWhatIsNoKeyIsNotOverwritten(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: t.TempDir()}
	file := filepath.Join(cfg.Keys, "planner", KeyName)
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(cfg); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("write: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "something else" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// The server reads what is written, TLS and all.
func TestTheServerReadsTheConfiguration(t *testing.T) {
	for name, cfg := range map[string]Config{
		"plain":              {},
		"with TLS":           {Cert: "/etc/cert.pem", Key: "/etc/key.pem"},
		"with TLS both ways": {Cert: "/etc/cert.pem", Key: "/etc/key.pem", CA: "/etc/ca.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Dir, cfg.Keys, cfg.Pools = t.TempDir(), t.TempDir(), []string{"gpu"}
			cfg.Listen, cfg.Monitor, cfg.Store = "0.0.0.0:4222", "127.0.0.1:8222", "/data/jetstream"
			if cfg.Cert != "" {
				cfg.Cert, cfg.Key = certificate(t)
			}
			if cfg.CA != "" {
				cfg.CA = cfg.Cert
			}
			o, err := server.ProcessConfigFile(write(t, cfg).File)
			if err != nil {
				t.Fatal(err)
			}
			if !o.SyncAlways || o.StoreDir != "/data/jetstream" || o.Port != 4222 || o.HTTPPort != 8222 || o.HTTPHost != "127.0.0.1" || o.SystemAccount != "SYS" {
				t.Errorf("options are %+v", o)
			}
			if (o.TLSConfig != nil) != (cfg.Cert != "") {
				t.Errorf("TLS is %v", o.TLSConfig)
			}
			if o.TLSConfig != nil && (o.TLSConfig.ClientAuth == tls.RequireAndVerifyClientCert) != (cfg.CA != "") {
				t.Errorf("clients: %s", o.TLSConfig.ClientAuth)
			}
			if want := len(bus.Users("gpu")) + 1; len(o.Nkeys) != want {
				t.Errorf("%d users, want %d", len(o.Nkeys), want)
			}
			for _, u := range o.Nkeys {
				if u.Account.Name != "SYS" && (u.Permissions == nil || len(u.Permissions.Publish.Allow) == 0 || len(u.Permissions.Subscribe.Allow) == 0) {
					t.Errorf("user %s has no limits", u.Nkey)
				}
			}
		})
	}
}

// certificate makes a certificate that signs itself.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &pair.PublicKey, pair)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
