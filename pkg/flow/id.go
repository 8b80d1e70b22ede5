package flow

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
)

// RunID computes the name of a run: the same input gives the same run, which is
// what makes planning a delivery twice plan it once. The nonce is empty for
// opened, synchronize and push; it is the delivery's GUID for every other event.
// subject is the pull request's number or the ref.
func RunID(installation, repo int64, event, subject, sha, nonce string) string {
	h := sha256.New()
	for _, part := range []string{strconv.FormatInt(installation, 10), strconv.FormatInt(repo, 10), event, subject, sha, nonce} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))[:20]
}

// JobID names a job of a run; index counts from 0 in the plan's order.
func JobID(run string, index int) string { return run + "-" + strconv.Itoa(index) }

// AttemptID names an attempt of a job; attempts count from 1. It is the
// external_id of the attempt's check run.
func AttemptID(job string, attempt int) string { return job + "-a" + strconv.Itoa(attempt) }

// ExternalName is what an attempt is called outside litci: its container, its
// Kubernetes Job, its folder.
func ExternalName(job string, attempt int) string { return "litci-" + AttemptID(job, attempt) }

// ParseAttemptID takes an attempt's id apart. The id comes back from GitHub with
// re-run requests, so it is checked and not trusted.
func ParseAttemptID(id string) (run string, index, attempt int, ok bool) {
	parts := strings.Split(id, "-")
	if len(parts) != 3 || len(parts[0]) != 20 || strings.Trim(parts[0], "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", 0, 0, false
	}
	index, err := strconv.Atoi(parts[1])
	if err != nil || index < 0 {
		return "", 0, 0, false
	}
	number, found := strings.CutPrefix(parts[2], "a")
	attempt, err = strconv.Atoi(number)
	if err != nil || !found || attempt < 1 || AttemptID(JobID(parts[0], index), attempt) != id {
		return "", 0, 0, false
	}
	return parts[0], index, attempt, true
}
