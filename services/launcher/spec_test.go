package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

const (
	sha   = "0123456789abcdef0123456789abcdef01234567"
	merge = "89abcdef0123456789abcdef0123456789abcdef"
)

func aJob() flow.Job {
	return flow.Job{
		Identity: flow.Identity{
			Delivery: "d", Installation: 1, Repo: flow.Repo{ID: 7, Owner: "octo", Name: "hello"},
			Event: "pull_request", SHA: sha, Ref: "refs/pull/3/head", PullRequest: 3, Run: "aaaaaaaaaaaaaaaaaaaa",
		},
		Job: "aaaaaaaaaaaaaaaaaaaa-0", Attempt: 2, Check: "ci.yml / test", File: "ci.yml", Workflow: "test",
		HeadRef: "feature", BaseRef: "main", Actor: "mona", Image: "python:3.11", Machine: "CPU",
		TimeoutMinutes: 5, Env: map[string]string{"COLOUR": "red"}, Script: "true", Source: flow.SourceName(7, sha),
	}
}

func TestEnvironment(t *testing.T) {
	dotCom := serverOf("")
	tests := map[string]struct {
		change func(*flow.Job)
		server server
		want   map[string]string // "" wants the variable empty or unset
	}{
		"of a pull request": {want: map[string]string{
			"CI": "true", "LITCI": "true", "COLOUR": "red", "image": "python:3.11", "machine": "CPU",
			"GITHUB_SHA": sha, "GITHUB_REF": "refs/pull/3/head", "GITHUB_REF_NAME": "3/head", "GITHUB_REF_TYPE": "branch",
			"GITHUB_HEAD_REF": "feature", "GITHUB_BASE_REF": "main", "GITHUB_EVENT_NAME": "pull_request",
			"GITHUB_REPOSITORY": "octo/hello", "GITHUB_REPOSITORY_OWNER": "octo", "GITHUB_REPOSITORY_ID": "7",
			"GITHUB_RUN_ID": "aaaaaaaaaaaaaaaaaaaa", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_WORKFLOW": "test",
			"GITHUB_JOB": "aaaaaaaaaaaaaaaaaaaa-0", "GITHUB_ACTOR": "mona",
			"GITHUB_SERVER_URL": "https://github.com", "GITHUB_API_URL": "https://api.github.com",
			"GITHUB_ACTIONS": "", "GITHUB_TOKEN": "", "PATH": "",
		}},
		"of a tag": {
			change: func(j *flow.Job) { j.Ref, j.HeadRef, j.BaseRef = "refs/tags/v1/x", "", "" },
			want:   map[string]string{"GITHUB_REF_NAME": "v1/x", "GITHUB_REF_TYPE": "tag", "GITHUB_HEAD_REF": ""},
		},
		"of a branch": {
			change: func(j *flow.Job) { j.Ref = "refs/heads/feature/x" },
			want:   map[string]string{"GITHUB_REF_NAME": "feature/x", "GITHUB_REF_TYPE": "branch"},
		},
		"names the commit that is checked out": {
			change: func(j *flow.Job) { j.Source = flow.SourceName(7, merge) },
			want:   map[string]string{"GITHUB_SHA": merge, "GITHUB_REF": "refs/pull/3/merge", "GITHUB_REF_NAME": "3/merge"},
		},
		"names the reported commit when the source has another name": {
			change: func(j *flow.Job) { j.Source = "7/main" },
			want:   map[string]string{"GITHUB_SHA": sha},
		},
		"lets users override CI": {
			change: func(j *flow.Job) { j.Env = map[string]string{"CI": "false"} },
			want:   map[string]string{"CI": "false"},
		},
		"keeps reserved names": {
			change: func(j *flow.Job) {
				j.Env = map[string]string{
					"GITHUB_SHA": "x", "GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "x", "LITCI": "x", "LITCI_X": "x", "RUNNER_OS": "x", "image": "x",
				}
			},
			want: map[string]string{
				"GITHUB_SHA": sha, "GITHUB_ACTIONS": "", "GITHUB_TOKEN": "", "LITCI": "true", "LITCI_X": "", "RUNNER_OS": "", "image": "python:3.11",
			},
		},
		"calls a workflow without a name by its file": {
			change: func(j *flow.Job) { j.Workflow = "" },
			want:   map[string]string{"GITHUB_WORKFLOW": "ci.yml"},
		},
		"knows GitHub Enterprise": {
			server: serverOf("https://ghe.example.com/"),
			want: map[string]string{
				"GITHUB_SERVER_URL": "https://ghe.example.com", "GITHUB_API_URL": "https://ghe.example.com/api/v3",
				"GITHUB_GRAPHQL_URL": "https://ghe.example.com/api/graphql",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			job := aJob()
			if test.change != nil {
				test.change(&job)
			}
			if test.server == (server{}) {
				test.server = dotCom
			}
			env := environment(job, test.server)
			for variable, want := range test.want {
				if env[variable] != want {
					t.Errorf("%s is %q, want %q", variable, env[variable], want)
				}
			}
		})
	}
}

func TestEnvironmentTakesNothingFromTheBot(t *testing.T) {
	t.Setenv("LITCI_TEST_SECRET", "do not tell")
	for name, value := range environment(aJob(), serverOf("")) {
		if value == "do not tell" {
			t.Errorf("%s has it", name)
		}
	}
}

