package chaos

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/litci/litci/pkg/fakegithub"
)

// faultyPaths are where a fault waits for a request: anywhere, and more often where
// an answer that is lost hurts most.
func faultyPaths() [][2]string {
	return [][2]string{
		{"", ""},
		{http.MethodPost, "/repos/{owner}/{repo}/check-runs"},
		{http.MethodPatch, "/repos/{owner}/{repo}/check-runs/{check_run_id}"},
		{http.MethodPost, "/repos/{owner}/{repo}/issues/{issue_number}/comments"},
		{http.MethodGet, ""},
	}
}

func drawFaults(r *rand.Rand, n int, length time.Duration) []HubFault {
	paths := faultyPaths()
	faults := make([]HubFault, n)
	for i, at := range moments(r, n, length) {
		where := paths[r.IntN(len(paths))]
		f := fakegithub.Fault{Method: where[0], Path: where[1], Count: 1 + r.IntN(2)}
		switch r.IntN(8) {
		case 0:
			f.Status, f.Headers = http.StatusTooManyRequests, retryAfter(1+r.IntN(2))
		case 1: // a secondary limit
			f.Status, f.Headers = http.StatusForbidden, retryAfter(1+r.IntN(2))
			f.Body = json.RawMessage(`{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}`)
		case 2:
			f.Status = http.StatusInternalServerError
		case 3:
			f.Status = http.StatusBadGateway
		case 4:
			f.Status, f.AfterEffect = http.StatusBadGateway, true
		case 5:
			f.Drop = true
		case 6:
			f.Drop, f.AfterEffect = true, true
		default:
			f.DelayMS = 200 + r.IntN(2500)
		}
		faults[i] = HubFault{At: at, Fault: f}
	}
	return faults
}

func retryAfter(seconds int) map[string]string {
	return map[string]string{"Retry-After": strconv.Itoa(seconds)}
}
