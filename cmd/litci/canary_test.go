package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
)

// borders records what litci sends to GitHub, and which credentials with it.
type borders struct {
	mu          sync.Mutex
	sent        []straw
	credentials map[string]string // by what they are for
}

// before returns an address that leads to a server through the records.
func (b *borders) before(t *testing.T, address string) string {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // links lead here too
		},
		ModifyResponse: func(res *http.Response) error {
			if !strings.HasSuffix(res.Request.URL.Path, "/access_tokens") {
				return nil
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			res.Body = io.NopCloser(bytes.NewReader(body))
			var minted struct {
				Token string `json:"token"`
			}
			if err := json.Unmarshal(body, &minted); err != nil {
				return err
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.credentials["installation token "+strconv.Itoa(len(b.credentials))] = minted.Token
			return nil
		},
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		b.mu.Lock()
		b.sent = append(b.sent, straw{"what GitHub is sent", r.Method + " " + r.URL.Path, fmt.Appendf(nil, "%s\n%s", r.URL, body)})
		if scheme, credential, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
			b.credentials[scheme+" of "+r.Method+" "+r.URL.Path] = credential
		}
		b.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// natsServer is one that somebody else runs, with a user for either way to sign in.
func natsServer(t *testing.T, user, password string) (address string, seed []byte) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if seed, err = pair.Seed(); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: user, Password: password}}, Nkeys: []*server.NkeyUser{{Nkey: public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not listen")
	}
	return s.ClientURL(), seed
}

// bus adds everything that a NATS server stores: messages of streams, entries of
// buckets, objects.
func (h *haystack) bus(address, user, password string) {
	h.t.Helper()
	ctx := context.Background()
	conn, err := nats.Connect(address, nats.UserInfo(user, password))
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		h.t.Fatal(err)
	}
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		stream, err := js.Stream(ctx, info.Config.Name)
		if err != nil {
			h.t.Fatal(err)
		}
		for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
			msg, err := stream.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				h.t.Fatal(err)
			}
			header, err := json.Marshal(msg.Header)
			if err != nil {
				h.t.Fatal(err)
			}
			h.add("stream "+info.Config.Name, fmt.Sprintf("%s #%d", msg.Subject, seq), slices.Concat([]byte(msg.Subject), []byte("\n"), header, []byte("\n"), msg.Data))
		}
		if bucket, ok := strings.CutPrefix(info.Config.Name, "OBJ_"); ok {
			h.objects(ctx, js, bucket)
		}
	}
	if err := streams.Err(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *haystack) objects(ctx context.Context, js jetstream.JetStream, bucket string) {
	h.t.Helper()
	store, err := js.ObjectStore(ctx, bucket)
	if err != nil {
		h.t.Fatal(err)
	}
	objects, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		h.t.Fatal(err)
	}
	for _, o := range objects {
		data, err := store.GetBytes(ctx, o.Name)
		if err != nil {
			h.t.Fatal(err)
		}
		h.add("objects "+bucket, o.Name, data)
	}
}

// pages adds the report pages that checks link to, and what these link to.
func (h *haystack) pages(base string, links []string) {
	h.t.Helper()
	link := regexp.MustCompile(`(?:href|src)="([^"]+)"`)
	seen := map[string]bool{}
	for len(links) > 0 {
		page := strings.ReplaceAll(links[0], "&amp;", "&")
		links = links[1:]
		if strings.HasPrefix(page, "/") {
			page = base + page
		}
		if seen[page] || !strings.HasPrefix(page, base+"/") || strings.Contains(page, "/events") {
			continue
		}
		seen[page] = true
		res, err := http.Get(page)
		if err != nil {
			h.t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			h.t.Fatalf("%s answers %d, %v", page, res.StatusCode, err)
		}
		h.add("pages", page, body)
		for _, found := range link.FindAllStringSubmatch(string(body), -1) {
			links = append(links, found[1])
		}
	}
}

