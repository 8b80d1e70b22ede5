package fakegithub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// OpenPull is a pull request to be opened.
type OpenPull struct {
	Owner, Repo string
	Number      int    // 0: the next free one
	Head        string // a branch, or any name of a commit in the repository
	Base        string // a branch; default: the default branch
	Title, Body string // default title: the head commit's subject
	Draft       bool
	Author      string // default: octocat
	// Permission is what the author may do in the repository, such as "write";
	// default: write, or read from a fork.
	Permission string
	// Fork makes the head's repository another one, of the author's. The
	// commit itself must be in the base repository, as GitHub's network shares it.
	Fork   bool
	Silent bool // send no webhook
}

// defaultAuthor is who acts where nobody is named.
const defaultAuthor = "octocat"

// OpenPull opens a pull request and sends pull_request.opened, and returns
// its number.
func (s *Server) OpenPull(ctx context.Context, open OpenPull) (int, error) {
	p, _, err := s.openPull(ctx, open)
	if err != nil {
		return 0, err
	}
	return p.number, nil
}

func (s *Server) openPull(ctx context.Context, open OpenPull) (*pull, *Delivery, error) {
	s.mu.Lock()
	r, err := s.find(open.Owner, open.Repo)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if open.Author == "" {
		open.Author = defaultAuthor
	}
	if open.Base == "" {
		open.Base = r.DefaultBranch
	}
	if open.Permission == "" {
		open.Permission = "write"
		if open.Fork {
			open.Permission = "read"
		}
	}
	branch := open.Head
	if _, after, has := strings.Cut(open.Head, ":"); has {
		branch = after
	}
	p := &pull{title: open.Title, body: open.Body, draft: open.Draft, headRef: strings.TrimPrefix(branch, "refs/heads/"), baseRef: open.Base}
	if err := s.measure(ctx, r, p, branch); err != nil {
		return nil, nil, err
	}
	if p.title == "" {
		tip, err := r.git.commit(ctx, p.headSHA)
		if err != nil {
			return nil, nil, err
		}
		p.title, _, _ = strings.Cut(tip.message, "\n")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	p.number = open.Number
	if p.number == 0 {
		p.number = r.lastNumber + 1
	}
	if _, err := r.pullNumbered(p.number); err == nil {
		return nil, nil, fmt.Errorf("pull request %d of %s is there already", p.number, r.fullName())
	}
	if err := r.grant(open.Author, open.Permission); err != nil {
		return nil, nil, err
	}
	r.lastNumber = max(r.lastNumber, p.number)
	p.id, p.issueID = s.id(), s.id()
	p.author = s.user(open.Author, "User")
	p.createdAt, p.updatedAt = s.now(), s.now()
	p.headRepo = r
	if open.Fork {
		p.headRepo = s.forkOf(r, p.author)
	}
	r.pulls = append(r.pulls, p)
	if open.Silent {
		return p, nil, nil
	}
	delivery, err := s.announcePull(ctx, r, p, "opened", p.author, nil)
	return p, delivery, err
}

// forkOf returns the author's fork of a repository; every pull request of the
// same author comes from the same one. s.mu is held.
func (s *Server) forkOf(r *repo, author *user) *repo {
	for _, p := range r.pulls {
		if p.headRepo != r && p.headRepo.owner == author {
			return p.headRepo
		}
	}
	fork := &repo{
		Repo:  Repo{Owner: author.login, ID: s.id(), DefaultBranch: r.DefaultBranch, Private: r.Private},
		owner: author, createdAt: s.now(),
	}
	fork.name.Store(r.name.Load())
	return fork
}

// measure sets what git says of a pull request: its ends and its size.
func (s *Server) measure(ctx context.Context, r *repo, p *pull, head string) error {
	base, err := s.resolve(ctx, r, p.baseRef, "commit")
	if err != nil {
		return namedError("base", p.baseRef, r, err)
	}
	tip, err := s.resolve(ctx, r, head, "commit")
	if err != nil {
		return namedError("head", head, r, err)
	}
	ahead, _, err := r.git.countBetween(ctx, base.sha, tip.sha)
	if err != nil {
		return err
	}
	changes, err := r.git.changed(ctx, base.sha, tip.sha)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.baseSHA, p.headSHA, p.commits, p.changedFiles = base.sha, tip.sha, ahead, len(changes)
	p.additions, p.deletions, p.mergeable, p.asked = 0, 0, nil, false
	for _, c := range changes {
		p.additions, p.deletions = p.additions+c.additions, p.deletions+c.deletions
	}
	return nil
}

// namedError is a refusal for names that lead nowhere.
func namedError(what, name string, r *repo, err error) error {
	if errors.Is(err, errNoObject) {
		return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("%s %q: no such commit in %s", what, name, r.fullName()))
	}
	return fmt.Errorf("%s %q of %s: %w", what, name, r.fullName(), err)
}