func TestServerOf(t *testing.T) {
	for url, want := range map[string]string{
		"":                               "https://api.github.com",
		"https://github.com":             "https://api.github.com",
		"https://api.github.com/":        "https://api.github.com",
		"http://127.0.0.1:9000":          "http://127.0.0.1:9000/api/v3",
		"https://ghe.example.com/api/v3": "https://ghe.example.com/api/v3",
	} {
		if got := serverOf(url).api; got != want {
			t.Errorf("API of %q is %q, want %q", url, got, want)
		}
	}
}

func TestHashFollowsContent(t *testing.T) {
	base := hashOf(aJob())
	same := map[string]func(*flow.Job){
		"delivery":  func(j *flow.Job) { j.Delivery = "another" },
		"queued at": func(j *flow.Job) { j.QueuedAt = time.Now() },
		"check":     func(j *flow.Job) { j.Check = "renamed" },
	}
	for name, change := range same {
		job := aJob()
		if change(&job); hashOf(job) != base {
			t.Errorf("another %s gives another hash", name)
		}
	}
	other := map[string]func(*flow.Job){
		"script":  func(j *flow.Job) { j.Script = "false" },
		"env":     func(j *flow.Job) { j.Env = map[string]string{"COLOUR": "blue"} },
		"image":   func(j *flow.Job) { j.Image = "x" },
		"source":  func(j *flow.Job) { j.Source = "x" },
		"timeout": func(j *flow.Job) { j.TimeoutMinutes = 6 },
		"fork":    func(j *flow.Job) { j.Fork = true },
	}
	for name, change := range other {
		job := aJob()
		if change(&job); hashOf(job) == base {
			t.Errorf("another %s gives the same hash", name)
		}
	}
}

// specFor is the spec of a job that has one.
func specFor(t *testing.T, job flow.Job, source func(context.Context) (io.ReadCloser, error)) executor.Spec {
	t.Helper()
	spec, err := specOf(job, serverOf(""), source)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSpecHasTheResources(t *testing.T) {
	job := aJob()
	plain := specFor(t, job, nil)
	job.Options.Resources = flow.Resources{CPU: "1.5", Memory: "4Gi", GPUs: 2}
	asked := specFor(t, job, nil)
	if want := (executor.Resources{MilliCPU: 1500, Memory: 4 << 30, GPUs: 2}); asked.Resources != want || asked.Hash == plain.Hash {
		t.Errorf("resources are %+v, hash %s as without: %s", asked.Resources, asked.Hash, plain.Hash)
	}
	job.Options.Resources.Memory = "4 gigs"
	_, err := specOf(job, serverOf(""), nil)
	if refused, ok := errors.AsType[*executor.StartError](err); !ok || !strings.Contains(refused.Message, `memory: "4 gigs" is not a quantity`) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestNotesOnResources(t *testing.T) {
	job := aJob()
	job.Options.Resources.GPUs = 1
	for kind, want := range map[string]string{"local": "resources are ignored: the local", "lightning": "resources are ignored: a machine", "docker": ""} {
		got := notes(job, kind)
		if said := slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, "resources") }); said != (want != "") ||
			said && !slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, want) }) {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestNoteOfAMerge(t *testing.T) {
	job := aJob()
	job.Source = flow.SourceName(7, merge)
	if want := "commit 89abcde is tested: the pull request merged into main"; !slices.Contains(notes(job, "docker"), want) {
		t.Errorf("notes are %q, want %q", notes(job, "docker"), want)
	}
}

func TestSpecIsTheSameAfterTheBus(t *testing.T) {
	source := func(context.Context) (io.ReadCloser, error) { return nil, nil }
	data, err := json.Marshal(aJob())
	if err != nil {
		t.Fatal(err)
	}
	var again flow.Job
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	a, b := specFor(t, aJob(), source), specFor(t, again, source)
	if a.ID != "litci-aaaaaaaaaaaaaaaaaaaa-0-a2" || a.ID != b.ID || a.Hash != b.Hash || !maps.Equal(a.Env, b.Env) {
		t.Errorf("specs differ:\n%+v\n%+v", a, b)
	}
	if a.Timeout != 5*time.Minute || a.Source == nil {
		t.Errorf("timeout %s, source %v", a.Timeout, a.Source != nil)
	}
	job := aJob()
	job.Source, job.TimeoutMinutes = "", 0
	if spec := specFor(t, job, source); spec.Source != nil || spec.Timeout != time.Hour {
		t.Errorf("without source and timeout: %v, %s", spec.Source != nil, spec.Timeout)
	}
	var _ executor.Spec = a
}

func TestNotes(t *testing.T) {
	tests := map[string]struct {
		kind, image string
		env         map[string]string
		want        []string
	}{
		"an image on the machine itself": {"local", "python:3.11", nil, []string{"image python:3.11 is ignored: the local executor runs on the machine itself"}},
		"the default image":              {"local", workflow.DefaultImage, nil, nil},
		"an image where there are some":  {"docker", "python:3.11", nil, nil},
		"reserved names": {"docker", "", map[string]string{"LITCI_B": "", "GITHUB_A": "", "OK": ""}, []string{
			"env GITHUB_A and 1 more are ignored: the names are reserved",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			job := aJob()
			job.Image, job.Env = test.image, test.env
			if got := notes(job, test.kind); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
