package fakegithub

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a check run's parts, as GitHub documents and enforces them.
const (
	maxOutputBytes     = 65535 // documented as characters, enforced as bytes
	maxAnnotations     = 50    // a request
	maxAnnotationText  = 64 << 10
	maxAnnotationTitle = 255
	maxActions         = 3
	maxActionLabel     = 20
	maxActionDetail    = 40
	maxActionID        = 20
)

// checkInput is the body that creates or updates a check run.
type checkInput struct {
	Name        *string       `json:"name"`
	HeadSHA     *string       `json:"head_sha"`
	DetailsURL  *string       `json:"details_url"`
	ExternalID  *string       `json:"external_id"`
	Status      *string       `json:"status"`
	Conclusion  *string       `json:"conclusion"`
	StartedAt   *time.Time    `json:"started_at"`
	CompletedAt *time.Time    `json:"completed_at"`
	Output      *outputInput  `json:"output"`
	Actions     []actionInput `json:"actions"`
}

type outputInput struct {
	Title       *string           `json:"title"`
	Summary     *string           `json:"summary"`
	Text        *string           `json:"text"`
	Annotations []annotationInput `json:"annotations"`
}

type annotationInput struct {
	Path        *string `json:"path"`
	StartLine   *int    `json:"start_line"`
	EndLine     *int    `json:"end_line"`
	StartColumn *int    `json:"start_column"`
	EndColumn   *int    `json:"end_column"`
	Level       *string `json:"annotation_level"`
	Message     *string `json:"message"`
	Title       *string `json:"title"`
	RawDetails  *string `json:"raw_details"`
}

type actionInput struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

// faultsOf collects what is wrong with a body.
type faultsOf struct {
	resource string
	errors   []fieldError
}

func (f *faultsOf) add(field, code, message string) {
	f.errors = append(f.errors, fieldError{Resource: f.resource, Field: field, Code: code, Message: message})
}

// require notes a field that is missing or empty.
func (f *faultsOf) require(field string, value *string) {
	if value == nil || *value == "" {
		f.add(field, "missing_field", field+" wasn't supplied")
	}
}

// fits notes text of more bytes than allowed.
func (f *faultsOf) fits(field string, value *string, most int) {
	if value != nil && len(*value) > most {
		f.add(field, "custom", fmt.Sprintf("%s exceeds a maximum bytesize of %d", field, most))
	}
}

// short notes text of more characters than allowed.
func (f *faultsOf) short(field, value string, most int) {
	if utf8.RuneCountInString(value) > most {
		f.add(field, "invalid", fmt.Sprintf("%s is too long (maximum is %d characters)", field, most))
	}
}

func (f *faultsOf) oneOf(field string, value *string, allowed ...string) {
	if value != nil && !slices.Contains(allowed, *value) {
		f.add(field, "invalid", fmt.Sprintf("%q is not a member of %q", *value, allowed))
	}
}

func (f *faultsOf) err() error {
	if len(f.errors) == 0 {
		return nil
	}
	return invalid(f.errors...)
}

// validate holds the body to GitHub's rules; one field refused refuses all.
func (in *checkInput) validate(creates bool) error {
	f := &faultsOf{resource: "CheckRun"}
	if creates {
		f.require("name", in.Name)
		f.require("head_sha", in.HeadSHA)
	} else if in.Name != nil && *in.Name == "" {
		f.add("name", "invalid", "name can't be blank")
	}
	// waiting, requested and pending are for GitHub Actions, stale for GitHub.
	f.oneOf("status", in.Status, "queued", "in_progress", "completed")
	f.oneOf("conclusion", in.Conclusion, "action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out")
	if in.Conclusion == nil && (in.CompletedAt != nil || in.Status != nil && *in.Status == "completed") {
		f.add("conclusion", "missing_field", "conclusion wasn't supplied for a completed check run")
	}
	if in.DetailsURL != nil && *in.DetailsURL != "" && !strings.HasPrefix(*in.DetailsURL, "https://") && !strings.HasPrefix(*in.DetailsURL, "http://") {
		f.add("details_url", "invalid", "details_url must use http or https")
	}
	if in.Output != nil {
		in.Output.validate(f)
	}
	if len(in.Actions) > maxActions {
		f.add("actions", "invalid", fmt.Sprintf("no more than %d items are allowed", maxActions))
	}
	for _, a := range in.Actions {
		f.require("label", &a.Label)
		f.require("description", &a.Description)
		f.require("identifier", &a.Identifier)
		f.short("label", a.Label, maxActionLabel)
		f.short("description", a.Description, maxActionDetail)
		f.short("identifier", a.Identifier, maxActionID)
	}
	return f.err()
}

func (out *outputInput) validate(f *faultsOf) {
	f.require("title", out.Title)
	f.require("summary", out.Summary)
	f.fits("summary", out.Summary, maxOutputBytes)
	f.fits("text", out.Text, maxOutputBytes)
	if len(out.Annotations) > maxAnnotations {
		f.add("annotations", "invalid", fmt.Sprintf("no more than %d items are allowed; %d were supplied", maxAnnotations, len(out.Annotations)))
	}
	for _, a := range out.Annotations {
		a.validate(f)
	}
}

func (a *annotationInput) validate(f *faultsOf) {
	f.require("path", a.Path)
	f.require("message", a.Message)
	f.require("annotation_level", a.Level)
	f.oneOf("annotation_level", a.Level, "notice", "warning", "failure")
	f.fits("message", a.Message, maxAnnotationText)
	f.fits("raw_details", a.RawDetails, maxAnnotationText)
	if a.Title != nil {
		f.short("title", *a.Title, maxAnnotationTitle)
	}
	if a.StartLine == nil || a.EndLine == nil {
		f.add("start_line", "missing_field", "start_line and end_line weren't both supplied")
		return
	}
	if *a.StartLine < 1 || *a.EndLine < *a.StartLine {
		f.add("end_line", "invalid", "lines begin at 1, and end_line is not before start_line")
	}
	if (a.StartColumn != nil || a.EndColumn != nil) && *a.StartLine != *a.EndLine {
		f.add("start_column", "invalid", "columns are allowed only if start_line and end_line are equal")
	}
}

// apply writes a valid body into the run. Annotations are added to those that
// are there; a conclusion completes; another status than completed reopens.
func (in *checkInput) apply(run *checkRun, now time.Time) {
	set := func(field *string, value *string) {
		if value != nil {
			*field = *value
		}
	}
	set(&run.name, in.Name)
	set(&run.detailsURL, in.DetailsURL)
	set(&run.externalID, in.ExternalID)
	set(&run.status, in.Status)
	if in.StartedAt != nil {
		run.startedAt = in.StartedAt.UTC().Truncate(time.Second)
	}
	switch {
	case in.Conclusion != nil:
		run.status, run.conclusion = "completed", *in.Conclusion
		if in.CompletedAt != nil {
			now = in.CompletedAt.UTC().Truncate(time.Second)
		}
		run.completedAt = &now
	case in.Status != nil: // and it is not completed, which demands a conclusion
		run.conclusion, run.completedAt = "", nil
	}
	if out := in.Output; out != nil {
		run.title, run.summary = out.Title, out.Summary
		if out.Text != nil {
			run.text = out.Text
		}
		run.annotations = append(run.annotations, out.Annotations...)
	}
	if in.Actions != nil {
		run.actions = in.Actions
	}
	if in.Status != nil || in.Conclusion != nil {
		run.suite.reset = false
	}
}
