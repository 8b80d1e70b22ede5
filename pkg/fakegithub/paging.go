package fakegithub

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Page sizes of GitHub's lists.
const (
	defaultPerPage = 30
	maxPerPage     = 100
)

// window of a list that the caller asks for by page and per_page; values that
// make no sense fall back to the defaults, as on GitHub.
func (c *call) page() (page, perPage int) {
	q := c.r.URL.Query()
	page, perPage = 1, defaultPerPage
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 0 {
		page = n
	}
	if n, err := strconv.Atoi(q.Get("per_page")); err == nil && n > 0 {
		perPage = min(n, maxPerPage)
	}
	return page, perPage
}

// pageOf cuts the asked-for page out of items and makes its Link header.
func pageOf[T any](c *call, items []T) ([]T, http.Header) {
	page, perPage := c.page()
	start := min((page-1)*perPage, len(items))
	end := min(start+perPage, len(items))
	last := max(1, (len(items)+perPage-1)/perPage)
	return append([]T{}, items[start:end]...), c.pageLinks(page, last)
}

// list answers with one page of items.
func list[T any](c *call, items []T) (reply, error) {
	cut, header := pageOf(c, items)
	return reply{status: http.StatusOK, body: cut, header: header}, nil
}

// listed answers with one page of items wrapped, and their total count.
func listed[T any](c *call, name string, items []T, render func(T) any) (reply, error) {
	cut, header := pageOf(c, items)
	shown := make([]any, 0, len(cut))
	for _, item := range cut {
		shown = append(shown, render(item))
	}
	return reply{status: http.StatusOK, body: object{"total_count": len(items), name: shown}, header: header}, nil
}

func (c *call) pageLinks(page, last int) http.Header {
	var links []string
	add := func(rel string, n int) {
		links = append(links, c.link(rel, url.Values{"page": {strconv.Itoa(n)}}))
	}
	if page > 1 {
		add("prev", min(page-1, last))
	}
	if page < last {
		add("next", page+1)
		add("last", last)
	}
	if page > 1 {
		add("first", 1)
	}
	if len(links) == 0 {
		return nil
	}
	return http.Header{"Link": {strings.Join(links, ", ")}}
}

// link is one entry of a Link header: this request with other parameters.
func (c *call) link(rel string, change url.Values) string {
	q := c.r.URL.Query()
	for name, values := range change {
		q[name] = values
	}
	return fmt.Sprintf("<%s%s?%s>; rel=%q", c.urls.web, c.r.URL.EscapedPath(), q.Encode(), rel)
}
