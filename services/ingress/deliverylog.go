package ingress

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/go-github/v62/github"
)

// deliveryLog is GitHub's log of the deliveries to the App.
type deliveryLog interface {
	// Page returns the lines from a cursor on (none: from the newest) and the cursor
	// of the page behind, empty at the end.
	Page(ctx context.Context, cursor string) (page []attempt, next string, err error)
	// Redeliver asks for another attempt like the given one.
	Redeliver(ctx context.Context, id int64) error
}

// appLog is the log as the App reads it.
type appLog struct{ api *github.Client }

// logPage is how many lines are asked for at once, GitHub's most.
const logPage = 100

// line is a line of the log; go-github's has no throttled_at.
type line struct {
	github.HookDelivery
	ThrottledAt *time.Time `json:"throttled_at"`
}

// Page reads a page. The filter by status is not used: what got no answer at all
// is missing in it.
func (l appLog) Page(ctx context.Context, cursor string) ([]attempt, string, error) {
	query := url.Values{"per_page": {strconv.Itoa(logPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	req, err := l.api.NewRequest(http.MethodGet, "app/hook/deliveries?"+query.Encode(), nil)
	if err != nil {
		return nil, "", fmt.Errorf("github's log of deliveries: %w", err)
	}
	var lines []line
	resp, err := l.api.Do(ctx, req, &lines)
	if err != nil {
		return nil, "", fmt.Errorf("github's log of deliveries: %w", err)
	}
	page := make([]attempt, 0, len(lines))
	for _, d := range lines {
		a := attempt{
			ID: d.GetID(), GUID: d.GetGUID(), Event: d.GetEvent(), Action: d.GetAction(), Status: d.GetStatus(), Code: d.GetStatusCode(),
			Redelivery: d.GetRedelivery(), Delivered: d.GetDeliveredAt().Time,
		}
		if d.ThrottledAt != nil {
			a.Throttled = *d.ThrottledAt
		}
		page = append(page, a)
	}
	return page, resp.Cursor, nil
}

// Redeliver asks GitHub, which answers with 202 and delivers later.
func (l appLog) Redeliver(ctx context.Context, id int64) error {
	_, _, err := l.api.Apps.RedeliverHookDelivery(ctx, id)
	var accepted *github.AcceptedError
	if err == nil || errors.As(err, &accepted) {
		return nil
	}
	return fmt.Errorf("redelivery of %d: %w", id, err)
}

// refusedItself tells that GitHub refuses this request, whoever sends it.
func refusedItself(err error) bool {
	var answer *github.ErrorResponse
	return errors.As(err, &answer) &&
		(answer.Response.StatusCode == http.StatusBadRequest || answer.Response.StatusCode == http.StatusUnprocessableEntity)
}
