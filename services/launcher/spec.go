package launcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/lightning"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

const (
	// stopGrace is the time between TERM and KILL when a job times out.
	stopGrace = 10 * time.Second
	// defaultTimeout bounds a job whose message does not say.
	defaultTimeout = 60 * time.Minute
)

// specOf is what the executor is asked to run for a job. It depends on the job
// alone, so that asking again asks for the same.
func specOf(job flow.Job, server server, source func(context.Context) (io.ReadCloser, error)) (executor.Spec, error) {
	resources, err := resourcesOf(job.Options.Resources)
	if err != nil {
		return executor.Spec{}, err
	}
	timeout := time.Duration(job.TimeoutMinutes) * time.Minute
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	spec := executor.Spec{
		ID:            flow.ExternalName(job.Job, job.Attempt),
		Hash:          hashOf(job),
		Script:        []byte(job.Script),
		Env:           environment(job, server),
		Image:         job.Image,
		Machine:       job.Machine,
		Resources:     resources,
		Interruptible: job.Interruptible,
		Timeout:       timeout,
		Grace:         stopGrace,
		Fork:          job.Fork,
	}
	if job.Source != "" {
		spec.Source, spec.SourceName = source, job.Source
	}
	return spec, nil
}

// resourcesOf reads the quantities that the language let pass.
func resourcesOf(asked flow.Resources) (r executor.Resources, err error) {
	r.GPUs = asked.GPUs
	for _, q := range []struct {
		key, text string
		read      func(string) (int64, error)
		to        *int64
	}{
		{"cpu", asked.CPU, executor.Thousandths, &r.MilliCPU},
		{"memory", asked.Memory, executor.Whole, &r.Memory},
	} {
		if q.text == "" {
			continue
		}
		if *q.to, err = q.read(q.text); err != nil {
			return r, &executor.StartError{Message: "resources: " + q.key + ": " + err.Error()}
		}
	}
	return r, nil
}

// hashOf identifies what a job asks for. What comes from the launcher's own
// configuration is left out: a restart with another address of GitHub must adopt
// what runs.
func hashOf(job flow.Job) string {
	content, err := json.Marshal(struct {
		Script, Source, Image, Machine string
		Env                            map[string]string
		Interruptible, Fork            bool
		Timeout                        int
		SHA, Ref                       string
		Repo                           int64
		Resources                      flow.Resources `json:",omitzero"`
	}{
		job.Script, job.Source, job.Image, job.Machine, job.Env, job.Interruptible, job.Fork,
		job.TimeoutMinutes, job.SHA, job.Ref, job.Repo.ID, job.Options.Resources,
	})
	if err != nil { // strings, numbers and a map of strings always encode
		panic(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// server are GitHub's addresses as jobs see them, without a slash at the end.
type server struct{ url, api, graphql string }

// serverOf derives them from the configured address: empty for github.com,
// otherwise that of a GitHub Enterprise server.
func serverOf(url string) server {
	url = strings.TrimRight(url, "/")
	url = strings.TrimSuffix(url, "/api/v3")
	switch url {
	case "", "https://github.com", "https://api.github.com":
		return server{"https://github.com", "https://api.github.com", "https://api.github.com/graphql"}
	}
	return server{url, url + "/api/v3", url + "/api/graphql"}
}

// environment is what a job's script finds set: the workflow's own variables with
// the matrix parameters, image and machine, and the variables by which tools
// recognise CI (GitHub's "Variables reference"). GITHUB_ACTIONS stays unset: some
// tools that see it expect services that only Actions has.
func environment(job flow.Job, server server) map[string]string {
	env := map[string]string{"CI": "true"}
	for name, value := range job.Env {
		if !flow.OwnVariable(name) {
			env[name] = value
		}
	}
	env["image"], env["machine"] = job.Image, job.Machine
	ref := job.Ref
	if job.PullRequest > 0 && checkedOut(job) != job.SHA {
		ref = fmt.Sprintf("refs/pull/%d/merge", job.PullRequest)
	}
	refName, refType := shortRef(ref)
	workflow := job.Workflow
	if workflow == "" {
		workflow = job.File
	}
	maps.Copy(env, map[string]string{
		"LITCI":                   "true",
		"GITHUB_SHA":              checkedOut(job),
		"GITHUB_REF":              ref,
		"GITHUB_REF_NAME":         refName,
		"GITHUB_REF_TYPE":         refType,
		"GITHUB_HEAD_REF":         job.HeadRef,
		"GITHUB_BASE_REF":         job.BaseRef,
		"GITHUB_EVENT_NAME":       job.Event,
		"GITHUB_REPOSITORY":       job.Repo.FullName(),
		"GITHUB_REPOSITORY_OWNER": job.Repo.Owner,
		"GITHUB_REPOSITORY_ID":    strconv.FormatInt(job.Repo.ID, 10),
		"GITHUB_RUN_ID":           job.Run,
		"GITHUB_RUN_ATTEMPT":      strconv.Itoa(job.Attempt),
		"GITHUB_WORKFLOW":         workflow,
		"GITHUB_JOB":              job.Job,
		"GITHUB_ACTOR":            job.Actor,
		"GITHUB_SERVER_URL":       server.url,
		"GITHUB_API_URL":          server.api,
		"GITHUB_GRAPHQL_URL":      server.graphql,
	})
	return env
}

// checkedOut is the commit whose files the job gets: the source archive is named
// by it. It differs from the reported one where a merge commit is tested.
func checkedOut(job flow.Job) string {
	_, sha, ok := strings.Cut(job.Source, "/")
	if ok && len(sha) == 40 && strings.Trim(sha, "0123456789abcdef") == "" {
		return sha
	}
	return job.SHA
}

// shortRef is a ref without its prefix, as GITHUB_REF_NAME has it, and whether it
// is a branch or a tag; a pull request counts as a branch.
func shortRef(ref string) (name, kind string) {
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return tag, "tag"
	}
	for _, prefix := range []string{"refs/heads/", "refs/pull/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return name, "branch"
		}
	}
	return ref, "branch"
}

// notes are what the job's check says about its start, one sentence each.
func notes(job flow.Job, kind string) []string {
	var list []string
	if sha := checkedOut(job); sha != job.SHA {
		list = append(list, fmt.Sprintf("commit %s is tested: the pull request merged into %s", sha[:7], job.BaseRef))
	}
	if kind == local.Kind && job.Image != "" && job.Image != workflow.DefaultImage {
		list = append(list, fmt.Sprintf("image %s is ignored: the local executor runs on the machine itself", job.Image))
	}
	if asked := job.Options.Resources; asked != (flow.Resources{}) {
		switch kind {
		case local.Kind:
			list = append(list, "resources are ignored: the local executor gives its jobs what the machine has")
		case lightning.Kind:
			list = append(list, "resources are ignored: a machine of Lightning AI is given whole")
		}
	}
	var ignored []string
	for name := range job.Env {
		if flow.OwnVariable(name) {
			ignored = append(ignored, name)
		}
	}
	slices.Sort(ignored)
	switch len(ignored) {
	case 0:
	case 1:
		list = append(list, fmt.Sprintf("env %s is ignored: the name is reserved", ignored[0]))
	default:
		list = append(list, fmt.Sprintf("env %s and %d more are ignored: the names are reserved", ignored[0], len(ignored)-1))
	}
	return list
}
