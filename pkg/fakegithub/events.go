package fakegithub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// zeroSHA stands for a reference that is not there.
const zeroSHA = "0000000000000000000000000000000000000000"

// maxPushCommits bounds the commits in a push event.
const maxPushCommits = 2048

// Push tells of a reference that was moved in the local repository.
type Push struct {
	Owner, Repo string
	Ref         string // full, such as refs/heads/main, or a branch's name
	// Before is where the reference stood. Default: where it stood at the
	// latest Push, or when the repository was added.
	Before string
	Sender string // default: octocat
}

// Push sends a push event for where a reference stands now. Pull requests of
// that branch are told of by Synchronize.
func (s *Server) Push(ctx context.Context, push Push) (*Delivery, error) {
	s.mu.Lock()
	r, err := s.find(push.Owner, push.Repo)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(push.Ref, "refs/") {
		push.Ref = "refs/heads/" + push.Ref
	}
	if !validName(push.Ref) {
		return nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("%q is not the name of a reference", push.Ref))
	}
	after, commit := zeroSHA, ""
	if found, err := r.git.lookup(ctx, push.Ref); err == nil {
		after = found.sha
		peeled, err := r.git.lookup(ctx, push.Ref+"^{commit}")
		if err != nil {
			return nil, namedError("ref", push.Ref, r, err)
		}
		commit = peeled.sha
	} else if !errors.Is(err, errNoObject) {
		return nil, err
	}
	s.mu.Lock()
	before := r.tips[push.Ref]
	s.mu.Unlock()
	if push.Before != "" {
		before = push.Before
	}
	if before == "" {
		before = zeroSHA
	}
	if before == after {
		return nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("%s has not moved from %s", push.Ref, before))
	}
	payload, err := s.pushed(ctx, r, push.Ref, before, commit)
	if err != nil {
		return nil, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	r.tips[push.Ref] = after
	if after == zeroSHA {
		delete(r.tips, push.Ref)
	}
	sender := s.user(cmpOr(push.Sender, defaultAuthor), "User")
	for name, value := range s.event(r, "", sender) {
		payload[name] = value
	}
	payload["after"] = after
	payload["pusher"] = object{"name": sender.login, "email": sender.login + "@users.noreply.github.com"}
	payload["compare"] = fmt.Sprintf("%s/%s/compare/%.12s...%.12s", s.base, r.fullName(), before, after)
	// Unlike in other events, the repository's times are numbers and its owner has a name.
	repository := payload["repository"].(object)
	repository["created_at"], repository["pushed_at"] = r.createdAt.Unix(), s.now().Unix()
	repository["master_branch"], repository["stargazers"] = r.DefaultBranch, 0
	owner := repository["owner"].(object)
	owner["name"], owner["email"] = r.owner.login, nil
	return s.announce(ctx, "push", payload)
}

func cmpOr(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// pushed is what git says of a push: its commits, and how the reference moved.
// commit is where it stands now, "" when it was deleted.
func (s *Server) pushed(ctx context.Context, r *repo, ref, before, commit string) (object, error) {
	payload := object{
		"ref": ref, "before": before, "created": before == zeroSHA, "deleted": commit == "", "forced": false,
		"base_ref": nil, "commits": []object{}, "head_commit": nil,
	}
	if commit == "" {
		return payload, nil
	}
	revisions := []string{commit}
	switch {
	case before == zeroSHA:
		// A new branch brings what no other branch has.
		refs, err := r.git.refs(ctx, "refs/heads/")
		if err != nil {
			return nil, err
		}
		for _, other := range refs {
			if other.name != ref {
				revisions = append(revisions, "^"+other.object.sha)
			}
		}
	default:
		old, err := r.git.resolve(ctx, before, "commit")
		if errors.Is(err, errNoObject) {
			return nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("before %q: no such commit in %s", before, r.fullName()))
		}
		if err != nil {
			return nil, err
		}
		base, err := r.git.mergeBase(ctx, old.sha, commit)
		if err != nil {
			return nil, err
		}
		payload["forced"] = base != old.sha
		revisions = append(revisions, "^"+old.sha)
	}
	commits, err := r.git.commits(ctx, revisions, []string{"--reverse"})
	if err != nil {
		return nil, err
	}
	shown := []object{}
	for _, cm := range commits[max(0, len(commits)-maxPushCommits):] {
		one, err := s.pushedCommit(ctx, r, cm)
		if err != nil {
			return nil, err
		}
		shown = append(shown, one)
	}
	head, err := r.git.commit(ctx, commit)
	if err != nil {
		return nil, err
	}
	payload["commits"] = shown
	payload["head_commit"], err = s.pushedCommit(ctx, r, head)
	return payload, err
}

