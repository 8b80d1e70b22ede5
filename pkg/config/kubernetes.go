package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// kubernetesSourceImage is the executor's default, as people are told it.
const kubernetesSourceImage = "docker.io/curlimages/curl"

// Kubernetes says where on a cluster jobs run, and how.
type Kubernetes struct {
	// Kubeconfig is a file; empty means the cluster of this process's own pod. Context is
	// one of the file; empty means its current one.
	Kubeconfig, Context string
	// Namespace is empty for the one of the context, or of litci's own pod.
	Namespace string
	// Instance tells installations in one namespace apart.
	Instance string
	// Profile is "restricted" or "baseline", User the user's number of restricted pods.
	Profile string
	User    int64
	// PullSecrets name Secrets with registries' credentials.
	PullSecrets []string
	// ServiceAccount is that of the pods.
	ServiceAccount string
	// SourceImage is empty for the executor's own choice.
	SourceImage string
	// StartDeadline bounds the wait for a pod's start, TroubleDeadline that for one whose
	// image cannot be pulled or that the cluster refuses.
	StartDeadline, TroubleDeadline time.Duration
	// Machines are the cluster's by the workflows' names.
	Machines map[string]machine.Kind
	// Labels and Annotations are added to each Job and its pod.
	Labels, Annotations map[string]string
	// LogHead and LogTail bound what is kept of a log, in bytes; 0 is the executor's own
	// choice.
	LogHead, LogTail int64
}

func (r *reader) kubernetes() Kubernetes {
	k := Kubernetes{
		Kubeconfig: r.text("kubernetes-kubeconfig"), Context: r.text("kubernetes-context"),
		Namespace: r.text("kubernetes-namespace"), Instance: r.text("kubernetes-instance"),
		Profile: r.text("kubernetes-profile"), User: r.number("kubernetes-user"),
		PullSecrets: r.list("kubernetes-pull-secrets"), ServiceAccount: r.text("kubernetes-service-account"),
		SourceImage:   r.text("kubernetes-source-image"),
		StartDeadline: r.duration("kubernetes-start-deadline"), TroubleDeadline: r.duration("kubernetes-trouble-deadline"),
		LogHead: r.number("kubernetes-log-head"), LogTail: r.number("kubernetes-log-tail"),
	}
	r.part("kubernetes-machines", &k.Machines)
	r.part("kubernetes-labels", &k.Labels)
	r.part("kubernetes-annotations", &k.Annotations)
	for _, name := range slices.Sorted(maps.Keys(k.Machines)) {
		if err := k.Machines[name].Check(); err != nil {
			r.problem("kubernetes-machines", "machine %s: %v", name, err)
		}
	}
	return k
}

// part decodes a value of the configuration file.
func (r *reader) part(key string, target any) {
	p, given := r.parts[key]
	if !given {
		return
	}
	if err := p.into(target); err != nil {
		r.problem(key, "%s: %v", p.where(), err)
	}
}

// list takes values separated by commas.
func (r *reader) list(key string) []string {
	var values []string
	for value := range strings.SplitSeq(r.text(key), ",") {
		if value = strings.TrimSpace(value); value != "" {
			values = append(values, value)
		}
	}
	return values
}

// checkKubernetes tells what jobs on a cluster lack. What only the cluster knows, the
// executor asks it.
func (c *Config) checkKubernetes(starts bool, wrong func(bad bool, key, format string, args ...any)) {
	k := c.Kubernetes
	wrong(k.Context != "" && k.Kubeconfig == "", "kubernetes-kubeconfig", " is missing: --kubernetes-context names one of its contexts")
	wrong(strings.Contains(k.Kubeconfig, ":"), "kubernetes-kubeconfig", ": %q is a list of files; name one: kubectl config view --flatten makes one of several", k.Kubeconfig)
	wrong(!slices.Contains([]string{"", "restricted", "baseline"}, k.Profile), "kubernetes-profile", ": %q is neither restricted nor baseline", k.Profile)
	wrong(starts && c.PublicURL == "", "public-url", " is missing: pods fetch their source from the report pages' address, which they must reach")
}
