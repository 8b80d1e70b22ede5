package reporter

import (
	"fmt"
	"html"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// maxComment bounds the comment; GitHub takes 65,536.
const maxComment = 60_000

// pullComment is the content of a pull request's one comment.
type pullComment struct {
	marker string
	body   string
	// verdict is the conclusion that the comment shows, empty while there is none.
	verdict string
	// worth says that there is something to tell; without it no comment is begun.
	worth bool
}

// renderComment renders the comment from the runs of the pull request's head.
func renderComment(repo int64, number int, sha string, views []runView, links links) pullComment {
	s := sumUp(views, links)
	status, conclusion := s.verdict()
	c := pullComment{marker: marker(repo, number), worth: len(s.rows) > 0 || s.gated || s.lost != ""}
	if status == statusCompleted && s.count().open == 0 {
		c.verdict = string(conclusion)
	}
	url := ""
	for _, v := range views {
		if len(v.jobs()) > 0 || url == "" {
			url = links.run(v.identity().Run)
		}
	}
	state := flow.Running
	if s.count().jobs == s.count().open {
		state = flow.Queued
	}

	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### %s litci: %s\n\n", c.marker, icon(state, conclusion), prose(s.headline(sha)))
	foot := fmt.Sprintf("\n<sub>Commit %s", code(sha))
	if url != "" {
		foot += fmt.Sprintf(" · [whole run](%s)", url)
	}
	foot += " · times in UTC</sub>\n"

	if s.gated {
		b.WriteString(elide(prose(s.gate), 2_000) + "\n\n")
	}
	for _, notice := range s.notices {
		if b.Len() > maxComment/4 {
			break
		}
		b.WriteString("> " + prose(notice) + "\n\n")
	}
	if s.lost != "" {
		b.WriteString(elide(prose(unplanned+s.lost), 2_000) + "\n\n" + planAgain + "\n\n")
	}
	if again := s.startedAgain(); again != "" {
		b.WriteString(again + "\n\n")
	}
	if len(s.rows) > 0 {
		b.WriteString(s.table(url, maxComment/2-b.Len()))
	} else if !s.gated && s.lost == "" {
		b.WriteString(elide(orElse(prose(s.reason), "No workflow of this commit wants this event."), 2_000) + "\n")
	}
	b.WriteString(s.excerpts(url, maxComment-b.Len()-len(foot)))
	b.WriteString(foot)
	c.body = b.String()
	return c
}

// excerpts folds the failing lines of each failed job, as many as fit into n bytes.
func (s summing) excerpts(url string, n int) string {
	var b strings.Builder
	left := 0
	for _, r := range s.rows {
		if !failed(r.Conclusion) || len(r.Excerpt) == 0 {
			continue
		}
		block := r.folded()
		if b.Len()+len(block)+300 > n {
			left++
			continue
		}
		b.WriteString(block)
	}
	if left > 0 {
		fmt.Fprintf(&b, "\n… and the output of %s", plural(left, "more failed job", "more failed jobs"))
		if url != "" {
			fmt.Fprintf(&b, ": [see the whole run](%s)", url)
		}
		b.WriteString(".\n")
	}
	return b.String()
}

// folded is a failed job's excerpt. The summary is HTML and is escaped as such.
func (r row) folded() string {
	link := ""
	if r.URL != "" {
		link = fmt.Sprintf("\n[Report and full log](%s)\n", r.URL)
	}
	return fmt.Sprintf("\n<details><summary><code>%s</code>: <code>%s</code></summary>\n\n%s%s\n</details>\n",
		html.EscapeString(oneLine(r.Name)), html.EscapeString(elide(oneLine(r.Title), maxTitle)), fence(r.Excerpt), link)
}