// pushedCommit renders a commit of a push with the files it changed.
func (s *Server) pushedCommit(ctx context.Context, r *repo, cm commit) (object, error) {
	from := emptyTree
	if len(cm.parents) > 0 {
		from = cm.parents[0]
	}
	changes, err := r.git.diff(ctx, from, cm.sha)
	if err != nil {
		return nil, err
	}
	added, removed, modified := []string{}, []string{}, []string{}
	for _, c := range changes {
		switch c.status {
		case "added", "copied":
			added = append(added, c.path)
		case "removed":
			removed = append(removed, c.path)
		case "renamed":
			added, removed = append(added, c.path), append(removed, c.previous)
		default:
			modified = append(modified, c.path)
		}
	}
	shown := simpleCommit(cm)
	for role, who := range map[string]signature{"author": cm.author, "committer": cm.committer} {
		if login := loginOf(who.email); login != "" {
			shown[role].(object)["username"] = login
		}
	}
	shown["distinct"], shown["url"] = true, s.links("").web+"/"+r.fullName()+"/commit/"+cm.sha
	shown["added"], shown["removed"], shown["modified"] = added, removed, modified
	return shown, nil
}

// loginOf returns whose private address at GitHub an email is, such as
// 7+ada@users.noreply.github.com; "" for all others, which nobody registered here.
func loginOf(email string) string {
	local, is := strings.CutSuffix(email, "@users.noreply.github.com")
	if !is {
		return ""
	}
	if _, login, numbered := strings.Cut(local, "+"); numbered {
		return login
	}
	return local
}

// Remark is a comment that somebody writes on a pull request.
type Remark struct {
	Owner, Repo string
	Number      int
	Author      string // default: octocat
	Permission  string // what the author may do from now on; empty: as before
	Body        string
}

// Comment writes a comment as a person and sends issue_comment.created; it
// returns the comment's id.
func (s *Server) Comment(ctx context.Context, remark Remark) (int64, *Delivery, error) {
	if err := checkBody(remark.Body); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(remark.Owner, remark.Repo)
	if err != nil {
		return 0, nil, err
	}
	p, err := r.pullNumbered(remark.Number)
	if err != nil {
		return 0, nil, err
	}
	author := s.user(cmpOr(remark.Author, defaultAuthor), "User")
	if remark.Permission != "" {
		if err := r.grant(author.login, remark.Permission); err != nil {
			return 0, nil, err
		}
	}
	cm := s.newComment(r, p, author, remark.Body)
	delivery, err := s.announce(ctx, "issue_comment", s.commentEvent(r, p, cm, "created", nil))
	return cm.id, delivery, err
}

// Click is somebody's click on a check run.
type Click struct {
	CheckRun   int64
	Sender     string // default: octocat
	Permission string // what the sender may do from now on; empty: as before
}

// RerequestCheckRun clicks "Re-run" and sends check_run.rerequested.
func (s *Server) RerequestCheckRun(ctx context.Context, click Click) (*Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, run, sender, err := s.clicked(click)
	if err != nil {
		return nil, err
	}
	run.suite.reset = true
	return s.announce(ctx, "check_run", s.checkRunEvent(r, run, "rerequested", sender))
}

// ClickAction clicks one of a check run's own buttons and sends
// check_run.requested_action. Buttons show after completion only.
func (s *Server) ClickAction(ctx context.Context, click Click, identifier string) (*Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, run, sender, err := s.clicked(click)
	if err != nil {
		return nil, err
	}
	has := slices.ContainsFunc(run.actions, func(a actionInput) bool { return a.Identifier == identifier })
	if run.status != "completed" || !has {
		return nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("check run %d shows no button %q: it is %s", run.id, identifier, run.status))
	}
	payload := s.checkRunEvent(r, run, "requested_action", sender)
	payload["requested_action"] = object{"identifier": identifier}
	return s.announce(ctx, "check_run", payload)
}

// clicked finds what was clicked on, and by whom. s.mu is held.
func (s *Server) clicked(click Click) (*repo, *checkRun, *user, error) {
	for _, r := range s.repos {
		for _, run := range r.checkRuns {
			if run.id != click.CheckRun {
				continue
			}
			if run.appID != s.cfg.AppID {
				return nil, nil, nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("check run %d is another App's", run.id))
			}
			sender := s.user(cmpOr(click.Sender, defaultAuthor), "User")
			if click.Permission == "" {
				return r, run, sender, nil
			}
			return r, run, sender, r.grant(sender.login, click.Permission)
		}
	}
	return nil, nil, nil, notFound()
}
