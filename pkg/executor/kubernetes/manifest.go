package kubernetes

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
	"github.com/litci/litci/pkg/executor/wrapper"
)

//go:embed source.sh
var sourceScript string

//go:embed begin.sh
var beginScript string

// Labels and annotations. Labels find, annotations tell.
const (
	managedLabel  = "app.kubernetes.io/managed-by"
	jobLabel      = "litci.dev/job"
	hashLabel     = "litci.dev/hash"
	instanceLabel = "litci.dev/instance"
	removedLabel  = "litci.dev/removed"

	// stopAnnotation asks for the end: on a Job with the time of the request, on a pod
	// with the grace alone, in milliseconds.
	stopAnnotation = "litci.dev/stop"
	// endAnnotation is the final state of a job that its pod cannot tell.
	endAnnotation = "litci.dev/end"
)

// Containers and their folders.
const (
	jobContainer    = "job"
	sourceContainer = "source"

	jobFolder     = "/litci/job"
	partsFolder   = "/litci/parts"
	controlFolder = "/litci/control"
	finalFile     = "/dev/termination-log"
)

const (
	// maxSecret is the API's limit for what a Secret holds.
	maxSecret = 1 << 20
	// maxEnvironment leaves room within the kernel's usual limit for all variables.
	maxEnvironment = 1 << 20
	// endSlack is what a pod is granted beyond the grace: the end must still be told.
	endSlack = 15 * time.Second
	// deadlineSlack is how much later than the wrapper's own deadline the cluster's is,
	// which takes log and exit code away.
	deadlineSlack = time.Minute
)

// hashOf makes a label's value of a Spec's hash.
func hashOf(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:16])
}

// selector finds the objects of this installation.
func (e *Executor) selector() string {
	return managedLabel + "=litci," + instanceLabel + "=" + e.config.Instance
}

