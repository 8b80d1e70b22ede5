package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads compose files as Compose v2 does, by its own library.
func compose(t *testing.T, env string, profiles []string, files ...string) *types.Project {
	t.Helper()
	options := []cli.ProjectOptionsFn{cli.WithName("litci"), cli.WithWorkingDirectory("."), cli.WithProfiles(profiles)}
	if env != "" {
		options = append(options, cli.WithEnvFiles(env), cli.WithDotEnv)
	}
	o, err := cli.NewProjectOptions(files, options...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%v: %v", files, err)
	}
	return p
}

// mesh are the services that work for GitHub, without those that show them at work.
var mesh = append([]string{"setup", "nats", "provision"}, services...)

func TestProfilesOfCompose(t *testing.T) {
	t.Parallel()
	for profile, more := range map[string][]string{
		"":              nil,
		"demo":          {"fakegithub", "demo"},
		"observability": {"prometheus", "grafana", "collector"},
		"tools":         {"litci"},
	} {
		var profiles []string
		if profile != "" {
			profiles = []string{profile}
		}
		want := slices.Sorted(slices.Values(append(slices.Clone(mesh), more...)))
		p := compose(t, "", profiles, "compose.yaml")
		if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, want) {
			t.Errorf("profile %q starts %v, want %v", profile, got, want)
		}
		for name, s := range p.Services {
			for other := range s.DependsOn {
				if _, there := p.Services[other]; !there {
					t.Errorf("profile %q: %s waits for %s, which is not started", profile, name, other)
				}
			}
		}
	}
}

func TestContainersOfLitciHaveNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	p := compose(t, "", []string{"*"}, "compose.yaml")
	root := map[string]bool{"setup": true, "launcher": true, "watcher": true}
	for name, s := range p.Services {
		if slices.Contains([]string{"prometheus", "grafana", "collector"}, name) {
			continue
		}
		if (s.User != "65532:65532") != root[name] {
			t.Errorf("%s runs as %q", name, s.User)
		}
		if !root[name] && len(s.CapAdd) > 0 {
			t.Errorf("%s has capabilities: %v", name, s.CapAdd)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s may more than it needs: read only %v, dropped %v, %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		if s.MemLimit == 0 || s.PidsLimit == 0 || s.Logging == nil || s.Restart == "" {
			t.Errorf("%s has no bounds: memory %d, pids %d, logging %v, restart %q", name, s.MemLimit, s.PidsLimit, s.Logging, s.Restart)
		}
		published := map[string]bool{"ingress": true, "reporter": true}
		if published[name] != (len(s.Ports) == 1) {
			t.Errorf("%s publishes %v", name, s.Ports)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s listens on %q of the host", name, port.HostIP)
			}
		}
	}
	for _, name := range services {
		s := p.Services[name]
		if s.HealthCheck == nil || !slices.Equal(s.HealthCheck.Test, []string{"CMD", "/litci", "health"}) {
			t.Errorf("%s: health is %v", name, s.HealthCheck)
		}
		if s.Build == nil || s.Build.Args["SERVICE"] == nil || *s.Build.Args["SERVICE"] != name {
			t.Errorf("%s is built as %v", name, s.Build)
		}
	}
}

// A volume with a service's key is that service's and setup's.
func TestNoServiceSeesTheKeyOfAnother(t *testing.T) {
	t.Parallel()
	p := compose(t, "", []string{"*"}, "compose.yaml")
	for name, s := range p.Services {
		if name == "setup" {
			continue
		}
		for _, v := range s.Volumes {
			switch {
			case v.Type != types.VolumeTypeVolume || !strings.HasPrefix(v.Source, "keys"):
			case !v.ReadOnly:
				t.Errorf("%s may write to %s", name, v.Source)
			case v.Source != "keys-"+name && (v.Source != "keys" || name != "litci"):
				t.Errorf("%s sees %s", name, v.Source)
			}
		}
	}
	for _, name := range append([]string{"provision"}, services...) {
		if _, there := p.Volumes["keys-"+name]; !there {
			t.Errorf("there is no volume keys-%s", name)
		}
	}
}

