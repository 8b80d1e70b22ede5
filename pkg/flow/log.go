package flow

import "strconv"

// LogBlock is a part of a running job's log, masked and without control
// sequences. A watcher that takes a job over sends blocks again: viewers go by the offset.
type LogBlock struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
	// Offset is the position of Text in the cleaned log, in bytes.
	Offset int64  `json:"offset"`
	Text   string `json:"text"`
	// Last says that the log is complete.
	Last bool `json:"last,omitempty"`
}

// Key is the block's place in the log, so that a repeated block is stored once.
func (b LogBlock) Key() string {
	return "log/" + b.Job + "/" + strconv.Itoa(b.Attempt) + "/" + strconv.FormatInt(b.Offset, 10) + "/" + strconv.Itoa(len(b.Text))
}

// Headers are the identities that go beside the payload.
func (b LogBlock) Headers() map[string]string {
	return map[string]string{HeaderJob: b.Job, HeaderAttempt: strconv.Itoa(b.Attempt)}
}

// SourceName is the name of a commit's archive in the object store sources.
func SourceName(repo int64, sha string) string { return strconv.FormatInt(repo, 10) + "/" + sha }

// LogName is the name of an attempt's log in the object store logs.
func LogName(job string, attempt int) string { return AttemptID(job, attempt) }
