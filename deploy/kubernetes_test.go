package deploy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/spf13/pflag"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
)

// object is what every manifest decodes into.
type object interface{ meta.Object }

// kinds are the types that manifests may be of, by apiVersion and kind.
var kinds = map[string]func() object{
	"v1 Namespace":                             func() object { return &core.Namespace{} },
	"v1 ServiceAccount":                        func() object { return &core.ServiceAccount{} },
	"v1 Service":                               func() object { return &core.Service{} },
	"v1 ConfigMap":                             func() object { return &core.ConfigMap{} },
	"apps/v1 Deployment":                       func() object { return &apps.Deployment{} },
	"batch/v1 Job":                             func() object { return &batch.Job{} },
	"policy/v1 PodDisruptionBudget":            func() object { return &policy.PodDisruptionBudget{} },
	"networking.k8s.io/v1 NetworkPolicy":       func() object { return &networking.NetworkPolicy{} },
	"rbac.authorization.k8s.io/v1 Role":        func() object { return &rbac.Role{} },
	"rbac.authorization.k8s.io/v1 RoleBinding": func() object { return &rbac.RoleBinding{} },
	"keda.sh/v1alpha1 ScaledObject":            func() object { return &keda.ScaledObject{} },
	"monitoring.coreos.com/v1 ServiceMonitor":  func() object { return &monitoring.ServiceMonitor{} },
}

// built is an overlay as a cluster would get it.
type built struct {
	t       *testing.T
	objects []object
}

// build runs kustomize over an overlay and decodes what comes of it, strictly.
func build(t *testing.T, overlay string) built {
	t.Helper()
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("kubernetes", "overlays", overlay))
	if err != nil {
		t.Fatal(err)
	}
	b := built{t: t}
	for _, r := range result.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kind := r.GetGvk().ApiVersion() + " " + r.GetKind()
		fresh, known := kinds[kind]
		if !known {
			t.Errorf("%s is of a kind that no type checks: %s", r.GetName(), kind)
			continue
		}
		o := fresh()
		if err := yaml.UnmarshalStrict(text, o); err != nil {
			t.Errorf("%s %s: %v", kind, r.GetName(), err)
		}
		b.objects = append(b.objects, o)
	}
	return b
}

// all are the objects of a type.
func all[T object](b built) (found []T) {
	for _, o := range b.objects {
		if one, is := o.(T); is {
			found = append(found, one)
		}
	}
	if len(found) == 0 {
		b.t.Errorf("there is no %T", *new(T))
	}
	return found
}

// named is the object of a type with a name, as references give it.
func named[T object](b built, namespace, name string) (T, bool) {
	for _, o := range all[T](b) {
		if o.GetName() == name && o.GetNamespace() == namespace {
			return o, true
		}
	}
	var none T
	return none, false
}

// pod is what runs: a service, or the provisioning.
type pod struct {
	service   string
	namespace string
	name      string
	labels    map[string]string
	spec      core.PodSpec
}

func (b built) pods() (found []pod) {
	add := func(o object, template core.PodTemplateSpec) {
		found = append(found, pod{template.Labels[component], o.GetNamespace(), o.GetName(), template.Labels, template.Spec})
	}
	for _, d := range all[*apps.Deployment](b) {
		add(d, d.Spec.Template)
	}
	for _, j := range all[*batch.Job](b) {
		add(j, j.Spec.Template)
	}
	return found
}

const component = "app.kubernetes.io/component"

// overlays runs a test on every overlay.
func overlays(t *testing.T, test func(t *testing.T, b built)) {
	entries, err := os.ReadDir(filepath.Join("kubernetes", "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 2 {
		t.Fatalf("%d overlays", len(entries))
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) { test(t, build(t, e.Name())) })
	}
}

