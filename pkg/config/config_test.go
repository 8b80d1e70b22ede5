package config_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/workflow"
)

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(f, "ingress", "planner", "launcher", "watcher", "reporter", "nats")
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func key(t *testing.T) string {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
}

func TestStrongestSourceWins(t *testing.T) {
	file := write(t, "litci.yaml", "slots: 3\nqueue-timeout: 5m\n")
	dotEnv := write(t, ".env", "LITCI_SLOTS=4\n")
	cases := []struct {
		name string
		args []string
		env  []string
		dot  string
		want int
	}{
		{"file over default", []string{"--config", file}, []string{}, "", 3},
		{".env over file", []string{"--config", file}, []string{}, dotEnv, 4},
		{"environment over .env", []string{"--config", file}, []string{"LITCI_SLOTS=5"}, dotEnv, 5},
		{"flag over environment", []string{"--config", file, "--slots", "6"}, []string{"LITCI_SLOTS=5"}, dotEnv, 6},
		{"file named by the environment", nil, []string{"LITCI_CONFIG=" + file}, "", 3},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := config.Load(flags(t, c.args...), config.Options{DotEnv: c.dot, Environ: c.env})
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Slots != c.want {
				t.Errorf("slots is %d, want %d", cfg.Slots, c.want)
			}
		})
	}
}

func TestNamesOfOlderBotsAreUnderstood(t *testing.T) {
	pem := key(t)
	path := write(t, "key.pem", pem)
	for _, env := range [][]string{
		{"GITHUB_APP_ID=7", "GITHUB_PRIVATE_KEY=" + pem, "WEBHOOK_SECRET=s", "JOB_QUEUE_TIMEOUT=90", "NATS_URL=nats://x"},
		{"GH_APP_ID=7", "GH_PRIVATE_KEY=" + strings.ReplaceAll(pem, "\n", `\n`), "GH_WEBHOOK_SECRET=s", "JOB_QUEUE_TIMEOUT=90s", "NATS_URL=nats://x"},
		{"GITHUB_APP_ID=7", "PRIVATE_KEY_PATH=" + path, "WEBHOOK_SECRET=s", "JOB_QUEUE_TIMEOUT=1m30s", "NATS_URL=nats://x"},
		{"GITHUB_APP_ID=8", "LITCI_APP_ID=7", "PRIVATE_KEY=" + pem, "WEBHOOK_SECRET=s", "JOB_QUEUE_TIMEOUT=90", "NATS_URL=nats://x"},
	} {
		cfg, err := config.Load(flags(t), config.Options{Environ: env})
		if err != nil {
			t.Fatal(err)
		}
		if cfg.AppID != 7 || strings.TrimSpace(string(cfg.PrivateKey)) != strings.TrimSpace(pem) || !slices.Equal(cfg.WebhookSecrets, []string{"s"}) ||
			cfg.QueueTimeout != 90*time.Second || cfg.NATS.URL != "nats://x" {
			t.Errorf("%d, %d bytes of key, %d secrets, %s, %s", cfg.AppID, len(cfg.PrivateKey), len(cfg.WebhookSecrets), cfg.QueueTimeout, cfg.NATS.URL)
		}
	}
}