func TestOnlyTheDockerOverrideHandsOutTheEngine(t *testing.T) {
	t.Parallel()
	holders := func(files ...string) (names []string) {
		for name, s := range compose(t, "", []string{"*"}, files...).Services {
			for _, v := range s.Volumes {
				if strings.Contains(v.Source+v.Target, "docker.sock") {
					names = append(names, name)
				}
			}
		}
		slices.Sort(names)
		return names
	}
	if got := holders("compose.yaml"); got != nil {
		t.Errorf("compose.yaml gives the engine to %v", got)
	}
	if got := holders("compose.yaml", "compose.docker.yaml"); !slices.Equal(got, []string{"launcher", "watcher"}) {
		t.Errorf("compose.docker.yaml gives the engine to %v", got)
	}
	p := compose(t, "", nil, "compose.yaml", "compose.docker.yaml")
	for _, name := range []string{"launcher", "watcher"} {
		s := p.Services[name]
		if s.User != "65532:65532" || s.Build.Target != "service" || s.Image != "litci/"+name+":dev" || *s.Environment["LITCI_EXECUTOR"] != "docker" {
			t.Errorf("%s: user %s, target %s, image %s, executor %s", name, s.User, s.Build.Target, s.Image, *s.Environment["LITCI_EXECUTOR"])
		}
	}
}

// The example as it is configures GitHub, and TLS with the override.
func TestTheExampleOfTheEnvironment(t *testing.T) {
	t.Parallel()
	p := compose(t, ".env.example", []string{"*"}, "compose.yaml", "compose.tls.yaml")
	for name, want := range map[string]string{
		"ingress LITCI_GITHUB_URL": "https://github.com", "planner LITCI_NATS_URL": "tls://nats:4222", "setup LITCI_NATS_URL": "tls://nats:4222",
		"watcher LITCI_EXECUTOR": "local", "reporter LITCI_PUBLIC_URL": "https://ci.example.com",
	} {
		service, variable, _ := strings.Cut(name, " ")
		if got := p.Services[service].Environment[variable]; got == nil || *got != want {
			t.Errorf("%s of %s is %v, want %q", variable, service, value(got), want)
		}
	}
	if ports := p.Services["nats"].Ports; len(ports) != 1 || ports[0].Target != 4222 {
		t.Errorf("nats publishes %v: its monitoring must not be reached", ports)
	}
}

// Consumers and users of the pools are made from one list, and what is spooled is on the disk.
func TestPoolsAndSpoolsOfCompose(t *testing.T) {
	t.Parallel()
	env := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(env, []byte("LITCI_POOLS=gpu,desk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][]string{{"compose.yaml"}, {"compose.yaml", "compose.docker.yaml"}} {
		p := compose(t, env, nil, files...)
		if got := p.Services["provision"].Command; !slices.Equal(got, []string{"provision", "--pool=gpu,desk"}) {
			t.Errorf("%v: provision is %q", files, got)
		}
		if got := p.Services["setup"].Environment["LITCI_POOLS"]; value(got) != `"gpu,desk"` {
			t.Errorf("%v: LITCI_POOLS of setup is %s", files, value(got))
		}
		for _, name := range []string{"launcher", "watcher"} {
			s := p.Services[name]
			dir := s.Environment["TMPDIR"]
			if dir == nil || !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == *dir && !v.ReadOnly }) {
				t.Errorf("%v: %s spools into %s, which is no volume", files, name, value(dir))
			}
		}
	}
}

// What stands in a container's environment is seen by everybody who may ask the engine.
func TestNoSecretIsAVariable(t *testing.T) {
	t.Parallel()
	env := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(env, []byte("LITCI_LIGHTNING_API_KEY_FILE=/keys/lightning\nLITCI_DOCKER_HOST=tcp://engine:2376\nLITCI_DOCKER_SOCKET=/dev/null\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := compose(t, env, []string{"*"}, "compose.yaml", "compose.docker.yaml")
	for name, s := range p.Services {
		for _, variable := range []string{"LITCI_LIGHTNING_API_KEY", "LITCI_PRIVATE_KEY", "LITCI_WEBHOOK_SECRET", "LITCI_NATS_PASSWORD"} {
			if _, there := s.Environment[variable]; there {
				t.Errorf("%s has %s", name, variable)
			}
		}
		for _, v := range s.Volumes {
			if v.Source == "/keys/lightning" && name != "setup" || v.Source == "/var/run/docker.sock" {
				t.Errorf("%s sees %s", name, v.Source)
			}
		}
	}
}

func value(s *string) string {
	if s == nil {
		return "missing"
	}
	return fmt.Sprintf("%q", *s)
}
