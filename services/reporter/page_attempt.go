package reporter

import (
	"net/http"
	"strconv"

	"github.com/litci/litci/pkg/flow"
)

// earlierRow is an attempt that gave way, as pages list it.
type earlierRow struct {
	flow.Earlier
	// What became of it, and Why the next attempt came.
	What, Why string
	Path      string
}

// attemptData is what the page of an earlier attempt shows.
type attemptData struct {
	frame
	earlierRow
	Check string
	// JobLink, RunLink and OwnLink are the relative addresses of the job's page, of the
	// run's, and of this one.
	JobLink, RunLink, OwnLink string
	Log                       logPart
}

// attempt finds the attempt that the request names: one that gave way, or the newest.
func (p *Pages) attempt(r *http.Request) (jobState, flow.Earlier, error) {
	job, err := p.job(r)
	if err != nil {
		return job, flow.Earlier{}, err
	}
	for _, e := range job.Earlier {
		if strconv.Itoa(e.Attempt) == r.PathValue("attempt") {
			return job, e, nil
		}
	}
	if strconv.Itoa(job.Attempt) == r.PathValue("attempt") {
		return job, flow.Earlier{}, nil
	}
	return job, flow.Earlier{}, errNoPage
}

// attemptPage shows an attempt that gave way, with its log.
func (p *Pages) attemptPage(w http.ResponseWriter, r *http.Request) error {
	job, e, err := p.attempt(r)
	if err != nil {
		return err
	}
	if e.Attempt == 0 { // the newest has the job's page
		w.Header().Set("Location", "../../"+strconv.Itoa(job.Index))
		w.WriteHeader(http.StatusFound)
		return nil
	}
	data := attemptData{
		frame:      frame{Identity: job.Identity, Title: job.Check},
		earlierRow: earlierRow{Earlier: e, What: capital(job.gaveWay(e)), Why: why(e)},
		Check:      job.Check,
		JobLink:    "../../" + strconv.Itoa(job.Index), RunLink: "../../../../" + p.links.sign(job.Run), OwnLink: strconv.Itoa(e.Attempt),
	}
	if data.Log, err = p.archived(r.Context(), orElse(e.Log, flow.LogName(job.Job, e.Attempt))); err != nil {
		return err
	}
	return p.render(w, "attempt.html", &data.frame, &data)
}

// attemptLog serves the whole log of an attempt that gave way as plain text.
func (p *Pages) attemptLog(w http.ResponseWriter, r *http.Request) error {
	job, e, err := p.attempt(r)
	if err != nil {
		return err
	}
	if e.Attempt == 0 {
		return p.logText(w, r)
	}
	return p.archiveText(w, r, flow.AttemptID(job.Job, e.Attempt), orElse(e.Log, flow.LogName(job.Job, e.Attempt)))
}