func TestLightning(t *testing.T) {
	t.Parallel()
	env := []string{"LIGHTNING_USER_ID=u", "LIGHTNING_API_KEY=k", "LIGHTNING_TEAMSPACE=acme/ci", "LITCI_PUBLIC_URL=https://ci.example.com/"}
	cfg, err := config.Load(flags(t, "--nats-url", "nats://x", "--executor", "lightning", "--lightning-machines", "A100=lit-a100-80gb-1, big=cpu-16"),
		config.Options{Environ: env}, "launcher", "watcher")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Lightning{
		UserID: "u", APIKey: "k", Teamspace: "acme/ci",
		Machines: map[string]string{"A100": "lit-a100-80gb-1", "big": "cpu-16"},
	}
	if !reflect.DeepEqual(cfg.Lightning, want) {
		t.Errorf("%+v, want %+v", cfg.Lightning, want)
	}
	file := write(t, "key", "k\n")
	cfg, err = config.Load(flags(t, "--nats-url", "nats://x", "--executor", "lightning", "--lightning-api-key-file", file), config.Options{Environ: []string{}}, "watcher")
	if err != nil || cfg.Lightning.APIKey != "k" {
		t.Errorf("the key of the file is %q, %v", cfg.Lightning.APIKey, err)
	}
	for path, complaint := range map[string]string{write(t, "none", "\n"): "LIGHTNING_API_KEY is missing", "nowhere": "nowhere"} {
		_, err := config.Load(flags(t, "--nats-url", "nats://x", "--executor", "lightning", "--lightning-api-key-file", path), config.Options{Environ: []string{}}, "watcher")
		if err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("key file %s: %v, not %q", path, err, complaint)
		}
	}
	_, err = config.Load(flags(t, "--nats-url", "nats://x", "--executor", "lightning", "--lightning-api-key-file", file), config.Options{Environ: env}, "watcher")
	if err == nil || !strings.Contains(err.Error(), "keep one") {
		t.Errorf("two keys: %v", err)
	}
	// A key that belongs to a teamspace needs nothing beside it.
	if _, err := config.Load(flags(t, "--nats-url", "nats://x", "--executor", "lightning"), config.Options{Environ: []string{"LIGHTNING_API_KEY=k"}}, "watcher"); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreAListForRotation(t *testing.T) {
	cfg, err := config.Load(flags(t), config.Options{Environ: []string{"LITCI_WEBHOOK_SECRET=new, old,"}})
	if err != nil || !slices.Equal(cfg.WebhookSecrets, []string{"new", "old"}) {
		t.Errorf("%q, %v", cfg.WebhookSecrets, err)
	}
	file := write(t, "secrets", "new\nold\n\n")
	cfg, err = config.Load(flags(t, "--webhook-secret-file", file), config.Options{Environ: []string{}})
	if err != nil || !slices.Equal(cfg.WebhookSecrets, []string{"new", "old"}) {
		t.Errorf("%q, %v", cfg.WebhookSecrets, err)
	}
}

