package local

import (
	"bytes"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
)

// defaultPath is used when the bot itself has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// goBin is where Go's own installation instructions put it.
const goBin = "/usr/local/go/bin"

// searchPath is the PATH that jobs get: the bot's own, because the machine's
// tools are where its operator put them.
func searchPath(own string) string {
	if own != "" {
		return own
	}
	if _, err := os.Stat(goBin); err == nil {
		return defaultPath + ":" + goBin
	}
	return defaultPath
}

// environ is the job's whole environment. The workflow may set PATH, HOME, LANG
// and TMPDIR; where the job is and what runs it is said by the executor alone.
// Nothing is taken from the bot's environment but its PATH.
func (e *Executor) environ(f folder, env map[string]string) []string {
	all := map[string]string{
		"PATH":   e.path,
		"HOME":   f.at(homeDir),
		"LANG":   "C.UTF-8",
		"TMPDIR": f.at(tempDir),
	}
	maps.Copy(all, env)
	maps.Copy(all, map[string]string{
		"GITHUB_WORKSPACE":    f.at(workspaceDir),
		"LITCI_WORKSPACE":     f.at(workspaceDir),
		"GITHUB_STEP_SUMMARY": f.at(summaryFile),
		"LITCI_STEP_SUMMARY":  f.at(summaryFile),
		"RUNNER_TEMP":         f.at(tempDir),
		"RUNNER_NAME":         e.host,
		"RUNNER_OS":           runnerOS(runtime.GOOS),
		"RUNNER_ARCH":         runnerArch(runtime.GOARCH),
	})
	list := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// marker is in the environment of every process of the job and of no other.
func (f folder) marker() string { return "LITCI_WORKSPACE=" + f.at(workspaceDir) }

// encodeEnv and decodeEnv keep an environment as the kernel shows one: each
// entry ends with a zero byte, so values may hold any other byte.
func encodeEnv(list []string) []byte {
	var b bytes.Buffer
	for _, entry := range list {
		b.WriteString(entry)
		b.WriteByte(0)
	}
	return b.Bytes()
}

func decodeEnv(data []byte) []string {
	list := []string{}
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

// runnerOS and runnerArch use the words of GitHub's variables reference.
func runnerOS(goos string) string {
	switch goos {
	case "linux":
		return "Linux"
	case "darwin":
		return "macOS"
	default:
		return goos
	}
}

func runnerArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "X64"
	case "386":
		return "X86"
	default:
		return strings.ToUpper(goarch)
	}
}
