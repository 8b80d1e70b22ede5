// Package lightning runs jobs on Lightning AI's machines, through its REST API.
//
// A job is an image job of a teamspace, named by its Spec.ID. The service has no
// idempotency key: it makes a second job, under another name, when a name is taken.
// So a job is looked up before it is made, a request whose answer was lost is never
// repeated blindly, and what came to be twice is found and deleted.
//
// The service knows no exit codes and keeps logs as lines of text. A wrapper in the
// job's command (wrapper.sh) tells the exit code in the log's last line, enforces the
// deadline with every service of litci down, and writes what is not plain text in a
// form that survives; the log read here is what the script wrote, byte by byte.
//
// What the service does on a request to stop is its own affair: the wrapper gives the
// script Spec.Grace, whatever grace Stop names.
package lightning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/keyed"
)

// Kind is the executor's name in handles, configuration and logs.
const Kind = "lightning"

// DefaultURL is Lightning AI itself.
const DefaultURL = "https://lightning.ai"

// Config says which account and teamspace jobs run in.
type Config struct {
	// URL is the service's address; empty means DefaultURL.
	URL string
	// UserID and APIKey are the account's; a scoped key needs no user.
	UserID, APIKey string
	// Teamspace is "owner/name", or "name" where no other is called so. A scoped key
	// has its own.
	Teamspace string
	// Cluster is the cloud account that machines come from; empty lets the service
	// choose.
	Cluster string
	// Machines maps names of workflows to the service's names, before the built-in
	// ones.
	Machines map[string]string
	// ImageSecret names a stored registry credential, for private images.
	ImageSecret string
	// Instance tells the jobs of several installations in one teamspace apart.
	Instance string
	// LogHead and LogTail bound what is kept of a log's beginning and end, in bytes;
	// zero means 8 MiB each.
	LogHead, LogTail int64

	// SourceURL gives the address from which the machine fetches the commit's archive,
	// without credentials. It is asked once for each job that is to be made. The
	// address must outlast the wait for a machine, and serve one attempt once.
	SourceURL func(ctx context.Context, job executor.Spec) (string, error)

	// Client makes the requests; nil means one with sensible timeouts.
	Client *http.Client
	// Log is told of what an operator may want to know; nil means nobody is.
	Log *zap.Logger
	// Pace is how patient the executor is; the zero value is meant for the service.
	Pace Pace
}

// Pace is how long to wait for what.
type Pace struct {
	// Rate is the number of requests a second; 0 means 5, with a burst of twice as many.
	Rate float64
	// Call bounds one request; 0 means 30 s.
	Call time.Duration
	// Retry is the first wait before a repeated request, doubled each time; 0 means
	// 500 ms.
	Retry time.Duration
	// LookAgain are the waits before looking for a job whose creation was not answered;
	// nil means 5, 15 and 45 s.
	LookAgain []time.Duration
	// Marker is how long an ended job's log may lag behind; 0 means 60 s.
	Marker time.Duration
	// Fresh is how long an answer about a running job is given again without asking;
	// 0 means 3 s. It grows with the number of jobs.
	Fresh time.Duration
	// Discard bounds the wait for the end of a job that came to be twice; 0 means 20 s.
	Discard time.Duration
}

func (p *Pace) fill() {
	p.Rate = cmp.Or(p.Rate, 5)
	p.Call = cmp.Or(p.Call, 30*time.Second)
	p.Retry = cmp.Or(p.Retry, 500*time.Millisecond)
	p.Marker = cmp.Or(p.Marker, time.Minute)
	p.Fresh = cmp.Or(p.Fresh, 3*time.Second)
	p.Discard = cmp.Or(p.Discard, 20*time.Second)
	if p.LookAgain == nil {
		p.LookAgain = []time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second}
	}
}

// Executor runs jobs on Lightning AI.
type Executor struct {
	config Config
	client *client
	log    *zap.Logger

	places   places
	catalogs catalogs
	starting keyed.Lock
	jobs     memory
}

var (
	_ executor.Executor  = (*Executor)(nil)
	_ executor.Lister    = (*Executor)(nil)
	_ executor.Collector = (*Executor)(nil)
	_ executor.Checker   = (*Executor)(nil)
	_ executor.Tidier    = (*Executor)(nil)
)

// New returns an executor. It makes no request; Check does.
func New(config Config) (*Executor, error) {
	config.URL = strings.TrimRight(cmp.Or(config.URL, DefaultURL), "/")
	base, err := url.Parse(config.URL)
	switch {
	case err != nil || base.Host == "" || base.User != nil || base.RawQuery != "":
		return nil, errors.New("lightning: the address of the service is malformed: set it to something like " + DefaultURL)
	case base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())):
		return nil, fmt.Errorf("lightning: %s would show the API key to the network: use https", config.URL)
	case config.APIKey == "":
		return nil, errors.New("lightning: no API key: set LIGHTNING_API_KEY, and LIGHTNING_USER_ID beside it; both are in the account's settings under Keys")
	}
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	config.LogHead = cmp.Or(config.LogHead, 8<<20)
	config.LogTail = cmp.Or(config.LogTail, 8<<20)
	config.Pace.fill()
	e := &Executor{config: config, log: config.Log}
	e.client = &client{
		base: config.URL, authorization: authorization(config.UserID, config.APIKey), secrets: []string{config.APIKey},
		http: config.Client, pace: config.Pace, limiter: rate.NewLimiter(rate.Limit(config.Pace.Rate), max(1, int(2*config.Pace.Rate))),
	}
	if e.client.http == nil {
		e.client.http = &http.Client{}
	}
	return e, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Name is "lightning".
func (e *Executor) Name() string { return Kind }

// Check asks the service whether credentials and teamspace are good. Its error says
// what to do.
func (e *Executor) Check(ctx context.Context) error {
	e.places.forget()
	p, err := e.place(ctx)
	if err != nil {
		return err
	}
	if _, err := e.page(ctx, p, "", 1); err != nil {
		return advise(fmt.Errorf("jobs of teamspace %s: %w", p.name(), err))
	}
	return nil
}