func TestEveryServiceIsComplete(t *testing.T) {
	overlays(t, func(t *testing.T, b built) {
		for _, service := range services {
			name := "litci-" + service
			d, ok := named[*apps.Deployment](b, "litci", name)
			if !ok {
				t.Errorf("%s has no Deployment", service)
				continue
			}
			if d.Spec.Template.Labels[component] != service {
				t.Errorf("%s has the label %s", name, d.Spec.Template.Labels[component])
			}
			if _, ok := named[*core.ServiceAccount](b, "litci", name); !ok {
				t.Errorf("%s has no ServiceAccount", service)
			}
			if _, ok := named[*core.Service](b, "litci", name); !ok {
				t.Errorf("%s has no Service", service)
			}
			if _, ok := named[*policy.PodDisruptionBudget](b, "litci", name); !ok {
				t.Errorf("%s has no PodDisruptionBudget", service)
			}
			if _, ok := named[*monitoring.ServiceMonitor](b, "litci", name); !ok {
				t.Errorf("%s has no ServiceMonitor", service)
			}
			if _, ok := named[*keda.ScaledObject](b, "litci", name); !ok {
				t.Errorf("%s has no ScaledObject", service)
			}
			if d.Spec.Replicas != nil {
				t.Errorf("%s has replicas, which are the autoscaler's", service)
			}
		}
	})
}

// Settings that are secret have no flag.
var secretSettings = map[string][]string{
	"LITCI_LIGHTNING_API_KEY": {"launcher", "watcher"},
}

// settingsOf are the environment variables that a service reads.
func settingsOf(service string) map[string]bool {
	of := []string{service}
	if service == "provision" {
		of = append(of, "nats") // as litci provision takes them
	}
	flags := pflag.NewFlagSet(service, pflag.ContinueOnError)
	config.AddFlags(flags, of...)
	known := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { known["LITCI_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))] = true })
	for name, services := range secretSettings {
		if slices.Contains(services, service) {
			known[name] = true
		}
	}
	return known
}

func TestSettingsAreThoseOfTheService(t *testing.T) {
	overlays(t, func(t *testing.T, b built) {
		for _, p := range b.pods() {
			known, has := settingsOf(p.service), map[string]bool{}
			c := p.spec.Containers[0]
			for _, from := range c.EnvFrom {
				m, ok := named[*core.ConfigMap](b, p.namespace, from.ConfigMapRef.Name)
				if !ok {
					t.Errorf("%s: there is no ConfigMap %s", p.name, from.ConfigMapRef.Name)
					continue
				}
				for name := range m.Data {
					has[name] = true
				}
			}
			for _, env := range c.Env {
				has[env.Name] = true
			}
			for name := range has {
				if !known[name] {
					t.Errorf("%s has the setting %s, which is none of %s", p.name, name, p.service)
				}
			}
			needs := []string{"LITCI_NATS_URL", "LITCI_NATS_NKEY", "LITCI_ADMIN_LISTEN"}
			switch p.service {
			case "ingress":
				needs = append(needs, "LITCI_WEBHOOK_SECRET_FILE", "LITCI_APP_ID", "LITCI_PRIVATE_KEY_FILE")
			case "planner":
				needs = append(needs, "LITCI_APP_ID", "LITCI_PRIVATE_KEY_FILE")
			case "reporter":
				needs = append(needs, "LITCI_APP_ID", "LITCI_PRIVATE_KEY_FILE", "LITCI_PUBLIC_URL")
			case "launcher":
				needs = append(needs, "LITCI_EXECUTOR", "LITCI_PUBLIC_URL")
			case "watcher":
				needs = append(needs, "LITCI_EXECUTOR")
			}
			for _, name := range needs {
				if !has[name] {
					t.Errorf("%s has no %s", p.name, name)
				}
			}
			for name := range has {
				if (p.service == "launcher" || p.service == "watcher") && strings.Contains(name, "PRIVATE_KEY") {
					t.Errorf("%s has a credential of GitHub: %s", p.name, name)
				}
			}
		}
	})
}

// documentedSecrets are the Secrets and ConfigMaps that somebody makes, with their
// keys, from the table in docs/kubernetes.md.
func documentedSecrets(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| (?:Secret|ConfigMap) `([a-z-]+)` \\|([^|]*)\\|")
	key := regexp.MustCompile("`([^`]+)`")
	found := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		for _, k := range key.FindAllStringSubmatch(m[2], -1) {
			found[m[1]] = append(found[m[1]], k[1])
		}
	}
	if len(found) < 8 {
		t.Fatalf("docs/kubernetes.md lists %d Secrets and ConfigMaps; the table has another form than this test reads", len(found))
	}
	return found
}

// files are the paths that a pod's volumes hold.
func files(t *testing.T, p pod, documented map[string][]string) map[string]bool {
	t.Helper()
	paths := map[string]bool{}
	for _, m := range p.spec.Containers[0].VolumeMounts {
		at := slices.IndexFunc(p.spec.Volumes, func(v core.Volume) bool { return v.Name == m.Name })
		if at < 0 {
			t.Errorf("%s mounts %s, which is no volume", p.name, m.Name)
			continue
		}
		from := ""
		switch v := p.spec.Volumes[at]; {
		case v.Secret != nil:
			from = v.Secret.SecretName
			if v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
				t.Errorf("%s: files of %s have another mode than 0440", p.name, from)
			}
		case v.ConfigMap != nil:
			from = v.ConfigMap.Name
		case v.EmptyDir != nil:
			continue
		default:
			t.Errorf("%s: volume %s is of a kind that is not expected", p.name, v.Name)
			continue
		}
		if len(documented[from]) == 0 {
			t.Errorf("%s mounts %s, which docs/kubernetes.md does not list", p.name, from)
		}
		for _, key := range documented[from] {
			paths[m.MountPath+"/"+key] = true
		}
	}
	return paths
}