// announcePull sends a pull_request event and waits for its answer. s.mu is
// held, and let go while waiting.
func (s *Server) announcePull(ctx context.Context, r *repo, p *pull, action string, sender *user, more object) (*Delivery, error) {
	payload := s.event(r, action, sender)
	payload["number"], payload["pull_request"] = p.number, s.pull(s.linksHeld(""), r, p)
	for name, value := range more {
		payload[name] = value
	}
	return s.announce(ctx, "pull_request", payload)
}

// Synchronize moves a pull request to where its branch stands now, or to head
// when that is not empty, and sends pull_request.synchronize. A head that has
// not moved is refused.
func (s *Server) Synchronize(ctx context.Context, owner, name string, number int, head string) (*Delivery, error) {
	r, p, err := s.openOne(owner, name, number)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	before := p.headSHA
	if head == "" {
		head = p.headRef
	}
	s.mu.Unlock()
	tip, err := s.resolve(ctx, r, head, "commit")
	if err != nil {
		return nil, namedError("head", head, r, err)
	}
	if tip.sha == before {
		return nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("head %q has not moved from %s", head, before))
	}
	if err := s.measure(ctx, r, p, tip.sha); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.updatedAt = s.now()
	return s.announcePull(ctx, r, p, "synchronize", p.author, object{"before": before, "after": p.headSHA})
}

// ClosePull closes a pull request, merged or not, and sends
// pull_request.closed. The repository is not changed by a merge.
func (s *Server) ClosePull(ctx context.Context, owner, name string, number int, merged bool) (*Delivery, error) {
	r, p, err := s.openOne(owner, name, number)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	p.closedAt, p.updatedAt = &now, now
	if merged {
		p.mergedAt, p.mergeSHA, p.mergedBy = &now, p.headSHA, r.owner
	}
	return s.announcePull(ctx, r, p, "closed", p.author, nil)
}

// ReopenPull opens a closed pull request again, where its branch stands now, and
// sends pull_request.reopened. One that was merged, or whose branch is gone, is
// refused.
func (s *Server) ReopenPull(ctx context.Context, owner, name string, number int) (*Delivery, error) {
	s.mu.Lock()
	r, err := s.find(owner, name)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	p, err := r.pullNumbered(number)
	switch {
	case err != nil:
	case p.closedAt == nil:
		err = refuse(http.StatusUnprocessableEntity, fmt.Sprintf("pull request %d is open", number))
	case p.mergedAt != nil:
		err = refuse(http.StatusUnprocessableEntity, fmt.Sprintf("pull request %d was merged", number))
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := s.measure(ctx, r, p, p.headRef); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.closedAt, p.updatedAt = nil, s.now()
	return s.announcePull(ctx, r, p, "reopened", p.author, nil)
}

// openOne returns an open pull request.
func (s *Server) openOne(owner, name string, number int) (*repo, *pull, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(owner, name)
	if err != nil {
		return nil, nil, err
	}
	p, err := r.pullNumbered(number)
	if err != nil {
		return nil, nil, err
	}
	if p.closedAt != nil {
		return nil, nil, refuse(http.StatusUnprocessableEntity, fmt.Sprintf("pull request %d is closed", number))
	}
	return r, p, nil
}
