package reporter

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/sourcelink"
)

//go:embed templates
var templates embed.FS

// Pages serves the report pages: what a run and its jobs came to, with their
// logs. An address is known only to who was shown it on GitHub: it carries the
// run's signature. Pages change nothing. Beside them it serves the sources of jobs
// whose machines cannot reach the bus, each by a link that is good once.
type Pages struct {
	bus      *bus.Bus
	links    links
	log      *zap.Logger
	listener net.Listener
	html     *template.Template

	viewers chan struct{} // live tails at once
	// poll is the time between two looks at the state of a watched job, beat
	// between two signs of life to its viewer.
	poll, beat time.Duration
}

// maxViewers bounds the live tails of one reporter.
const maxViewers = 256

// NewPages listens on address for report pages whose links begin with publicURL
// (empty: this machine at the port it listens on) and are signed with a key made
// from the App's private key.
func NewPages(b *bus.Bus, address, publicURL string, privateKey []byte, log *zap.Logger) (*Pages, error) {
	html, err := template.New("").Funcs(template.FuncMap{
		"short": short, "stamp": stamp, "icon": icon, "word": stateWord, "tone": tone,
	}).ParseFS(templates, "templates/*")
	if err != nil {
		return nil, fmt.Errorf("templates of the report pages: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("report pages: %w", err)
	}
	if publicURL == "" {
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("address of the report pages: %w", err)
		}
		publicURL = "http://localhost:" + port
	}
	return &Pages{
		bus: b, links: newLinks(publicURL, privateKey), log: log, listener: listener, html: html,
		viewers: make(chan struct{}, maxViewers), poll: time.Second, beat: 15 * time.Second,
	}, nil
}

// Addr is where the pages are served.
func (p *Pages) Addr() net.Addr { return p.listener.Addr() }

// Run serves until ctx ends.
func (p *Pages) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		// Live tails end with ctx, so that stopping does not wait for viewers.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
	}()
	p.log.Info("report pages", zap.String("address", p.Addr().String()), zap.String("public_url", p.links.base))
	err := server.Serve(p.listener)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("report pages: %w", err)
}

func (p *Pages) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /runs/{run}/{signature}", p.guard(p.runPage))
	mux.HandleFunc("GET /runs/{run}/{signature}/jobs/{index}", p.guard(p.jobPage))
	mux.HandleFunc("GET /runs/{run}/{signature}/jobs/{index}/log", p.guard(p.logText))
	mux.HandleFunc("GET /runs/{run}/{signature}/jobs/{index}/events", p.guard(p.events))
	mux.HandleFunc("GET /runs/{run}/{signature}/jobs/{index}/attempts/{attempt}", p.guard(p.attemptPage))
	mux.HandleFunc("GET /runs/{run}/{signature}/jobs/{index}/attempts/{attempt}/log", p.guard(p.attemptLog))
	mux.HandleFunc("GET "+sourcelink.Path+"{secret}", p.source)
	return mux
}

// longestAnswer bounds how long a reader may take for a page or a log; live
// tails renew it with every event.
const longestAnswer = 10 * time.Minute

// errNoPage is answered with 404: a wrong signature and an unknown run look the same.
var errNoPage = errors.New("no such page")

// guard lets requests with a right signature pass and sets the headers that keep
// private logs private.
func (p *Pages) guard(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "private, no-cache")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Robots-Tag", "noindex, nofollow")
		// Where deadlines are not supported the connection's own end must do.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(longestAnswer))
		err := errNoPage
		if p.links.valid(r.PathValue("run"), r.PathValue("signature")) {
			err = serve(w, r)
		}
		switch {
		case err == nil || r.Context().Err() != nil:
		case errors.Is(err, errNoPage):
			http.Error(w, "There is no such report. Reports are kept for 14 days.", http.StatusNotFound)
		default:
			p.log.Warn("report page", zap.String("run", r.PathValue("run")), zap.Error(err))
			http.Error(w, "The report cannot be shown just now. Try again in a moment.", http.StatusServiceUnavailable)
		}
	}
}

// view reads the run that the request names.
func (p *Pages) view(r *http.Request) (runView, error) {
	run := r.PathValue("run")
	state, err := load[runState](r.Context(), p.bus.Runs(), runKey(run))
	if err != nil {
		return runView{}, err
	}
	if !state.known() {
		return runView{}, errNoPage
	}
	states, err := jobStates(r.Context(), p.bus.Runs(), run)
	return runView{runState: state, states: states}, err
}

// job reads the job that the request names. A job that nothing was heard of yet
// is queued.
func (p *Pages) job(r *http.Request) (jobState, error) {
	index, err := strconv.Atoi(r.PathValue("index"))
	if err != nil || index < 0 || strconv.Itoa(index) != r.PathValue("index") {
		return jobState{}, errNoPage
	}
	run := r.PathValue("run")
	state, err := load[jobState](r.Context(), p.bus.Runs(), jobKey(run, index))
	if err != nil || state.Attempt > 0 {
		return state, err
	}
	plan, err := load[runState](r.Context(), p.bus.Runs(), runKey(run))
	if err != nil {
		return state, err
	}
	if index >= len(plan.jobs()) {
		return state, errNoPage
	}
	return jobState{
		Identity: plan.identity(), Job: flow.JobID(run, index), Index: index, Attempt: 1,
		Check: plan.jobs()[index].Check, State: flow.Queued,
	}, nil
}

