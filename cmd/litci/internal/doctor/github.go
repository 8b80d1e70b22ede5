package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/ghapp"
)

// needed are the permissions that litci works with.
var needed = map[string]string{"checks": "write", "contents": "read", "metadata": "read", "pull_requests": "write"}

// wantedEvents are what the App should be told of, and what does not work without.
var wantedEvents = []struct{ name, without string }{
	{"pull_request", "no pull request is tested"},
	{"push", "no push is tested"},
	{"check_run", "Re-run buttons of checks do nothing"},
	{"check_suite", "Re-run all checks does nothing"},
	{"issue_comment", "commands in comments do nothing"},
	{"pull_request_review", "approvals start nothing"},
	{"merge_group", "merge queues are not tested"},
}

// GitHub takes a token from half a minute before it was made, by its own clock, to
// ninety seconds after.
const (
	mostAhead  = 30 * time.Second
	mostBehind = 90 * time.Second
	someDrift  = 10 * time.Second
)

func (r *Report) github(ctx context.Context, cfg *config.Config) {
	app, err := ghapp.New(ghapp.Config{BaseURL: cfg.GitHubURL, AppID: cfg.AppID, PrivateKey: cfg.PrivateKey})
	if err != nil {
		r.add("github app", Fail, err.Error(), "check --app-id, the private key and --github-url")
		return
	}
	defer app.Close()
	api := app.AsApp()
	asked := time.Now()
	self, answer, err := api.Apps.Get(ctx, "")
	if answer != nil && answer.Response != nil {
		r.clock(answer.Header.Get("Date"), asked, time.Now())
	}
	if err != nil {
		if told := app.Check(ctx); told != nil {
			err = told
		}
		r.add("github app", Fail, err.Error(), "take id and key from the App's settings page; check --github-url, proxy and DNS")
		return
	}
	r.add("github app", OK, fmt.Sprintf("GitHub knows App %d as %s", cfg.AppID, self.GetSlug()), "")
	r.permissions("github permissions", "the App", self.Permissions, "grant them on the App's settings page under Permissions, then have each installation accept them")
	r.events(self.Events)
	r.installations(ctx, api)
	r.webhook(ctx, api, cfg)
	r.deliveries(ctx, api)
}

// clock compares GitHub's clock with this machine's. GitHub wrote the date at a moment
// between the question and the answer, so only what lies outside of them is a difference.
func (r *Report) clock(date string, asked, answered time.Time) {
	const what, remedy = "clock", "synchronise this machine's clock (timedatectl set-ntp true)"
	theirs, err := http.ParseTime(date)
	if err != nil {
		r.add(what, Warn, "GitHub's answer has no time to compare with", "look for a proxy that removes the Date header")
		return
	}
	ahead := time.Duration(0)
	switch {
	case asked.After(theirs):
		ahead = asked.Sub(theirs).Round(time.Second)
	case answered.Before(theirs):
		ahead = answered.Sub(theirs).Round(time.Second)
	}
	text := "this machine's clock is right"
	switch {
	case ahead > time.Second:
		text = fmt.Sprintf("this machine's clock is %s ahead of GitHub's", ahead)
	case ahead < -time.Second:
		text = fmt.Sprintf("this machine's clock is %s behind GitHub's", -ahead)
	}
	switch {
	case ahead > mostAhead || ahead < -mostBehind:
		r.add(what, Fail, text+": GitHub refuses the App's tokens", remedy)
	case ahead > someDrift || ahead < -someDrift:
		r.add(what, Warn, text, remedy)
	default:
		r.add(what, OK, text, "")
	}
}

// lacking are the needed permissions that were not granted.
func lacking(granted *github.InstallationPermissions) []string {
	have := map[string]string{}
	if data, err := json.Marshal(granted); err == nil {
		_ = json.Unmarshal(data, &have) // strings alone
	}
	var lack []string
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		if have[name] != needed[name] && have[name] != "write" && have[name] != "admin" {
			lack = append(lack, name+" "+needed[name])
		}
	}
	return lack
}

func (r *Report) permissions(what, who string, granted *github.InstallationPermissions, remedy string) bool {
	lack := lacking(granted)
	if len(lack) > 0 {
		r.add(what, Fail, who+" lacks "+strings.Join(lack, ", "), remedy)
		return false
	}
	r.add(what, OK, who+" has all that litci needs", "")
	return true
}

func (r *Report) events(subscribed []string) {
	const what, remedy = "github events", "subscribe to it on the App's settings page under Permissions & events"
	missing := 0
	for i, e := range wantedEvents {
		if slices.Contains(subscribed, e.name) {
			continue
		}
		missing++
		state := Warn
		if i < 2 {
			state = Fail
		}
		r.add(what, state, "the App is not told of "+e.name+": "+e.without, remedy)
	}
	if missing == 0 {
		r.add(what, OK, "the App is told of all that litci heeds", "")
	}
}

