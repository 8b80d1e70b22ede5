package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
)

// fetcher is an image's curl where this machine may have none: it takes the address
// from its standard input and writes to the file behind -o.
const fetcher = `#!/usr/bin/env bash
IFS= read -r line
url=${line#*\"http://}; url=${url%\"}
while [ $# -gt 0 ]; do [ "$1" = -o ] && file=$2; shift; done
host=${url%%/*}
exec 3<>"/dev/tcp/${host%:*}/${host#*:}"
printf 'GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n' "${url#*/}" "$host" >&3
IFS= read -r status <&3
case $status in *' 200 '*) ;; *) exit 22 ;; esac
while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do :; done
cat <&3 >"$file"
`

// TestMeshOnLightning runs a pull request's jobs on the emulator of Lightning AI: their
// machines fetch the commit from the reporter, and neither the account's key nor a
// link is found in what litci says or stores.
func TestMeshOnLightning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{
		"tests.yml": "name: Tests\nimage: python:3.11\nparametrize:\n  matrix:\n    word: [one, two]\nrun: |\n  grep -q image: .lightning/workflows/tests.yml\n  env | { ! grep -i -e canary -e source_url; }\n",
	})
	bin := filepath.Join(w.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "curl"), []byte(fetcher), 0o755); err != nil {
		t.Fatal(err)
	}
	service := fakelightning.New(fakelightning.Options{
		Dir: filepath.Join(w.dir, "machines"), APIKey: "canary-key", Path: bin + string(os.PathListSeparator) + os.Getenv("PATH"),
	})
	t.Cleanup(service.Close)
	web := httptest.NewServer(service)
	t.Cleanup(web.Close)
	pages := freeAddress(t)
	w.env = append(w.env, "LITCI_EXECUTOR=lightning", "LITCI_LIGHTNING_URL="+web.URL, "LITCI_PUBLIC_URL=http://"+pages, "LITCI_LOG_LEVEL=debug",
		"LIGHTNING_USER_ID="+service.Options().UserID, "LIGHTNING_API_KEY=canary-key", "LIGHTNING_TEAMSPACE=acme/ci")
	p := w.start("litci", "up", "--listen", w.hook, "--pages-listen", pages, "--admin-listen", w.admin, "--nats-listen", "127.0.0.1:0")
	w.ready(p, w.admin)
	w.openPull()
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", "tests.yml / Tests (one)", "tests.yml / Tests (two)")
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	canaries := []string{"canary-key"}
	for _, j := range service.Jobs() {
		address := j.Env["LITCI_SOURCE_URL"]
		secret, ok := strings.CutPrefix(address, "http://"+pages+"/sources/")
		if !ok {
			t.Errorf("job %s fetched its source from %q", j.Name, address)
			continue
		}
		canaries = append(canaries, secret)
	}
	if n := strings.Count(p.logged(), "source fetched"); n != 2 {
		t.Errorf("%d sources were fetched", n)
	}
	if len(canaries) != 3 {
		t.Errorf("%d jobs were made", len(canaries)-1)
	}
	for _, canary := range canaries {
		if strings.Contains(p.logged(), canary) {
			t.Errorf("%s was logged", canary)
		}
		for _, c := range w.github.State().CheckRuns {
			if c.Output.Summary != nil && strings.Contains(*c.Output.Summary, canary) {
				t.Errorf("%s stands in check %s", canary, c.Name)
			}
		}
		// The streams, uncompressed parts of them at least, and everything else in files.
		if out, err := exec.Command("grep", "-rlFa", canary, filepath.Join(w.dir, "data")).CombinedOutput(); err == nil {
			t.Errorf("%s stands in %s", canary, out)
		}
	}
}
