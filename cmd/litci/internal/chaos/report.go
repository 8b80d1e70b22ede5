package chaos

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Report is what came of a run.
type Report struct {
	Seed      int64   `json:"seed"`
	Repeat    string  `json:"repeat"` // the command that does it again
	Passed    bool    `json:"ok"`
	Seconds   float64 `json:"seconds"`
	Processes int     `json:"processes"`
	Events    int     `json:"events"`
	Kills     int     `json:"kills"`
	// Installations share the work, each within GitHub's limits.
	Installations int `json:"installations"`
	// MissedWebhooks failed at first, and litci had to find out by itself.
	MissedWebhooks int    `json:"missed_webhooks"`
	GitHubLimits   string `json:"github_limits"`

	JobsPlanned   int `json:"jobs_planned"`
	JobsCancelled int `json:"jobs_cancelled"`
	JobsRetried   int `json:"jobs_retried"`

	Lost              int `json:"lost"`
	Twice             int `json:"run_twice"`
	VerdictsMissing   int `json:"verdicts_missing"`
	VerdictsWrong     int `json:"verdicts_wrong"`
	AggregatesMissing int `json:"aggregates_missing"`
	DuplicateChecks   int `json:"duplicate_checks"`
	DuplicateComments int `json:"duplicate_comments"`
	Stuck             int `json:"stuck"`
	DeadLetters       int `json:"dead_letters"`
	Unhealed          int `json:"unhealed"`
	// ProcessesFailed counts what processes did that none should: end by themselves,
	// never be ready, not stop when asked to.
	ProcessesFailed    int `json:"processes_failed"`
	OutageMisbehaviour int `json:"outage_misbehaviour"`

	Recovery []Recovery `json:"recovery"`
	// Findings are all that is wrong, one sentence each.
	Findings []string `json:"findings,omitempty"`
	// Dir has all logs; empty when it was removed.
	Dir string `json:"dir,omitempty"`

	compared bool
}

// Recovery is how long processes of a kind took to be ready after they were started
// again.
type Recovery struct {
	Kind  string  `json:"kind"`
	Kills int     `json:"kills"`
	P50   float64 `json:"p50_seconds"`
	P95   float64 `json:"p95_seconds"`
}

// OK tells whether nothing is wrong.
func (r Report) OK() bool { return r.compared && len(r.Findings) == 0 }

// report puts together what is known.
func (p *play) report() Report {
	o, f := p.options, p.findings
	r := Report{
		Seed: o.Seed, Repeat: o.command(), Seconds: p.took.Seconds(), Events: len(p.schedule.Events), Kills: len(p.schedule.Kills),
		Installations: o.installations(), MissedWebhooks: p.missed, GitHubLimits: o.limits(), JobsPlanned: f.Jobs, JobsCancelled: f.Cancelled, JobsRetried: f.Retried,
		compared: p.compared,
	}
	var failed []string
	if p.fleet != nil {
		r.Processes = 1 + len(p.fleet.services) // GitHub is never killed
		p.fleet.mu.Lock()
		defer p.fleet.mu.Unlock()
		failed, r.Recovery = p.fleet.failed, recoveries(p.schedule.Kills, p.fleet.recovery)
	}
	for _, list := range []struct {
		count *int
		found []string
	}{
		{&r.Lost, f.Lost},
		{&r.Twice, f.Twice},
		{&r.VerdictsMissing, f.Missing},
		{&r.VerdictsWrong, f.Wrong},
		{&r.AggregatesMissing, f.Aggregates},
		{&r.DuplicateChecks, f.DuplicateChecks},
		{&r.DuplicateComments, f.DuplicateComments},
		{&r.Stuck, f.Stuck},
		{&r.DeadLetters, f.DeadLetters},
		{&r.Unhealed, f.Unhealed},
		{&r.ProcessesFailed, failed},
		{&r.OutageMisbehaviour, p.outageWrong},
	} {
		*list.count = len(list.found)
		r.Findings = append(r.Findings, list.found...)
	}
	r.Passed = r.OK()
	return r
}

