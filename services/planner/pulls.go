package planner

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/workflow"
)

const (
	// pullsDelay is how long after its start a planner looks for missed pull requests:
	// what waits on the bus comes first.
	pullsDelay = 20 * time.Second
	// pullsPause is the least time between two rounds, however often planners start.
	pullsPause = 5 * time.Minute
	// pullsHold is how long a round may be silent before another planner takes it over.
	pullsHold = 5 * time.Minute
	// pullsAge is how old the last change of a pull request may be: what is kept of a
	// commit's runs is kept for so long.
	pullsAge = 14 * 24 * time.Hour
	// markerAge is how long a plan's marker is surely kept.
	markerAge = 6 * 24 * time.Hour
)

// pullsKey holds the round in which one planner looks at all open pull requests.
const pullsKey = "pulls"

type round struct {
	// Holder looks now, and until Until nobody else does.
	Holder string    `json:"holder,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	// Done is when a round last came to its end.
	Done time.Time `json:"done,omitzero"`
	// Begun is when the last round over all installations did.
	Begun time.Time `json:"begun,omitzero"`
	// Left are the places where it goes on, of installations for which GitHub asked to
	// wait or that a round which had to end early did not come to.
	Left []place `json:"left,omitempty"`
}

// place is a repository in the order of a round.
type place struct {
	Installation int64 `json:"installation"`
	Repo         int64 `json:"repo"`
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.Installation, other.Installation), cmp.Compare(p.Repo, other.Repo))
}

// errTaken says that another planner has taken the round over.
var errTaken = errors.New("another planner looks at the pull requests")

// watchPulls looks for missed pull requests, soon and then again and again, until ctx
// ends.
func (p *Planner) watchPulls(ctx context.Context) {
	holder := rand.Text()
	for wait := min(p.pullsDelay, p.PullsInterval); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = p.PullsInterval
		err := p.lookAtPulls(ctx, holder, min(pullsPause, p.PullsInterval/2))
		pause, paused := ghapp.Pause(err)
		switch {
		case errors.Is(err, errTaken): // or a round has just ended, before this start
			wait = min(wait, pullsPause)
		case err == nil || ctx.Err() != nil:
		case paused:
			p.log.Info("pull requests are looked at later", zap.Duration("delay", pause), zap.Error(err))
			wait = min(wait, max(pause, time.Second))
		default:
			p.log.Warn("pull requests", zap.Error(err))
		}
	}
}

// lookAtPulls is one round, or what the last one left, unless another planner is at it
// or a round came to its end less than pause ago.
func (p *Planner) lookAtPulls(ctx context.Context, holder string, pause time.Duration) error {
	r, err := p.takeRound(ctx, holder, pause)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	left, begun := r.Left, r.Begun
	installations, err := listAll(ctx, p.app.AsApp().Apps.ListInstallations)
	if err != nil {
		err = fmt.Errorf("installations: %w", err)
	} else {
		if len(left) == 0 || now.Sub(begun) >= p.PullsInterval {
			left, begun = everywhere(installations, left), now
		}
		left, err = p.lookAt(ctx, holder, installations, left)
	}
	if errors.Is(err, errTaken) {
		return err
	}
	// Written although the service may be stopping: another one goes on at once.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, writeErr := bus.Change(ctx, p.bus.Runs(), pullsKey, func(r *round) bool {
		if r.Holder != holder {
			return false
		}
		r.Holder, r.Until, r.Begun, r.Left = "", time.Time{}, begun, left
		if err == nil {
			r.Done = time.Now().UTC()
		}
		return true
	})
	return errors.Join(err, writeErr)
}

func (p *Planner) takeRound(ctx context.Context, holder string, pause time.Duration) (round, error) {
	now := time.Now().UTC()
	r, err := bus.Change(ctx, p.bus.Runs(), pullsKey, func(r *round) bool {
		if r.Holder != holder && now.Before(r.Until) || len(r.Left) == 0 && now.Sub(r.Done) < pause {
			return false
		}
		r.Holder, r.Until = holder, now.Add(pullsHold)
		return true
	})
	if err == nil && (r.Holder != holder || !r.Until.Equal(now.Add(pullsHold))) {
		err = errTaken
	}
	return r, err
}

// keepRound tells others that the holder is alive.
func (p *Planner) keepRound(ctx context.Context, holder string) error {
	r, err := bus.Change(ctx, p.bus.Runs(), pullsKey, func(r *round) bool {
		if r.Holder != holder {
			return false
		}
		r.Until = time.Now().UTC().Add(pullsHold)
		return true
	})
	if err == nil && r.Holder != holder {
		err = errTaken
	}
	return err
}

// everywhere are the places at which a round begins: each installation, and one that
// was left where it was, or its last repositories would never get their turn.
func everywhere(installations []*github.Installation, left []place) []place {
	var all []place
	for _, in := range installations {
		begin := place{Installation: in.GetID()}
		if i := slices.IndexFunc(left, func(l place) bool { return l.Installation == begin.Installation }); i >= 0 {
			begin = left[i]
		}
		all = append(all, begin)
	}
	slices.SortFunc(all, place.compare)
	return all
}

// lookAt looks at the installations' repositories, each from a place on. One for which
// GitHub asks to wait is left, and the others are looked at.
func (p *Planner) lookAt(ctx context.Context, holder string, installations []*github.Installation, places []place) (left []place, err error) {
	for i, from := range places {
		at := slices.IndexFunc(installations, func(in *github.Installation) bool { return in.GetID() == from.Installation })
		if at < 0 || installations[at].SuspendedAt != nil {
			continue
		}
		next, stop := p.lookFrom(ctx, holder, installations[at], from)
		_, paused := ghapp.Pause(stop)
		switch {
		case stop == nil:
		case paused && ctx.Err() == nil:
			left, err = append(left, next), cmp.Or(err, stop)
		default:
			return append(append(left, next), places[i+1:]...), stop
		}
	}
	return left, err
}

// lookFrom looks at an installation's repositories in order, beginning at one. Where it
// has to stop it returns where to go on.
func (p *Planner) lookFrom(ctx context.Context, holder string, in *github.Installation, from place) (next place, err error) {
	repos, err := p.repositories(ctx, in.GetID())
	if err != nil {
		return from, p.stops(ctx, err)
	}
	known, err := p.see(ctx, in.GetID(), repos)
	if err != nil {
		return from, err
	}
	for _, repo := range repos {
		at := place{in.GetID(), repo.GetID()}
		if at.compare(from) < 0 || repo.GetArchived() || repo.GetDisabled() {
			continue
		}
		if err := p.keepRound(ctx, holder); err != nil {
			return at, err
		}
		err := p.lookAtRepository(ctx, in, repo, known.added(repo.GetID()))
		if stop := p.stops(ctx, err); stop != nil {
			return at, stop
		}
	}
	return place{}, nil
}

// stops tells whether an error ends the look at an installation. What is wrong with one installation or
// repository does not.
func (p *Planner) stops(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, paused := ghapp.Pause(err); paused || ctx.Err() != nil {
		return err
	}
	p.log.Warn("pull requests", zap.Error(err))
	return nil
}

func (p *Planner) repositories(ctx context.Context, installation int64) ([]*github.Repository, error) {
	client, err := p.app.Installation(installation)
	if err != nil {
		return nil, err
	}
	repos, err := listAll(ctx, func(ctx context.Context, page *github.ListOptions) ([]*github.Repository, *github.Response, error) {
		found, resp, err := client.Apps.ListRepos(ctx, page)
		if err != nil {
			return nil, resp, err
		}
		return found.Repositories, resp, nil
	})
	if err != nil {
		return nil, fmt.Errorf("repositories of installation %d: %w", installation, err)
	}
	slices.SortFunc(repos, func(x, y *github.Repository) int { return cmp.Compare(x.GetID(), y.GetID()) })
	return repos, nil
}

// lookAtRepository plans the open pull requests whose head was never planned. Those
// that nobody has touched for long, or since the App was installed or the repository
// added, were not missed.
func (p *Planner) lookAtRepository(ctx context.Context, in *github.Installation, found *github.Repository, added time.Time) error {
	repo := flow.Repo{
		ID: found.GetID(), Owner: found.GetOwner().GetLogin(), Name: found.GetName(),
		DefaultBranch: found.GetDefaultBranch(), Private: found.GetPrivate(),
	}
	since := time.Now().Add(-pullsAge)
	for _, begun := range []time.Time{in.GetCreatedAt().Time, added} {
		if begun.After(since) {
			since = begun
		}
	}
	client, err := p.app.Client(in.GetID(), repo.ID)
	if err != nil {
		return err
	}
	opt := &github.PullRequestListOptions{State: "open", Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: perPage}}
	for {
		pulls, resp, err := client.PullRequests.List(ctx, repo.Owner, repo.Name, opt)
		if err != nil {
			return fmt.Errorf("open pull requests of %s: %w", repo.FullName(), err)
		}
		for _, pr := range pulls {
			if pr.GetUpdatedAt().Before(since) {
				return nil
			}
			if err := p.lookAtPull(ctx, client, missed(in.GetID(), repo, pr)); err != nil {
				err = fmt.Errorf("pull request %d of %s: %w", pr.GetNumber(), repo.FullName(), err)
				if stop := p.stops(ctx, err); stop != nil {
					return stop
				}
			}
		}
		if resp.NextPage == 0 {
			return nil
		}
		opt.Page = resp.NextPage
	}
}

// missed is the event that should have told of a pull request's head. Its delivery is
// computed, so that looking twice is planning once; see lookAtPull.
func missed(installation int64, repo flow.Repo, pr *github.PullRequest) flow.Event {
	return flow.Event{
		Delivery: fmt.Sprintf("missed-%d-%d-%s", repo.ID, pr.GetNumber(), pr.GetHead().GetSHA()),
		Kind:     workflow.EventPullRequest, Action: "synchronize", ReceivedAt: time.Now().UTC(), Installation: installation, Repo: repo,
		Sender: flow.User{Login: pr.GetUser().GetLogin(), ID: pr.GetUser().GetID(), Type: pr.GetUser().GetType()},
		PullRequest: &flow.PullRequest{
			Number: pr.GetNumber(), HeadSHA: pr.GetHead().GetSHA(), HeadRef: pr.GetHead().GetRef(), HeadRepo: pr.GetHead().GetRepo().GetID(),
			BaseSHA: pr.GetBase().GetSHA(), BaseRef: pr.GetBase().GetRef(), Draft: pr.GetDraft(), Open: true,
			Author: flow.User{Login: pr.GetUser().GetLogin(), ID: pr.GetUser().GetID(), Type: pr.GetUser().GetType()},
			Fork:   pr.GetHead().GetRepo().GetID() != repo.ID,
		},
	}
}

// lookAtPull plans a pull request as its webhook would have, unless that was done. A
// commit that is the head once more is another delivery.
func (p *Planner) lookAtPull(ctx context.Context, client *github.Client, e flow.Event) error {
	a, _, err := read(e, time.Now())
	if err != nil {
		return err
	}
	arrived, ended, err := p.arrived(ctx, client, a)
	if arrived || err != nil {
		return err
	}
	e.Delivery = fmt.Sprintf("%s-%d", e.Delivery, ended)
	if a, _, err = read(e, a.stored); err != nil {
		return err
	}
	log := p.log.With(zap.String("delivery", e.Delivery), zap.Int64("installation", e.Installation),
		zap.String("repo", e.Repo.FullName()), zap.String("event", e.Kind), zap.String("sha", e.SHA()))
	log.Info("was missed", zap.Int("pull_request", a.PullRequest))
	ignored, err := p.work(ctx, log, a)
	if ignored != "" {
		log.Info("ignored", zap.String("reason", ignored))
	}
	return err
}

// arrived tells whether the pull request's commit was planned. Runs that were ended
// because the head had moved or the pull request was closed do not count, as the commit
// is the head again; their number is returned.
func (p *Planner) arrived(ctx context.Context, client *github.Client, a ask) (arrived bool, ended int, err error) {
	c, found, err := p.runsOf(ctx, a.Repo.ID, a.SHA)
	if err != nil {
		return false, 0, err
	}
	if !found {
		arrived, err = p.checked(ctx, client, a)
		return arrived, 0, err
	}
	for _, r := range c.Runs {
		if !r.Fresh || r.Event.PullRequest == nil || r.Event.PullRequest.Number != a.PullRequest {
			continue
		}
		if gone, err := p.dismissed(ctx, r.Run); err != nil {
			return false, 0, err
		} else if gone {
			ended++
			continue
		}
		published, err := p.published(ctx, r)
		if published || err != nil {
			return published, 0, err
		}
	}
	return false, ended, nil
}

// published tells whether a run came out after it was noted. A planner that looks for
// missed pull requests has no message that would come again after a crash.
func (p *Planner) published(ctx context.Context, r commitRun) (bool, error) {
	if r.Cause != "" || time.Since(r.At) > markerAge {
		return true, nil
	}
	return p.planned(ctx, r.Run)
}

// checked tells whether GitHub has our aggregate check of a commit of which nothing
// is known here.
func (p *Planner) checked(ctx context.Context, client *github.Client, a ask) (bool, error) {
	runs, _, err := client.Checks.ListCheckRunsForRef(ctx, a.Repo.Owner, a.Repo.Name, a.SHA, &github.ListCheckRunsOptions{
		CheckName: github.String("litci"), AppID: github.Int64(p.app.ID()),
	})
	if err != nil {
		return false, fmt.Errorf("checks of %s: %w", a.SHA, err)
	}
	return slices.ContainsFunc(runs.CheckRuns, func(r *github.CheckRun) bool {
		return r.GetName() == "litci" && r.GetApp().GetID() == p.app.ID()
	}), nil
}

// dismissed tells whether the planner itself asked for a run's end, and before it came.
func (p *Planner) dismissed(ctx context.Context, run string) (bool, error) {
	request, err := cancellation.OfRun(ctx, p.bus, run)
	if err != nil || request == nil || !strings.HasPrefix(request.ID, goneByHead) && !strings.HasPrefix(request.ID, goneByClose) {
		return false, err
	}
	return p.cancelled(ctx, run)
}

// listAll reads all pages of a list.
func listAll[T any](ctx context.Context, page func(context.Context, *github.ListOptions) ([]T, *github.Response, error)) ([]T, error) {
	var all []T
	opt := &github.ListOptions{PerPage: perPage}
	for {
		found, resp, err := page(ctx, opt)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if resp.NextPage == 0 {
			return all, nil
		}
		opt.Page = resp.NextPage
	}
}