// processes adds the arguments of every process of this machine, and the environment
// of those that belong to jobs: the job's own, all that came of it, and who stands
// over it.
func (h *haystack) processes(jobs []int, services ...int) {
	h.t.Helper()
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		arguments, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		h.add("arguments", entry.Name(), arguments)
		status, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat")) // as above
		if fields := strings.Fields(string(status[bytes.LastIndexByte(status, ')')+1:])); len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	services = append(services, os.Getpid(), 0, 1)
	ofJob := map[int]bool{}
	for _, job := range jobs {
		for pid := job; !slices.Contains(services, pid); pid = parents[pid] {
			ofJob[pid] = true
		}
	}
	for pid := range parents {
		for above := pid; !slices.Contains(services, above); above = parents[above] {
			if slices.Contains(jobs, above) {
				ofJob[pid] = true
			}
		}
	}
	for pid := range ofJob {
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil {
			h.add("environment of job processes", strconv.Itoa(pid), environment)
		}
	}
}

// container adds what the engine knows of a container, and its files; it returns the
// process of the container.
func (h *haystack) container(id string) (pid int) {
	h.t.Helper()
	told := command(h.t, "docker", "inspect", id)
	h.add("containers", id, []byte(told))
	var inspected []struct {
		State  struct{ Pid int }
		Mounts []struct{ Destination string }
	}
	if err := json.Unmarshal([]byte(told), &inspected); err != nil || len(inspected) != 1 {
		h.t.Fatalf("%s: %v", told, err)
	}
	h.add("files of containers", id, []byte(command(h.t, "docker", "export", id)))
	for _, m := range inspected[0].Mounts { // volumes are not exported
		h.add("files of containers", id+" "+m.Destination, []byte(command(h.t, "docker", "cp", id+":"+m.Destination, "-")))
	}
	return inspected[0].State.Pid
}

// canaryScript leaves what a job sees of itself outside, shows the planted value
// wherever a job can show something, and runs until it is released.
const canaryScript = `
run: |
  mkdir -p DIR/$NAME
  env >DIR/$NAME/env
  cat /proc/self/environ >DIR/$NAME/environ
  tr '\0' ' ' </proc/self/cmdline >DIR/$NAME/cmdline
  env
  echo "::error file=a.go,line=1::$PLANTED"
  echo "$PLANTED" >>"$GITHUB_STEP_SUMMARY"
  echo $$ >DIR/$NAME/pid.new
  mv DIR/$NAME/pid.new DIR/$NAME/pid
  until [ -e DIR/release ]; do sleep 0.05; done
  exit 3
`