func TestWhatIsMissingStandsBesideWhatIsWrong(t *testing.T) {
	_, err := config.Load(flags(t, "--slots", "many"), config.Options{Environ: []string{}}, "ingress", "planner", "launcher")
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"many"`, "LITCI_WEBHOOK_SECRET", "--app-id", "--private-key-file", "--nats-url"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "--slots"); n != 1 {
		t.Errorf("--slots is named %d times in:\n%v", n, err)
	}
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	env := []string{"LITCI_WEBHOOK_SECRET=s", "LITCI_APP_ID=1", "LITCI_PRIVATE_KEY=" + key(t)}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--nats-url", "nats://x", "--nats-listen", "127.0.0.1:4333"}, "keep one"},
		{[]string{"--listen", ":9000", "--pages-listen", ":9000"}, "same address"},
		{[]string{"--listen", "127.0.0.1:0", "--pages-listen", "127.0.0.1:0"}, ""},
		{[]string{"--listen", "everywhere"}, "--listen"},
		{[]string{"--nats-replicas", "0"}, "--nats-replicas"},
		{[]string{"--nats-max-bytes", "5"}, "--nats-max-bytes"},
		{nil, ""},
	} {
		_, err := config.Load(flags(t, c.args...), config.Options{Environ: env}, "nats", "ingress", "planner", "launcher", "watcher", "reporter")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestEverythingWrongIsListedAtOnce(t *testing.T) {
	bad := write(t, "litci.yaml", "slotz: 3\n")
	_, err := config.Load(flags(t, "--config", bad, "--slots", "many", "--queue-timeout", "soon", "--public-url", "ci.example.com"),
		config.Options{Environ: []string{"LITCI_PRIVATE_KEY=nonsense"}})
	var all *config.Error
	if !errors.As(err, &all) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{`"slotz"`, "--slots", "--queue-timeout", "--public-url", "private key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the key stands in the message:\n%v", err)
	}
}

func TestValidateListsWhatTheServicesLack(t *testing.T) {
	cases := []struct {
		name     string
		services []string
		args     []string
		want     []string
	}{
		{"ingress needs a secret", []string{"ingress"}, nil, []string{"LITCI_WEBHOOK_SECRET"}},
		{"planner needs the App", []string{"planner"}, nil, []string{"--app-id", "--private-key-file"}},
		{"launcher needs a known executor and a slot", []string{"launcher"}, []string{"--executor", "cloud", "--slots", "0"}, []string{"cloud", "--slots"}},
		{"one way to sign in", []string{"launcher"}, []string{"--nats-creds", "a", "--nats-user", "b"}, []string{"keep one"}},
		{"certificate with key", []string{"launcher"}, []string{"--nats-cert", "a"}, []string{"--nats-key"}},
		{"log level and format", []string{"launcher"}, []string{"--log-level", "loud", "--log-format", "xml"}, []string{"loud", "xml"}},
		{"a pool is one word", []string{"launcher"}, []string{"--pool", "gpu.desk"}, []string{"--pool", "gpu.desk", "letters, digits, - and _, at most 64"}},
		{"a pool is no pattern", []string{"watcher"}, []string{"--pool", "*"}, []string{"--pool", "letters, digits"}},
		{
			"Lightning AI needs credentials and an address",
			[]string{"launcher", "watcher"},
			[]string{"--executor", "lightning", "--lightning-teamspace", "acme/ci", "--lightning-machines", "A100"},
			[]string{"LITCI_LIGHTNING_API_KEY or LIGHTNING_API_KEY is missing", "LIGHTNING_USER_ID) is missing", "--public-url", `"A100" is not a pair`},
		},
		{
			"an account has several teamspaces",
			[]string{"watcher"},
			[]string{"--executor", "lightning", "--lightning-user-id", "u"},
			[]string{"--lightning-teamspace (LITCI_LIGHTNING_TEAMSPACE, LIGHTNING_TEAMSPACE) is missing", "LIGHTNING_API_KEY"},
		},
		{"launcher needs nothing of GitHub", []string{"launcher", "watcher"}, nil, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Load(flags(t, append(c.args, "--nats-url", "nats://x")...), config.Options{Environ: []string{}}, c.services...)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("%v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in:\n%v", want, err)
				}
			}
		})
	}
}

// A pool that a workflow cannot ask for is of no use, and one that only a workflow
// can name is served by nobody.
func TestPoolsAreNamedAsInWorkflows(t *testing.T) {
	for _, name := range []string{
		"gpu", "gpu-desk", "GPU_2", "default", "-", strings.Repeat("x", 64), strings.Repeat("x", 65),
		"gpu.desk", "*", ">", "gpu desk", "gpu/desk", "gerät", "gpu\n",
	} {
		set := workflow.Load([]workflow.File{{Path: workflow.SingleFile, Data: fmt.Appendf(nil, "run: 'true'\npool: %q\n", name)}})
		asked := len(set.Workflows) == 1 && set.Workflows[0].Pool == name
		file := write(t, "litci.yaml", fmt.Sprintf("pool: %q\n", name))
		cfg, err := config.Load(flags(t, "--config", file, "--nats-url", "nats://x"), config.Options{Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		// Spaces around a setting are cut away.
		if served := cfg.Validate("launcher") == nil && cfg.Pool == name; served != asked {
			t.Errorf("pool %q: a workflow may ask for it %t, a launcher may serve it %t", name, asked, served)
		}
	}
}

func TestSecretsHaveNoFlag(t *testing.T) {
	f := flags(t)
	for _, name := range []string{"webhook-secret", "private-key", "nats-password", "lightning-api-key"} {
		if f.Lookup(name) != nil {
			t.Errorf("--%s exists: arguments show in the list of processes", name)
		}
	}
}

func TestAnOperatorNeedsNoSecretsOfServices(t *testing.T) {
	environ := []string{"LITCI_PRIVATE_KEY_FILE=nowhere.pem", "LITCI_SLOTS=many", "LITCI_DATA=here"}
	cfg, err := config.Load(flags(t), config.Options{Environ: environ}, config.Operator)
	if err != nil || cfg.Data != "here" {
		t.Errorf("settings of an operator: %+v, %v", cfg, err)
	}
	if _, err := config.Load(flags(t), config.Options{Environ: environ}, config.Operator, config.Preview); err == nil || !strings.Contains(err.Error(), "nowhere.pem") || strings.Contains(err.Error(), "many") {
		t.Errorf("settings of a preview: %v", err)
	}
	if _, err := config.Load(flags(t), config.Options{Environ: []string{"LITCI_NATS_USER=a", "LITCI_NATS_NKEY=b"}}, config.Operator); err == nil {
		t.Error("two ways to sign in were taken")
	}
}
