package ingress

import (
	"encoding/json"
	"net/http"
)

// answer is what the sender of a delivery is told. It never repeats anything of
// the payload.
type answer struct {
	code int
	// allow is the Allow header of a 405; shut ends the connection.
	allow string
	shut  bool
	body  answerBody
	// cause is for the log alone.
	cause error
}

// answerBody is the JSON of an answer: a status, or an error with its remedy.
type answerBody struct {
	Status   string `json:"status,omitempty"`
	Delivery string `json:"delivery,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Error    string `json:"error,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

func accepted(delivery string) answer {
	return answer{code: http.StatusAccepted, body: answerBody{Status: "accepted", Delivery: delivery}}
}

func ignored(delivery, reason string) answer {
	return answer{code: http.StatusOK, body: answerBody{Status: "ignored", Delivery: delivery, Reason: reason}}
}

func refused(code int, problem, remedy string) answer {
	return answer{code: code, body: answerBody{Error: problem, Remedy: remedy}}
}

func (a answer) write(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.shut {
		h.Set("Connection", "close")
	}
	w.WriteHeader(a.code)
	return json.NewEncoder(w).Encode(a.body)
}