// installations looks whether what the App asks for was accepted.
func (r *Report) installations(ctx context.Context, api *github.Client) {
	const what = "github installations"
	options := &github.ListOptions{PerPage: 100}
	count, ill := 0, 0
	for {
		page, answer, err := api.Apps.ListInstallations(ctx, options)
		if err != nil {
			r.add(what, Fail, err.Error(), "ask again; GitHub may be out of order")
			return
		}
		for _, one := range page {
			count++
			account := one.GetAccount().GetLogin()
			switch lack := lacking(one.Permissions); {
			case one.SuspendedAt != nil:
				ill++
				r.add(what, Warn, "the installation of "+account+" is suspended: its repositories are not tested", "unsuspend it in the settings of "+account)
			case len(lack) > 0:
				ill++
				r.add(what, Fail, account+" has not granted "+strings.Join(lack, ", "), "an owner of "+account+" accepts the App's new permissions in its settings")
			}
		}
		if answer.NextPage == 0 {
			break
		}
		options.Page = answer.NextPage
	}
	switch {
	case count == 0:
		r.add(what, Warn, "the App is installed nowhere", "install it on the accounts or repositories to test")
	case ill == 0:
		r.add(what, OK, fmt.Sprintf("%d, all with what litci needs", count), "")
	}
}

// webhook looks at the App's webhook and asks its address for a sign of life.
func (r *Report) webhook(ctx context.Context, api *github.Client, cfg *config.Config) {
	const what, page = "webhook", "on the App's settings page, set the webhook URL to https://YOUR-HOST/webhook"
	hook, _, err := api.Apps.GetHookConfig(ctx)
	if err != nil {
		r.add(what, Fail, err.Error(), page)
		return
	}
	address, err := url.Parse(hook.GetURL())
	if err != nil || address.Host == "" {
		r.add(what, Fail, "the App has no webhook URL: GitHub tells litci nothing", page)
		return
	}
	shown := (&url.URL{Scheme: address.Scheme, Host: address.Host, Path: address.Path}).String()
	switch {
	case cfg.GitHubURL == "" && private(address.Hostname()):
		r.add(what, Fail, "GitHub cannot reach "+shown+": the address is private", page+", an address of the internet")
		return
	case hook.GetSecret() == "":
		r.add(what, Fail, "the App's webhook has no secret: ingress refuses what is not signed", "on the App's settings page, set the webhook secret to that of LITCI_WEBHOOK_SECRET")
		return
	}
	if hook.GetContentType() != "json" {
		r.add(what, Warn, "the App's webhook sends "+hook.GetContentType(), "set its content type to application/json")
	}
	code, err := knock(ctx, address.String())
	switch {
	case err != nil:
		r.add(what, Fail, shown+" does not answer: "+err.Error(), "start ingress (litci up), and check proxy, DNS, certificate and firewall before it")
	case code == http.StatusNotFound:
		r.add(what, Fail, "what answers at "+shown+" is not ingress (404)", "its path is /webhook or /; check the proxy before it")
	case code >= 500:
		r.add(what, Fail, fmt.Sprintf("%s answers %d", shown, code), "start ingress (litci up) behind the proxy, and look at its /readyz")
	default:
		r.add(what, OK, shown+" answers from here", "")
	}
}

// deliveries looks how GitHub's last deliveries ended.
func (r *Report) deliveries(ctx context.Context, api *github.Client) {
	const what = "deliveries"
	list, _, err := api.Apps.ListHookDeliveries(ctx, &github.ListCursorOptions{PerPage: 50})
	if err != nil {
		r.add(what, Fail, err.Error(), "ask again; GitHub may be out of order")
		return
	}
	if len(list) == 0 {
		r.add(what, Warn, "GitHub has delivered nothing for three days", "push a commit to a pull request, and ask again")
		return
	}
	// The list is the newest first, and a delivery has a line for each attempt.
	seen := map[string]bool{}
	var lost []*github.HookDelivery
	for _, d := range list {
		if seen[d.GetGUID()] {
			continue
		}
		seen[d.GetGUID()] = true
		if d.GetStatusCode() < 200 || d.GetStatusCode() > 299 {
			lost = append(lost, d)
		}
	}
	const remedy = "ingress has them delivered again within minutes while it runs with the App's key; what stays is on the App's page under Advanced"
	newest := list[0]
	switch {
	case len(lost) > 0 && lost[0] == newest:
		r.add(what, Fail, fmt.Sprintf("the newest (%s) was not taken: %s, %d; %d of the last %d were not", newest.GetEvent(), newest.GetStatus(), newest.GetStatusCode(), len(lost), len(seen)),
			"mend the webhook first (401: the secrets differ); "+remedy)
	case len(lost) > 0:
		r.add(what, Warn, fmt.Sprintf("%d of the last %d were not taken", len(lost), len(seen)), remedy)
	default:
		r.add(what, OK, fmt.Sprintf("the last %d were taken", len(seen)), "")
	}
}

// private says that an address means this machine or this network.
func private(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsUnspecified() || ip.IsLinkLocalUnicast())
}

// knock asks an address for a sign of life and follows nothing.
func knock(ctx context.Context, address string) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		if wrapped, ok := err.(*url.Error); ok { // its text has the address with all it holds
			err = wrapped.Err
		}
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}