func TestSecretsAreFilesThatAreDocumented(t *testing.T) {
	documented := documentedSecrets(t)
	used := map[string]bool{}
	overlays(t, func(t *testing.T, b built) {
		for _, p := range b.pods() {
			paths := files(t, p, documented)
			for _, v := range p.spec.Volumes {
				if v.Secret != nil {
					used[v.Secret.SecretName] = true
				}
				if v.ConfigMap != nil {
					used[v.ConfigMap.Name] = true
				}
			}
			check := func(name, value string) {
				if strings.HasPrefix(value, "/etc/litci/") && !paths[value] {
					t.Errorf("%s: %s names %s, which no Secret holds", p.name, name, value)
				}
			}
			c := p.spec.Containers[0]
			for _, env := range c.Env {
				check(env.Name, env.Value)
				if env.ValueFrom == nil {
					continue
				}
				ref := env.ValueFrom.SecretKeyRef
				used[ref.Name] = true
				if !slices.Contains(documented[ref.Name], ref.Key) {
					t.Errorf("%s: %s is the key %s of Secret %s, which docs/kubernetes.md does not list", p.name, env.Name, ref.Key, ref.Name)
				}
			}
			for _, from := range c.EnvFrom {
				if m, ok := named[*core.ConfigMap](b, p.namespace, from.ConfigMapRef.Name); ok {
					for name, value := range m.Data {
						check(name, value)
					}
				}
			}
			if want := "litci-nats-" + p.service; !slices.ContainsFunc(p.spec.Volumes, func(v core.Volume) bool { return v.Secret != nil && v.Secret.SecretName == want }) {
				t.Errorf("%s does not sign in with the key of its own, %s", p.name, want)
			}
		}
	})
	used["litci-nats-users"] = true // the chart's values
	for name := range documented {
		if !used[name] {
			t.Errorf("docs/kubernetes.md lists %s, which nothing uses", name)
		}
	}
}

func TestPodsAreRestricted(t *testing.T) {
	overlays(t, func(t *testing.T, b built) {
		for _, p := range b.pods() {
			s := p.spec.SecurityContext
			if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: the pod is not restricted", p.name)
			}
			token := p.spec.AutomountServiceAccountToken
			if token == nil || *token && p.service != "launcher" && p.service != "watcher" {
				t.Errorf("%s: it may speak to the cluster", p.name)
			}
			for _, c := range p.spec.Containers {
				s := c.SecurityContext
				if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
					s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
					t.Errorf("%s: the container is not restricted", p.name)
				}
				if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
					t.Errorf("%s: resources are missing", p.name)
				}
				if p.service == "provision" {
					continue
				}
				for path, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
					if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != "admin" {
						t.Errorf("%s: %s is not asked for at the admin port", p.name, path)
					}
				}
			}
			if _, ok := named[*core.ServiceAccount](b, p.namespace, p.spec.ServiceAccountName); !ok {
				t.Errorf("%s: there is no ServiceAccount %s", p.name, p.spec.ServiceAccountName)
			}
		}
	})
}

