package lightning

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// job is a job as the service tells it; the fields that matter here.
type job struct {
	ID                         string    `json:"id"`
	Name                       string    `json:"name"`
	Spec                       jobSpec   `json:"spec"`
	State                      string    `json:"state"`
	Message                    string    `json:"message"`
	ServerError                string    `json:"serverError"`
	CreatedAt                  timestamp `json:"createdAt"`
	StartedAt                  timestamp `json:"startedAt"`
	UserLogsStartedAt          timestamp `json:"userLogsStartedAt"`
	StoppedAt                  timestamp `json:"stoppedAt"`
	UpdatedAt                  timestamp `json:"updatedAt"`
	RestartCount               integer   `json:"restartCount"`
	InterruptionNoticeReceived bool      `json:"interruptionNoticeReceived"`
}

// jobSpec is what is asked for. Fields that are left out are at their zero value.
type jobSpec struct {
	InstanceName    string     `json:"instanceName"`
	ClusterID       string     `json:"clusterId"`
	CloudspaceID    string     `json:"cloudspaceId"`
	Image           string     `json:"image"`
	ImageSecretRef  string     `json:"imageSecretRef"`
	Entrypoint      string     `json:"entrypoint"`
	Command         string     `json:"command"`
	Env             []variable `json:"env"`
	Spot            bool       `json:"spot"`
	MaxRunAttempts  integer    `json:"maxRunAttempts"`
	ShutdownTimeout integer    `json:"shutdownTimeoutSeconds"`
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// env is the value of a variable of the job.
func (j *job) env(name string) string {
	for _, v := range j.Spec.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// integer is written as a number and read as a number or a string, as the service
// writes 64-bit ones.
type integer int64

// UnmarshalJSON reads a number, a string of digits, or nothing.
func (i *integer) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "" || text == "null" {
		*i = 0
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("number %s is malformed", data)
	}
	*i = integer(n)
	return nil
}

// timestamp is a time that may be missing.
type timestamp struct{ time.Time }

// UnmarshalJSON reads RFC 3339; nothing and the year 1 are the zero time.
func (t *timestamp) UnmarshalJSON(data []byte) error {
	t.Time = time.Time{}
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("time %s is malformed", data)
	}
	if text == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("time %s is malformed", data)
	}
	if at.Year() > 1970 {
		t.Time = at.UTC()
	}
	return nil
}

// entry is a line of a log.
type entry struct {
	Line      json.RawMessage `json:"line"` // a number or a string; compared, never counted with
	Message   string          `json:"message"`
	Timestamp timestamp       `json:"timestamp"`
}
