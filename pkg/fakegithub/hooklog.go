package fakegithub

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// deliveryLogLife is how long deliveries stay in the log.
const deliveryLogLife = 3 * 24 * time.Hour

// newestFirst lists the deliveries that the log still holds. s.mu is held.
func (s *Server) newestFirst() []*Delivery {
	oldest := s.cfg.Now().Add(-deliveryLogLife)
	var kept []*Delivery
	for _, d := range slices.Backward(s.deliveries) {
		if d.DeliveredAt.After(oldest) {
			kept = append(kept, d)
		}
	}
	return kept
}

// listDeliveries pages by cursor, not by number.
func (c *call) listDeliveries() (reply, error) {
	q := c.r.URL.Query()
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.newestFirst()
	if status := q.Get("status"); status != "" {
		if status != "success" && status != "failure" {
			return reply{}, invalid(fieldError{Resource: "HookDelivery", Field: "status", Code: "invalid"})
		}
		// By the answer's code: what got no answer is in neither.
		found = slices.DeleteFunc(found, func(d *Delivery) bool {
			if status == "failure" {
				return d.StatusCode < 400 || d.StatusCode > 599
			}
			return d.StatusCode < 200 || d.StatusCode > 399
		})
	}
	if cursor := q.Get("cursor"); cursor != "" {
		from, err := strconv.ParseInt(strings.TrimPrefix(cursor, "v1_"), 10, 64)
		if err != nil {
			return reply{}, refuse(http.StatusBadRequest, "Invalid cursor")
		}
		found = slices.DeleteFunc(found, func(d *Delivery) bool { return d.ID > from })
	}
	_, perPage := c.page()
	rep := reply{status: http.StatusOK}
	if len(found) > perPage {
		next := "v1_" + strconv.FormatInt(found[perPage].ID, 10)
		rep.header = http.Header{"Link": {c.link("next", url.Values{"cursor": {next}})}}
		found = found[:perPage]
	}
	shown := []DeliveryItem{}
	for _, d := range found {
		shown = append(shown, d.DeliveryItem)
	}
	rep.body = shown
	return rep, nil
}

// deliveryOf returns the delivery that the path names. s.mu is held.
func (c *call) deliveryOf() (*Delivery, error) {
	id, err := strconv.ParseInt(c.params["delivery_id"], 10, 64)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid delivery id")
	}
	for _, d := range c.s.newestFirst() {
		if d.ID == id {
			return d, nil
		}
	}
	return nil, notFound()
}

func (c *call) getDelivery() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	d, err := c.deliveryOf()
	if err != nil {
		return reply{}, err
	}
	return ok(*d)
}

// redeliver sends a delivery again, under the same GUID, in the background.
func (c *call) redeliver() (reply, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := c.deliveryOf()
	if err != nil {
		return reply{}, err
	}
	if !s.closed {
		s.background(d.Event, d.Request.sent, d.GUID, true)
	}
	return reply{status: http.StatusAccepted, body: object{}}, nil
}

func (c *call) getHookConfig() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return ok(c.s.hookConfig())
}

// hookConfig shows the webhook's settings; a secret is shown as stars. s.mu
// is held.
func (s *Server) hookConfig() object {
	shown := object{"content_type": "json", "insecure_ssl": "0"}
	if s.hookURL != "" {
		shown["url"] = s.hookURL
	}
	if s.hookSecret != "" {
		shown["secret"] = "********"
	}
	return shown
}

// updateHookConfig changes address and secret at once: the next delivery is
// signed with the new one.
func (c *call) updateHookConfig() (reply, error) {
	var ask struct {
		URL         *string `json:"url"`
		Secret      *string `json:"secret"`
		ContentType *string `json:"content_type"`
	}
	if err := c.decodeOptional(&ask); err != nil {
		return reply{}, err
	}
	if ask.ContentType != nil && *ask.ContentType != "json" {
		return reply{}, invalid(fieldError{Resource: "Hook", Field: "content_type", Code: "invalid", Message: "only json is emulated"})
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if ask.URL != nil {
		s.hookURL = *ask.URL
	}
	if ask.Secret != nil {
		s.hookSecret = *ask.Secret
	}
	return ok(s.hookConfig())
}