// selected are the pods that a selector matches.
func selected(t *testing.T, pods []pod, namespace string, s *meta.LabelSelector) (found []string) {
	t.Helper()
	selector, err := meta.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.namespace == namespace && selector.Matches(labels.Set(p.labels)) {
			found = append(found, p.service)
		}
	}
	return found
}

func TestSelectorsMatch(t *testing.T) {
	overlays(t, func(t *testing.T, b built) {
		pods := b.pods()
		one := func(o object, s *meta.LabelSelector) {
			want := o.GetLabels()[component]
			if got := selected(t, pods, o.GetNamespace(), s); !slices.Equal(got, []string{want}) {
				t.Errorf("%T %s selects %q", o, o.GetName(), got)
			}
		}
		for _, d := range all[*apps.Deployment](b) {
			one(d, d.Spec.Selector)
		}
		for _, d := range all[*policy.PodDisruptionBudget](b) {
			one(d, d.Spec.Selector)
		}
		for _, s := range all[*core.Service](b) {
			one(s, &meta.LabelSelector{MatchLabels: s.Spec.Selector})
			d, _ := named[*apps.Deployment](b, s.Namespace, s.Name)
			for _, port := range s.Spec.Ports {
				if !slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.Name == port.TargetPort.String() }) {
					t.Errorf("Service %s sends to the port %s, which there is none of", s.Name, port.TargetPort.String())
				}
			}
		}
		for _, m := range all[*monitoring.ServiceMonitor](b) {
			selector := labels.SelectorFromSet(m.Spec.Selector.MatchLabels)
			n := 0
			for _, s := range all[*core.Service](b) {
				if s.Namespace != m.Namespace || !selector.Matches(labels.Set(s.Labels)) {
					continue
				}
				n++
				if s.Labels[m.Spec.JobLabel] != m.Labels[component] {
					t.Errorf("ServiceMonitor %s gives the job the name %q", m.Name, s.Labels[m.Spec.JobLabel])
				}
				for _, e := range m.Spec.Endpoints {
					if !slices.ContainsFunc(s.Spec.Ports, func(p core.ServicePort) bool { return p.Name == e.Port }) {
						t.Errorf("ServiceMonitor %s asks at the port %s, which Service %s has not", m.Name, e.Port, s.Name)
					}
				}
			}
			if n != 1 {
				t.Errorf("ServiceMonitor %s selects %d Services", m.Name, n)
			}
		}
	})
}