// recoveries are the kinds of processes in the order of the services, NATS first.
func recoveries(kills []Kill, times map[string][]time.Duration) []Recovery {
	var list []Recovery
	for _, kind := range append([]string{kindNATS}, services()...) {
		n := 0
		for _, k := range kills {
			if k.kind() == kind {
				n++
			}
		}
		if n == 0 {
			continue
		}
		list = append(list, Recovery{Kind: kind, Kills: n, P50: percentile(times[kind], 50), P95: percentile(times[kind], 95)})
	}
	return list
}

// percentile is the smallest time that is not below the given share of all, in
// seconds; 0 of none.
func percentile(times []time.Duration, percent int) float64 {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	at := (len(sorted)*percent+99)/100 - 1
	return sorted[max(at, 0)].Seconds()
}

// command is the command line that repeats a run.
func (o Options) command() string {
	text := fmt.Sprintf("litci chaos --seed %d --events %d --jobs-per-event %d --kills %d --replicas %d --slots %d",
		o.Seed, o.Events, o.JobsPerEvent, o.Kills, o.Replicas, o.Slots)
	for _, option := range []struct {
		set  bool
		text string
	}{
		{o.GitHubFaults, "--github-faults"},
		{o.DeliveryFaults != o.GitHubFaults, fmt.Sprintf("--delivery-faults=%t", o.DeliveryFaults)},
		{o.GitHubLimits, "--github-limits"},
		{o.Installations > 0, fmt.Sprintf("--installations %d", o.Installations)},
		{o.NATSOutage > 0, "--nats-outage " + o.NATSOutage.String()},
		{o.Duration > 0, "--duration " + o.Duration.String()},
		{o.Timeout > 0, "--timeout " + o.Timeout.String()},
		{o.Executor != "local", "--executor " + o.Executor},
		{o.Image != "", "--image " + o.Image},
	} {
		if option.set {
			text += " " + option.text
		}
	}
	return text
}

// shownFindings is how many findings a person is shown.
const shownFindings = 40

// Print writes the report for people.
func (r Report) Print(out io.Writer) {
	fmt.Fprintf(out, "Chaos with seed %d: %d events, %d kills of %d processes, %.0f s\n\n", r.Seed, r.Events, r.Kills, r.Processes, r.Seconds)
	for _, line := range []struct {
		what string
		n    int
	}{
		{"jobs planned", r.JobsPlanned},
		{"lost", r.Lost},
		{"run twice", r.Twice},
		{"verdicts missing", r.VerdictsMissing},
		{"verdicts wrong", r.VerdictsWrong},
		{"aggregates missing", r.AggregatesMissing},
		{"duplicate checks", r.DuplicateChecks},
		{"duplicate comments", r.DuplicateComments},
		{"stuck", r.Stuck},
		{"dead letters", r.DeadLetters},
		{"events never planned", r.Unhealed},
		{"processes that failed", r.ProcessesFailed},
		{"wrong in the outage", r.OutageMisbehaviour},
	} {
		fmt.Fprintf(out, "%-22s %6d\n", line.what, line.n)
	}
	fmt.Fprintf(out, "\n%-22s %6s %9s %9s\n", "ready after", "kills", "p50", "p95")
	for _, k := range r.Recovery {
		fmt.Fprintf(out, "%-22s %6d %7.2f s %7.2f s\n", k.Kind, k.Kills, k.P50, k.P95)
	}
	fmt.Fprintf(out, "\n%d webhooks failed at first. %d jobs of superseded commits were cancelled, %d attempts repeated after\nfailures of the machine. %d installations; GitHub's limits are %s.\n",
		r.MissedWebhooks, r.JobsCancelled, r.JobsRetried, r.Installations, r.GitHubLimits)
	for i, finding := range r.Findings {
		if i == 0 {
			fmt.Fprintln(out)
		}
		if i == shownFindings {
			fmt.Fprintf(out, "and %d more; --json shows all\n", len(r.Findings)-i)
			break
		}
		fmt.Fprintf(out, "- %s\n", finding)
	}
	fmt.Fprintf(out, "\nAgain: %s\n", r.Repeat)
	if r.Dir != "" {
		fmt.Fprintf(out, "Logs: %s\n", r.Dir)
	}
	verdict := "Failed."
	if r.OK() {
		verdict = "Nothing lost, nothing twice."
	}
	fmt.Fprintf(out, "\n%s\n", verdict)
}