// frame is what both pages have in common.
type frame struct {
	flow.Identity
	// Nonce lets the page's own style and script pass its content security policy.
	Nonce string
	// Refresh asks browsers without scripts to load the page again, in seconds.
	Refresh int
	Title   string
}

// runData is what the run page shows.
type runData struct {
	frame
	Headline   string
	Conclusion flow.Conclusion
	State      flow.State
	At         time.Time
	Actor      string
	HeadRef    string
	BaseRef    string
	Rows       []pageRow
	Problems   []flow.Problem
	Notices    []string
	Why        string
	// Again says which jobs were tried again.
	Again string
}

// pageRow is a line of the run page. Links between pages are relative, so that
// they hold behind a proxy that serves the pages below a path of its own.
type pageRow struct {
	row
	Path string
}

func (p *Pages) runPage(w http.ResponseWriter, r *http.Request) error {
	view, err := p.view(r)
	if err != nil {
		return err
	}
	id := view.identity()
	s := sumUp([]runView{view}, p.links)
	status, conclusion := s.verdict()
	data := runData{
		frame:    frame{Identity: id, Title: s.headline(id.SHA)},
		Headline: s.headline(id.SHA), Conclusion: conclusion, State: flow.Running, At: view.at(),
		Problems: slices.Concat(view.errors(), view.warnings()), Notices: s.notices, Again: s.startedAgain(),
	}
	switch {
	case s.lost != "":
		data.Why = unplanned + s.lost + " " + planAgain
	case s.gated:
		data.Why = s.gate
	case len(s.rows) == 0:
		data.Why = orElse(s.reason, "No workflow of this commit wants this event.")
	}
	if view.Plan != nil {
		data.Actor, data.HeadRef, data.BaseRef = view.Plan.Actor, view.Plan.HeadRef, view.Plan.BaseRef
	}
	if status != statusCompleted || s.count().open > 0 {
		data.Refresh = 10
	}
	for _, line := range s.rows {
		entry := pageRow{row: line}
		if line.index >= 0 {
			entry.Path = fmt.Sprintf("%s/jobs/%d", p.links.sign(id.Run), line.index)
		}
		data.Rows = append(data.Rows, entry)
	}
	return p.render(w, "run.html", &data.frame, &data)
}

// jobData is what the job page shows.
type jobData struct {
	frame
	Job      jobState
	Headline string
	Took     string
	Began    time.Time
	// RunLink and OwnLink are the relative addresses of the run's page and of this one.
	RunLink, OwnLink string
	Live             bool
	Log              logPart
	Earlier          []earlierRow
}

func (p *Pages) jobPage(w http.ResponseWriter, r *http.Request) error {
	job, err := p.job(r)
	if err != nil {
		return err
	}
	data := jobData{
		frame: frame{Identity: job.Identity, Title: job.Check},
		Job:   job, Headline: jobTitle(job), Began: job.began(),
		RunLink: "../../" + p.links.sign(job.Run), OwnLink: strconv.Itoa(job.Index), Live: !job.concluded(),
	}
	if d, ok := job.took(); ok {
		data.Took = length(d)
	}
	if data.Log, err = p.logPart(r.Context(), job); err != nil {
		return err
	}
	for _, e := range slices.Backward(job.Earlier) {
		data.Earlier = append(data.Earlier, earlierRow{Earlier: e, What: capital(job.gaveWay(e)), Why: why(e), Path: attemptOf(data.OwnLink, e.Attempt)})
	}
	if data.Live {
		data.Refresh = 10
	}
	return p.render(w, "job.html", &data.frame, &data)
}

// render writes a page whose own style and script alone may run.
func (p *Pages) render(w http.ResponseWriter, name string, f *frame, data any) error {
	f.Nonce = rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fmt.Sprintf(
		"default-src 'none'; style-src 'nonce-%[1]s'; script-src 'nonce-%[1]s'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'", f.Nonce))
	if err := p.html.ExecuteTemplate(w, name, data); err != nil {
		// The page has begun: all that is left is to end it, and to say so here.
		p.log.Warn("report page", zap.String("page", name), zap.Error(err))
	}
	return nil
}

// stamp is a time as pages show it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// tone is the colour of a state, beside its word and picture.
func tone(s flow.State, c flow.Conclusion) string {
	switch c {
	case flow.Success:
		return "good"
	case flow.Failure, flow.TimedOut:
		return "bad"
	case flow.ActionRequired:
		return "ask"
	case flow.Cancelled, flow.Skip:
		return "none"
	}
	if s.Rank() <= flow.Queued.Rank() {
		return "wait"
	}
	return "busy"
}