func (e *Executor) labels(spec executor.Spec) map[string]string {
	labels := maps.Clone(e.config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[managedLabel], labels[instanceLabel] = "litci", e.config.Instance
	labels[jobLabel], labels[hashLabel] = spec.ID, hashOf(spec.Hash)
	return labels
}

func pointer[T any](value T) *T { return &value }

// manifest is the Job.
func (e *Executor) manifest(spec executor.Spec, m machine.Kind) *job {
	labels := e.labels(spec)
	seconds := int64((e.config.StartDeadline + spec.Timeout + spec.Grace + deadlineSlack + time.Second - 1) / time.Second)
	if spec.Timeout == 0 {
		seconds = 0
	}
	return &job{
		APIVersion: "batch/v1", Kind: "Job",
		Metadata: meta{Name: spec.ID, Namespace: e.config.Namespace, Labels: labels, Annotations: e.config.Annotations},
		Spec: jobSpec{
			Parallelism: 1, Completions: 1, BackoffLimit: 0,
			Deadline: seconds, TTL: int64(e.config.Retention / time.Second),
			// A second pod is made by nobody but us, under another name.
			Replacement: "Failed",
			PodFailurePolicy: &failurePolicy{Rules: []failureRule{{
				Action: "FailJob", OnPodConditions: []conditionPattern{{Type: "DisruptionTarget", Status: "True"}},
			}}},
			Template: podTemplate{
				Metadata: meta{Labels: labels, Annotations: e.config.Annotations},
				Spec:     e.pod(spec, m),
			},
		},
	}
}

func (e *Executor) pod(spec executor.Spec, m machine.Kind) podSpec {
	jobMount := mount{Name: "job", Path: jobFolder}
	p := podSpec{
		RestartPolicy: "Never", MountToken: pointer(false), ServiceLinks: pointer(false), ServiceAccount: e.config.ServiceAccount,
		TerminationSeconds: int64((spec.Grace + endSlack + time.Second - 1) / time.Second),
		NodeSelector:       m.Nodes.Selector, Tolerations: m.Nodes.Tolerations,
		RuntimeClass: m.RuntimeClass, PriorityClass: m.PriorityClass,
		InitContainers: []container{{
			Name: sourceContainer, Image: e.config.SourceImage,
			Command:    []string{"sh", "-c", literal(wrapper.Fetch() + sourceScript), "litci", jobFolder, partsFolder, finalFile},
			WorkingDir: "/",
			Resources: resources{
				Requests: map[string]string{"cpu": "100m", "memory": "64Mi"}, Limits: map[string]string{"memory": "256Mi"},
			},
			Mounts:          []mount{jobMount, {Name: "parts", Path: partsFolder, ReadOnly: true}},
			TerminationPath: finalFile,
		}},
		Containers: []container{{
			Name: jobContainer, Image: spec.Image,
			Command:    []string{"sh", "-c", literal(beginScript), "litci", jobFolder, controlFolder + "/stop", finalFile},
			WorkingDir: "/",
			Resources:  resourcesOf(m),
			Mounts:     []mount{jobMount, {Name: "control", Path: controlFolder, ReadOnly: true}},

			TerminationPath: finalFile,
		}},
		Volumes: []volume{
			{Name: "job", EmptyDir: &emptyDir{Limit: m.Storage}},
			// The name is the Job's own: what a deleted Job of the same name left is another's.
			{Name: "parts", Secret: &secretVolume{Name: spec.ID + "-" + strings.ToLower(rand.Text()[:8]), Mode: 0o440}},
			{Name: "control", Downward: &downward{Items: []downwardItem{{
				Path: "stop", Field: fieldRef{Path: "metadata.annotations['" + stopAnnotation + "']"},
			}}}},
		},
	}
	for _, name := range e.config.PullSecrets {
		p.PullSecrets = append(p.PullSecrets, reference{name})
	}
	if m.SharedMemory != "" {
		p.Volumes = append(p.Volumes, volume{Name: "shm", EmptyDir: &emptyDir{Medium: "Memory", Limit: m.SharedMemory}})
		p.Containers[0].Mounts = append(p.Containers[0].Mounts, mount{Name: "shm", Path: "/dev/shm"})
	}
	e.secure(&p)
	return p
}

// literal is a text as a container's command spells it: two dollars are one there.
// What looks like a reference to a variable stays, as no container has any.
func literal(script string) string { return strings.ReplaceAll(script, "$$", "$$$$") }

// secure gives a pod its profile.
func (e *Executor) secure(p *podSpec) {
	p.Security = &security{Seccomp: &typed{"RuntimeDefault"}}
	if e.config.Profile == Baseline {
		// One user for both containers: the source belongs to who builds it.
		p.Security.RunAsUser, p.Security.RunAsGroup = pointer(int64(0)), pointer(int64(0))
		return
	}
	user := e.config.User
	p.Security.RunAsNonRoot, p.Security.RunAsUser, p.Security.RunAsGroup, p.Security.FSGroup = true, &user, &user, &user
	for _, list := range [][]container{p.InitContainers, p.Containers} {
		for i := range list {
			list[i].Security = &security{PrivilegeEscalation: pointer(false), Capabilities: &capabilities{Drop: []string{"ALL"}}}
		}
	}
}

// secretName is the name of a Job's Secret.
func (j *job) secretName() string {
	for _, v := range j.Spec.Template.Spec.Volumes {
		if v.Secret != nil {
			return v.Secret.Name
		}
	}
	return ""
}

// secret holds the job's parts: the wrapper, the script, the task with the environment,
// and the link to the source.
func (e *Executor) secret(j *job, spec executor.Spec, m machine.Kind, link string) (*secret, error) {
	s := &secret{
		APIVersion: "v1", Kind: "Secret", Immutable: true, Type: "Opaque",
		Metadata: meta{
			Name: j.secretName(), Namespace: e.config.Namespace, Labels: e.labels(spec),
			Owners: []owner{{APIVersion: "batch/v1", Kind: "Job", Name: j.Metadata.Name, UID: j.Metadata.UID, Controller: true}},
		},
		Data: map[string][]byte{"url": []byte(link)},
	}
	task := wrapper.Task{
		ID: spec.ID, Runner: Kind, Timeout: spec.Timeout, Grace: spec.Grace, Head: e.config.LogHead, Tail: e.config.LogTail,
		GPU: wantsDriver(m), Marks: true, Env: spec.Env,
	}
	total := len(link)
	for name, content := range map[string][]byte{"wrapper": []byte(wrapper.Program()), "script": spec.Script, "task": task.Bytes()} {
		packed, err := pack(content)
		if err != nil {
			return nil, fmt.Errorf("%s of the job: %w", name, err)
		}
		s.Data[name] = packed
		total += len(packed)
	}
	if total > maxSecret {
		return nil, &executor.StartError{Message: fmt.Sprintf("script and environment are larger than %d KiB, compressed; on Kubernetes, keep what is large in files of the repository", maxSecret>>10)}
	}
	return s, nil
}

func pack(content []byte) ([]byte, error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	_, err := zipped.Write(content)
	if err := errors.Join(err, zipped.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// link asks for the address of the source.
func (e *Executor) link(ctx context.Context, spec executor.Spec) (string, error) {
	if spec.Source == nil {
		return "", nil
	}
	if e.config.SourceURL == nil {
		return "", &executor.StartError{Message: "jobs on Kubernetes fetch their source by a link, and litci has no address to make one: its operator must set it"}
	}
	link, err := e.config.SourceURL(ctx, spec)
	if err != nil {
		return "", fmt.Errorf("link to the source of %s: %w", spec.ID, err)
	}
	if link == "" || strings.ContainsAny(link, "\"\\ \n\r\t") {
		return "", fmt.Errorf("link to the source of %s is malformed", spec.ID)
	}
	return link, nil
}

// checkSpec refuses what no pod could be started with.
func checkSpec(spec executor.Spec) error {
	if !validName(spec.ID) {
		return fmt.Errorf("job id %q is malformed", spec.ID)
	}
	if spec.Image == "" {
		return &executor.StartError{Message: "Kubernetes runs jobs in an image, and the workflow names none"}
	}
	if err := executor.CheckEnv(spec.Env); err != nil {
		return err
	}
	total := 0
	for name, value := range spec.Env {
		total += len(name) + len(value) + 2
	}
	if total > maxEnvironment {
		return &executor.StartError{Message: fmt.Sprintf("the environment is larger than %d KiB", maxEnvironment>>10)}
	}
	return nil
}
