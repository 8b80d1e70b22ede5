package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/fakegithub"
)

// scriptCommands are what transcripts of a running mesh need beside litci.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"mesh":     scriptMesh,
		"stop":     scriptStop,
		"github":   scriptGitHub,
		"reported": scriptReported,
		"await":    scriptAwait,
		"capture":  scriptCapture,
		"publish":  scriptPublish,
		"appkey":   scriptAppKey,
	}
}

// meshKey is the key of the function among a script's values that kills litci up.
type meshKey struct{}

// scriptMesh starts litci fakegithub over the git repository of the script's folder
// repo, and litci up beside it with the given flags; both end with the script. The
// App's key is made by the emulator. The
// settings by which commands find the mesh are the script's from then on.
func scriptMesh(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: mesh [flags of litci up]")
	}
	github, hook, admin := scriptAddress(ts), scriptAddress(ts), scriptAddress(ts)
	for name, value := range map[string]string{
		"GITHUB": "http://" + github, "LITCI_GITHUB_URL": "http://" + github, "LITCI_APP_ID": "1",
		"LITCI_PRIVATE_KEY_FILE": ts.MkAbs("app.pem"), "LITCI_DATA": ts.MkAbs("data"),
	} {
		ts.Setenv(name, value)
	}
	scriptStart(ts, "litci", "fakegithub", "--listen", github, "--repo", "octo/hello="+ts.MkAbs("repo"), "--app-key", ts.MkAbs("app.pem"),
		"--webhook-url", "http://"+hook+"/webhook", "--webhook-secret", "secret")
	answers := func(url string) func() bool {
		return func() bool {
			res, err := http.Get(url)
			if err != nil {
				return false
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusOK
		}
	}
	scriptUntil(ts, "litci fakegithub is ready", answers("http://"+github+"/_fake/state"))
	up, gone := scriptStart(ts, append([]string{
		"litci", "up", "--listen", hook, "--admin-listen", admin, "--pages-listen", "127.0.0.1:0",
		"--nats-listen", "127.0.0.1:0", "--nats-max-bytes", "1073741824", "--nats-sync-always=false",
	}, args...)...)
	*ts.Value(meshKey{}).(*func()) = func() {
		ts.Check(up.Process.Kill())
		<-gone
	}
	scriptUntil(ts, "litci up is ready", answers("http://"+admin+"/readyz"))
}

// scriptAppKey writes the private key of an App that nobody knows.
func scriptAppKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appkey FILE")
	}
	key, err := fakegithub.NewKey()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), fakegithub.EncodeKey(key), 0o600))
}

// scriptStop kills litci up and waits until it is gone: what it leaves behind is that
// of a crash.
func scriptStop(ts *testscript.TestScript, neg bool, args []string) {
	kill := *ts.Value(meshKey{}).(*func())
	if neg || len(args) > 0 || kill == nil {
		ts.Fatalf("usage: stop, behind mesh")
	}
	kill()
}

// scriptStart runs a program until the script ends; gone is closed when it has ended.
// What it writes is shown when the script fails.
func scriptStart(ts *testscript.TestScript, args ...string) (cmd *exec.Cmd, gone <-chan struct{}) {
	path := ""
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if _, err := os.Stat(dir + "/" + args[0]); err == nil {
			path = dir + "/" + args[0]
			break
		}
	}
	var words strings.Builder
	cmd = exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), &words
	cmd.Env = os.Environ()
	for _, name := range []string{"HOME", "PATH", "LITCI_GITHUB_URL", "LITCI_APP_ID", "LITCI_PRIVATE_KEY_FILE", "LITCI_DATA"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Env = append(cmd.Env, "LITCI_WEBHOOK_SECRET=secret", "LITCI_ACK_WAIT=2s")
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		ts.Logf("%s wrote:\n%s", strings.Join(args[:2], " "), words.String())
	})
	return cmd, ended
}

func scriptAddress(ts *testscript.TestScript) string {
	address, err := ports.Take()
	ts.Check(err)
	return address
}

// scriptUntil polls a condition of the world outside this process.
func scriptUntil(ts *testscript.TestScript, what string, ok func() bool) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	give := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-give:
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// scriptGitHub does what people do on GitHub's pages, by fakegithub's control paths
// of the repository.
func scriptGitHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: github PATH JSON")
	}
	res, err := http.Post(ts.Getenv("GITHUB")+"/_fake/repos/octo/hello/"+args[0], "application/json", strings.NewReader(args[1]))
	ts.Check(err)
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		ts.Fatalf("%s: %s", args[0], res.Status)
	}
}

// scriptReported waits until what litci reported to GitHub matches.
func scriptReported(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: reported REGEXP")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	scriptUntil(ts, args[0], func() bool {
		res, err := http.Get(ts.Getenv("GITHUB") + "/_fake/state")
		ts.Check(err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		ts.Check(err)
		return want.Match(text)
	})
}

// scriptAwait runs a command again and again until its standard output matches.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await REGEXP COMMAND [ARG...]")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	scriptUntil(ts, args[0], func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout"))
	})
}

// scriptCapture keeps what a group of a pattern matches in the last standard output.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	match := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) != 2 {
		ts.Fatalf("no match for %s in:\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], match[1])
}

// scriptPublish puts the text of a file on a subject, as no service of litci would.
func scriptPublish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: publish SUBJECT FILE")
	}
	url, key, err := embedded.Find(filepath.Join(ts.Getenv("LITCI_DATA"), "nats"))
	ts.Check(err)
	option, err := nats.NkeyOptionFromSeed(key)
	ts.Check(err)
	nc, err := nats.Connect(url, option)
	ts.Check(err)
	defer nc.Close()
	_, err = nc.Request(args[0], []byte(ts.ReadFile(args[1])), patience)
	ts.Check(err)
}
