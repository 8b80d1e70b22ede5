package reporter

import (
	"context"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

// showCheck makes GitHub show a check run as render gives it. Nothing is sent
// when GitHub has it already. render returns false when there is nothing to show.
func (r *Reporter) showCheck(ctx context.Context, key string, id flow.Identity, render func(context.Context) (check, bool, error)) error {
	want, ok, err := render(ctx)
	if err != nil || !ok {
		return err
	}
	p, err := r.turns.read(ctx, key)
	if err != nil || p.shows(hashOf(want)) {
		return err
	}
	if p, err = r.turns.take(ctx, key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.turns.lease*2/3)
	defer cancel()
	// While we waited for the turn, the state may have moved on.
	if want, ok, err = render(ctx); err == nil && ok && (p.Doubt || p.Sent != hashOf(want)) {
		err = r.writeCheck(ctx, id, &p, want)
		// What GitHub refused leaves no doubt of itself, only of what came before.
		p.Doubt = err != nil && (p.Doubt || !refused(err))
	}
	if gave := r.turns.give(ctx, key, p); err == nil {
		err = gave
	}
	if err != nil {
		return fmt.Errorf("check %s of %s: %w", want.Name, id.Repo.FullName(), err)
	}
	return nil
}

// writeCheck creates or updates the check run and keeps in p what GitHub has.
func (r *Reporter) writeCheck(ctx context.Context, id flow.Identity, p *post, want check) error {
	h, err := newHub(r.checks, id)
	if err != nil {
		return err
	}
	if err = r.yield(ctx, h, p, want); err != nil {
		return err
	}
	if p.ID == 0 && p.Doubt {
		if p.ID, p.ExternalID, err = h.findCheck(ctx, id.SHA, want); err != nil {
			return err
		}
		if err = r.yield(ctx, h, p, want); err != nil {
			return err
		}
	}
	err = r.sendCheck(ctx, h, id.SHA, p, want)
	if statusOf(err) == http.StatusUnprocessableEntity {
		// One refused field refuses the whole: better a plain verdict than none.
		r.log.Warn("check refused, sent again without its text", append(fields(id), zap.String("check", want.Name), zap.Error(err))...)
		err = r.sendCheck(ctx, h, id.SHA, p, want.minimal())
	}
	if err != nil {
		return err
	}
	p.ExternalID, p.Sent, p.Final = want.ExternalID, hashOf(want), want.Status == statusCompleted
	return nil
}

// yield makes room for another attempt's check run, where the one that GitHub has
// keeps its own: it is finished, or somebody wanted another attempt after it.
func (r *Reporter) yield(ctx context.Context, h *hub, p *post, want check) error {
	if p.ID == 0 || p.ExternalID == want.ExternalID {
		return nil
	}
	if !p.Final && want.gone != nil && !behind(p.ExternalID, want.gone.ExternalID) {
		// Its own verdict comes too late.
		if err := h.updateCheck(ctx, p.ID, *want.gone, nil); err != nil {
			return err
		}
		p.Final = true
	}
	if p.Final {
		p.ID, p.ExternalID, p.Sent, p.Final = 0, "", "", false
	}
	return nil
}

// behind says that a is a later attempt than b.
func behind(a, b string) bool {
	_, _, attemptA, okA := flow.ParseAttemptID(a)
	_, _, attemptB, okB := flow.ParseAttemptID(b)
	return okA && okB && attemptA > attemptB
}

func (r *Reporter) sendCheck(ctx context.Context, h *hub, sha string, p *post, want check) error {
	sent := 0
	if p.ID == 0 {
		made, err := h.createCheck(ctx, sha, want)
		if err != nil {
			return err
		}
		p.ID = made
		sent = min(len(want.Annotations), maxAnnotations)
	} else {
		var err error
		// Annotations are appended, so a repeated update goes on where the last one came to.
		if len(want.Annotations) > 0 {
			if sent, err = h.annotated(ctx, p.ID); err != nil {
				return err
			}
		}
		next := min(len(want.Annotations), sent+maxAnnotations)
		if err = h.updateCheck(ctx, p.ID, want, want.Annotations[min(sent, next):next]); err != nil {
			return err
		}
		sent = next
	}
	for sent < len(want.Annotations) {
		next := min(len(want.Annotations), sent+maxAnnotations)
		if err := h.updateCheck(ctx, p.ID, want, want.Annotations[sent:next]); err != nil {
			return err
		}
		sent = next
	}
	return nil
}

// checkCost is what showing a check run will ask of GitHub; of the check only what
// tells it apart and its annotations count.
func (r *Reporter) checkCost(ctx context.Context, key string, want check) (ghapp.Cost, error) {
	p, err := r.turns.read(ctx, key)
	if err != nil {
		return ghapp.Cost{}, err
	}
	more := max(0, len(want.Annotations)-1) / maxAnnotations
	if p.ID != 0 && (!p.Final || p.ExternalID == want.ExternalID) {
		return ghapp.Cost{Reads: min(len(want.Annotations), 1), Writes: 1 + more}, nil
	}
	cost := ghapp.Cost{Creations: 1, Writes: more}
	if p.Doubt {
		cost.Reads = 1
	}
	return cost, nil
}

// commentCost is what showing a comment will ask of GitHub.
func (r *Reporter) commentCost(ctx context.Context, key string) (ghapp.Cost, error) {
	p, err := r.turns.read(ctx, key)
	if err != nil || p.ID != 0 {
		return ghapp.Cost{Writes: 1}, err
	}
	return ghapp.Cost{Reads: 1, Creations: 1}, nil
}

// showComment makes the pull request's comment show its head's runs. The
// comment is a courtesy: where GitHub refuses it (a locked conversation, a
// missing permission), that is logged once and the checks stay the report.
func (r *Reporter) showComment(ctx context.Context, id flow.Identity) error {
	key := "post." + pullKey(id.Repo.ID, id.PullRequest)
	want, ok, err := r.renderPull(ctx, id)
	if err != nil || !ok {
		return err
	}
	p, err := r.turns.read(ctx, key)
	if err != nil || p.shows(hashOf(want.body)) {
		return err
	}
	if p, err = r.turns.take(ctx, key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.turns.lease*2/3)
	defer cancel()
	if want, ok, err = r.renderPull(ctx, id); err == nil && ok && (p.Doubt || p.Sent != hashOf(want.body)) {
		err = r.writeComment(ctx, id, &p, want)
		// What GitHub refused leaves no doubt of itself, only of what came before.
		p.Doubt = err != nil && (p.Doubt || !refused(err))
	}
	if gave := r.turns.give(ctx, key, p); err == nil {
		err = gave
	}
	if err != nil && hopeless(err) {
		r.once.error(r.log, "comment refused", key, append(fields(id), zap.Error(err)))
		return nil
	}
	if err != nil {
		return fmt.Errorf("comment on %s#%d: %w", id.Repo.FullName(), id.PullRequest, err)
	}
	return nil
}

func (r *Reporter) writeComment(ctx context.Context, id flow.Identity, p *post, want pullComment) error {
	h, err := newHub(r.comments, id)
	if err != nil {
		return err
	}
	if p.ID != 0 {
		err = h.editComment(ctx, p.ID, want.body)
		switch status := statusOf(err); {
		case err == nil:
			p.keep(want)
			return nil
		case status != http.StatusNotFound && status != http.StatusGone:
			return err
		}
		p.ID, p.Gone, p.Doubt = 0, true, false
	}
	if p.Gone && !p.Doubt && (want.verdict == "" || want.verdict == p.Verdict) {
		// Somebody did not want it; only another verdict is worth a new one.
		p.Sent = hashOf(want.body)
		return nil
	}
	found, err := h.findComment(ctx, id.PullRequest, want.marker)
	switch {
	case err != nil:
		return err
	case found != 0:
		p.ID = found
		if err = h.editComment(ctx, found, want.body); err != nil {
			return err
		}
	case p.Gone && (want.verdict == "" || want.verdict == p.Verdict), !want.worth:
		p.Sent = hashOf(want.body)
		return nil
	default:
		if p.ID, err = h.createComment(ctx, id.PullRequest, want.body); err != nil {
			return err
		}
	}
	p.keep(want)
	return nil
}

// keep records what the comment shows now.
func (p *post) keep(c pullComment) {
	p.Sent, p.Gone = hashOf(c.body), false
	if c.verdict != "" {
		p.Verdict = c.verdict
	}
}

// renderJobCheck renders the check of a job from what is known now.
func (r *Reporter) renderJobCheck(run string, index int) func(context.Context) (check, bool, error) {
	return func(ctx context.Context) (check, bool, error) {
		state, err := load[jobState](ctx, r.bus.Runs(), jobKey(run, index))
		if err != nil || state.Attempt == 0 {
			return check{}, false, err
		}
		var text jobText
		if state.concluded() {
			if text, err = load[jobText](ctx, r.bus.Runs(), textKey(run, index)); err != nil {
				return check{}, false, err
			}
		}
		return renderJob(state, text, r.links.job(run, index)), true, nil
	}
}

// renderCommit renders the aggregate of a commit from what is known now.
func (r *Reporter) renderCommit(repo int64, sha string) func(context.Context) (check, bool, error) {
	return func(ctx context.Context) (check, bool, error) {
		refs, err := load[runRefs](ctx, r.bus.Runs(), commitKey(repo, sha))
		if err != nil {
			return check{}, false, err
		}
		views, err := r.views(ctx, refs.all())
		if err != nil || len(views) == 0 {
			return check{}, false, err
		}
		return renderAggregate(repo, sha, views, r.links), true, nil
	}
}

// renderPull renders the comment of a pull request from what is known now; false
// while no run of it is known.
func (r *Reporter) renderPull(ctx context.Context, id flow.Identity) (pullComment, bool, error) {
	refs, err := load[runRefs](ctx, r.bus.Runs(), pullKey(id.Repo.ID, id.PullRequest))
	if err != nil {
		return pullComment{}, false, err
	}
	sha, runs := refs.head()
	views, err := r.views(ctx, runs)
	if err != nil || len(views) == 0 {
		return pullComment{}, false, err
	}
	return renderComment(id.Repo.ID, id.PullRequest, sha, views, r.links), true, nil
}

// views reads runs with the states of their jobs; unknown runs are left out.
func (r *Reporter) views(ctx context.Context, runs []string) ([]runView, error) {
	var views []runView
	for _, run := range runs {
		state, err := load[runState](ctx, r.bus.Runs(), runKey(run))
		if err != nil {
			return nil, err
		}
		if !state.known() {
			continue
		}
		view := runView{runState: state}
		if len(state.jobs()) > 0 {
			if view.states, err = r.states(ctx, run); err != nil {
				return nil, err
			}
		}
		views = append(views, view)
	}
	return views, nil
}

// jobStates reads what is known of a run's jobs, by index.
func jobStates(ctx context.Context, kv *bus.KV, run string) (map[int]jobState, error) {
	found, err := kv.List(ctx, jobsPattern(run))
	if err != nil {
		return nil, err
	}
	states := make(map[int]jobState, len(found))
	for key, data := range found {
		state, err := decode[jobState](key, data)
		if err != nil {
			return nil, err
		}
		states[state.Index] = state
	}
	return states, nil
}

// refusal makes an error that no retry helps into a dead letter, so that the
// message does not come back for ever.
func (r *Reporter) refusal(err error, id flow.Identity) error {
	if err == nil || !hopeless(err) {
		return err
	}
	r.once.error(r.log, "refused by GitHub", fmt.Sprintf("%d/%d", id.Installation, id.Repo.ID), append(fields(id), zap.Error(err)))
	return bus.Drop(err)
}

// fields are the identities of a log line.
func fields(id flow.Identity) []zap.Field {
	return []zap.Field{
		zap.String("delivery", id.Delivery), zap.Int64("installation", id.Installation),
		zap.String("repo", id.Repo.FullName()), zap.String("sha", id.SHA), zap.String("run", id.Run),
	}
}

func marker(repo int64, number int) string { return fmt.Sprintf("<!-- litci:%d:%d -->", repo, number) }