func TestAutoscalersNameWhatExists(t *testing.T) {
	lags, err := bustest.New(t).Lags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile("../pkg/bus/serverconfig/nats-server.conf.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	thresholds := map[string]string{"planner": "20", "launcher": "50", "watcher": "2000", "reporter": "20"}
	overlays(t, func(t *testing.T, b built) {
		covered := map[string]bool{}
		for _, s := range all[*keda.ScaledObject](b) {
			service := s.Labels[component]
			if _, ok := named[*apps.Deployment](b, s.Namespace, s.Spec.ScaleTargetRef.Name); !ok || s.Spec.ScaleTargetRef.Name != "litci-"+service {
				t.Errorf("%s scales %s", s.Name, s.Spec.ScaleTargetRef.Name)
			}
			if s.Spec.MinReplicaCount == nil || *s.Spec.MinReplicaCount < 1 || *s.Spec.MaxReplicaCount < *s.Spec.MinReplicaCount {
				t.Errorf("%s: from %v to %v", s.Name, s.Spec.MinReplicaCount, s.Spec.MaxReplicaCount)
			}
			for _, trigger := range s.Spec.Triggers {
				if service == "ingress" && trigger.Type == "cpu" {
					continue
				}
				m := trigger.Metadata
				known := slices.ContainsFunc(lags, func(l bus.Lag) bool { return l.Stream == m["stream"] && l.Durable == m["consumer"] })
				switch {
				case trigger.Type != "nats-jetstream":
					t.Errorf("%s: trigger %s", s.Name, trigger.Type)
				case !known:
					t.Errorf("%s: there is no consumer %s/%s", s.Name, m["stream"], m["consumer"])
				case m["lagThreshold"] != thresholds[service]:
					t.Errorf("%s: threshold %s", s.Name, m["lagThreshold"])
				case !bytes.Contains(conf, []byte("\n  "+m["account"]+" {")):
					t.Errorf("%s: there is no account %s", s.Name, m["account"])
				case !strings.HasSuffix(m["natsServerMonitoringEndpoint"], ":8222"):
					t.Errorf("%s: monitoring at %s", s.Name, m["natsServerMonitoringEndpoint"])
				}
				covered[m["stream"]+"/"+m["consumer"]] = true
			}
		}
		for _, l := range lags {
			if !covered[l.Stream+"/"+l.Durable] {
				t.Errorf("nothing scales by %s/%s", l.Stream, l.Durable)
			}
		}
	})
}

// Every pod is behind the policy that denies, and may reach NATS and names; who speaks
// to GitHub, takes webhooks or serves pages may, and nobody else.
func TestNetworkPolicies(t *testing.T) {
	overlays(t, func(t *testing.T, b built) {
		pods := b.pods()
		everybody := selected(t, pods, "litci", &meta.LabelSelector{})
		for name, want := range map[string][]string{
			"litci-deny": everybody, "litci-dns": everybody, "litci-nats": everybody, "litci-metrics": everybody,
			"litci-github": {"ingress", "planner", "reporter"}, "litci-webhooks": {"ingress"}, "litci-pages": {"reporter"},
		} {
			p, ok := named[*networking.NetworkPolicy](b, "litci", name)
			if !ok {
				t.Errorf("there is no policy %s", name)
				continue
			}
			got := selected(t, pods, "litci", &p.Spec.PodSelector)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s is for %q, want %q", name, got, want)
			}
			if name == "litci-deny" && (len(p.Spec.PolicyTypes) != 2 || len(p.Spec.Ingress)+len(p.Spec.Egress) > 0) {
				t.Error("litci-deny allows something")
			}
		}
		for _, p := range all[*networking.NetworkPolicy](b) {
			for _, rule := range p.Spec.Ingress {
				for _, port := range rule.Ports {
					if got := selected(t, pods, p.Namespace, &p.Spec.PodSelector); len(got) == 1 && !listens(b, "litci-"+got[0], port.Port.IntVal) {
						t.Errorf("%s lets in to port %d, on which %s does not listen", p.Name, port.Port.IntVal, got[0])
					}
				}
			}
		}
	})
}

func listens(b built, deployment string, port int32) bool {
	d, ok := named[*apps.Deployment](b, "litci", deployment)
	return ok && slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.ContainerPort == port })
}

// The Kubernetes executor has the rights of role.yaml, in the namespace of its jobs.
func TestExecutorHasItsRole(t *testing.T) {
	own, err := os.ReadFile(filepath.Join("kubernetes", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join("kubernetes", "components", "executor-kubernetes", "role.yaml"))
	if err != nil || !bytes.Equal(own, copied) {
		t.Errorf("components/executor-kubernetes/role.yaml is not a copy of role.yaml any more, %v", err)
	}
	b := build(t, "executor")
	binding, ok := named[*rbac.RoleBinding](b, "ci", "litci-services")
	if !ok {
		t.Fatal("there is no binding")
	}
	if _, ok := named[*rbac.Role](b, "ci", binding.RoleRef.Name); !ok {
		t.Errorf("there is no Role %s in the namespace", binding.RoleRef.Name)
	}
	if len(binding.Subjects) != 2 {
		t.Errorf("%d subjects", len(binding.Subjects))
	}
	for _, s := range binding.Subjects {
		account, ok := named[*core.ServiceAccount](b, s.Namespace, s.Name)
		d, has := named[*apps.Deployment](b, s.Namespace, s.Name)
		if !ok || !has || d.Spec.Template.Spec.ServiceAccountName != account.Name || !*d.Spec.Template.Spec.AutomountServiceAccountToken {
			t.Errorf("%s/%s is bound, and nobody is it", s.Namespace, s.Name)
		}
	}
	for _, o := range b.objects {
		if _, cluster := o.(*core.Namespace); !cluster && o.GetNamespace() == "" {
			t.Errorf("%s is in no namespace", fmt.Sprintf("%T %s", o, o.GetName()))
		}
	}
}