// TestCanary runs jobs on every executor with credentials that would be known again,
// and looks for them in everything that litci wrote, said or handed on. A value that
// does go everywhere is planted beside them, so that a place which is not looked at
// fails the test.
func TestCanary(t *testing.T) {
	t.Parallel()
	canary := func(name string) string { return "canary-" + name + "-" + rand.Text() }
	planted, outside := "planted-"+rand.Text(), t.TempDir()
	workflow := func(name, more string) string {
		return "name: " + name + "\nimage: python:3.11\nmode: debug\n" + more + "env:\n  NAME: " + name + "\n  PLANTED: " + planted + strings.ReplaceAll(canaryScript, "DIR", outside)
	}
	pools := []string{"here", "desk", "cluster", "cloud"}
	files := map[string]string{
		"here.yml": workflow("here", ""), "desk.yml": workflow("desk", "pool: desk\n"),
		"cluster.yml": workflow("cluster", "pool: cluster\n"), "cloud.yml": workflow("cloud", "pool: cloud\n"),
	}
	if withDocker() {
		files["docker.yml"] = strings.Replace(workflow("docker", "pool: docker\n"), "python:3.11", standIn, 1)
	}
	w := newWorld(t, files)
	t.Cleanup(func() { w.write(filepath.Join(outside, "release"), "") }) // no job outlives its test
	secrets := map[string]string{
		"webhook secret": w.secret, "NATS password": canary("password"), "Lightning AI key": canary("lightning"), "Kubernetes token": canary("kubernetes"),
	}
	for i, line := range strings.Split(strings.TrimSpace(string(w.key)), "\n") {
		if !strings.HasPrefix(line, "-----") && len(line) > 30 {
			secrets[fmt.Sprintf("line %d of the App's key", i+1)] = line
		}
	}

	address, seed := natsServer(t, "litci", secrets["NATS password"])
	secrets["NATS nkey"] = string(seed)
	nkey := filepath.Join(t.TempDir(), "litci.nk")
	w.write(nkey, string(seed))
	kubernetes := newCluster(t, w.dir, secrets["Kubernetes token"])
	lightning := fakelightning.New(fakelightning.Options{
		Dir: filepath.Join(w.dir, "machines"), APIKey: secrets["Lightning AI key"],
		Path: filepath.Join(w.dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
	})
	t.Cleanup(lightning.Close)
	cloud := httptest.NewServer(lightning)
	t.Cleanup(cloud.Close)

	parts := "  cluster: {executor: kubernetes}\n  cloud: {executor: lightning}\n"
	var docker config.Docker
	if withDocker() {
		docker = engine(t)
		parts += fmt.Sprintf("  docker: {executor: docker, docker-instance: %s, docker-shim: %s, docker-pull: never}\n", docker.Instance, docker.Shim)
	}
	border := &borders{credentials: map[string]string{}}
	pages := freeAddress(t)
	file := filepath.Join(w.dir, "litci.yaml")
	w.write(file, "pools:\n"+parts)
	w.env = append(w.env,
		"LITCI_CONFIG="+file, "LITCI_GITHUB_URL="+border.before(t, w.url), "LITCI_PUBLIC_URL=http://"+pages, "LITCI_LOG_LEVEL=debug",
		"LITCI_PRIVATE_KEY_FILE=", "LITCI_PRIVATE_KEY="+string(w.key), "LITCI_NATS_URL="+address, "LITCI_NATS_MAX_BYTES=1073741824",
		"KUBECONFIG="+kubernetes.kubeconfig, "LIGHTNING_USER_ID="+lightning.Options().UserID, "LIGHTNING_API_KEY="+secrets["Lightning AI key"],
		"LIGHTNING_TEAMSPACE=acme/ci", "LITCI_LIGHTNING_URL="+cloud.URL,
	)
	byKey := *w
	byKey.env = append(slices.Clone(w.env), "LITCI_NATS_NKEY="+nkey)
	w.env = append(w.env, "LITCI_NATS_USER=litci", "LITCI_NATS_PASSWORD="+secrets["NATS password"])
	provision := w.start("litci", "provision", "--pool", "desk")
	<-provision.done
	all := w.start("litci", "up", "--pages-listen", pages, "--admin-listen", w.admin, "--listen", w.hook)
	deskAdmin := freeAddress(t)
	desk := byKey.start("litci", "up", "--service", "launcher", "--service", "watcher", "--pool", "desk", "--data", filepath.Join(w.dir, "data", "desk"), "--admin-listen", deskAdmin)
	w.ready(all, w.admin)
	w.ready(desk, deskAdmin)

	w.openPull()
	var pids []int
	for _, pool := range pools {
		w.untilFile(filepath.Join(outside, pool, "pid"))
		text, err := os.ReadFile(filepath.Join(outside, pool, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	h := &haystack{t: t}
	held := ""
	if withDocker() {
		w.until("the container", func() bool {
			for _, held = range containers(t, docker.Instance) {
				return exec.Command("docker", "exec", held, "test", "-e", filepath.Join(outside, "docker", "pid")).Run() == nil
			}
			return false
		})
		pids = append(pids, h.container(held))
	}
	h.processes(pids, all.cmd.Process.Pid, desk.cmd.Process.Pid)
	// Machines that run no job any more keep nothing of it.
	h.folder("nodes of Kubernetes", filepath.Join(w.dir, "nodes"))
	h.folder("machines of Lightning AI", filepath.Join(w.dir, "machines"))
	w.write(filepath.Join(outside, "release"), "")
	if held != "" {
		command(t, "docker", "exec", held, "touch", filepath.Join(outside, "release"))
	}
	if verdict := w.untilVerdict(); verdict != "failure" {
		t.Errorf("verdict is %s", verdict)
	}
	w.until("the comment's last word", func() bool {
		comments := w.github.State().Comments
		return len(comments) == 1 && strings.Count(comments[0].Body, "exit code 3")+strings.Count(comments[0].Body, "exit 3") >= len(files)
	})

	h.folder("seen by jobs", outside)
	h.folder("data", filepath.Join(w.dir, "data"))
	h.bus(address, "litci", secrets["NATS password"])
	state, err := json.Marshal(w.github.State())
	if err != nil {
		t.Fatal(err)
	}
	h.add("GitHub", "checks and comments", state)
	var links []string
	for _, c := range w.github.State().CheckRuns {
		links = append(links, c.DetailsURL)
	}
	h.pages("http://"+pages, links)
	for _, r := range kubernetes.Requests() {
		h.add("Kubernetes", r.Method+" "+r.Path, []byte(r.Path+"?"+r.Query+"\n"+r.Body))
	}
	for _, r := range lightning.Requests() {
		h.add("Lightning AI", r.Method+" "+r.Path, []byte(r.Path+"?"+r.Query+"\n"+r.Body))
	}
	for _, j := range lightning.Jobs() {
		spec, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		h.add("Lightning AI", "job "+j.Name, spec)
		for name, value := range j.Env {
			h.add("Lightning AI", "variable "+name+" of job "+j.Name, []byte(value))
		}
	}
	all.terminate(t)
	desk.terminate(t)
	h.add("service logs", all.name, []byte(all.logged()))
	h.add("service logs", desk.name, []byte(desk.logged()))
	border.mu.Lock()
	defer border.mu.Unlock()
	for _, s := range border.sent {
		h.add(s.surface, s.where, s.data)
	}
	for what, credential := range border.credentials {
		secrets[what] = credential
	}
	surfaces := map[string]string{
		"arguments": deskAdmin, "environment of job processes": planted, "seen by jobs": planted, "data": planted,
		"nodes of Kubernetes": planted, "machines of Lightning AI": planted, "Kubernetes": planted, "Lightning AI": planted,
		"GitHub": planted, "what GitHub is sent": planted, "pages": planted, "service logs": w.head(),
		"stream EVENTS": w.head(), "stream JOBS": planted, "stream STATUS": w.head(), "stream RESULTS": planted, "stream LOGS": planted,
		"stream KV_runs": planted, "stream OBJ_logs": planted, "objects logs": planted, "objects sources": planted,
	}
	if withDocker() {
		surfaces["containers"], surfaces["files of containers"] = standIn, planted
	}
	h.judge(secrets, surfaces)
}

// head is the commit of the pull request.
func (w *world) head() string { return w.github.State().Pulls[0].Head.SHA }

// judge reports each secret that is found, and each surface on which what must be
// there is not found.
func (h *haystack) judge(secrets, surfaces map[string]string) {
	h.t.Helper()
	for what, secret := range secrets {
		if len(secret) < 20 {
			h.t.Errorf("%s is too short to be known again", what)
		}
		for _, s := range h.find(secret) {
			h.t.Errorf("%s stands in %s: %.200s", what, s.surface, s.where)
		}
	}
	kinds := 0
	for _, want := range []string{"installation token", "App's key", "webhook secret", "Lightning AI key", "NATS password", "NATS nkey", "Kubernetes token", "Bearer of"} {
		for what := range secrets {
			if strings.Contains(what, want) {
				kinds++
				break
			}
		}
	}
	if kinds != 8 {
		h.t.Errorf("of 8 kinds of secrets %d were used", kinds)
	}
	for surface, must := range surfaces {
		if !slices.ContainsFunc(h.find(must), func(s straw) bool { return s.surface == surface }) {
			h.t.Errorf("%s: what must be there was not found, so nobody has looked", surface)
		}
	}
}
