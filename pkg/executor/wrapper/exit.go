package wrapper

import (
	"fmt"
	"strings"
	"time"
)

// Exit is what the wrapper says at the end.
type Exit struct {
	// Reason is "exit", "timeout", "term" (it was asked to end), "memory" or "infra".
	Reason string
	Code   int
	// Size is how much the script wrote, in bytes.
	Size int64
	// Began and Ended are the script's times; zero where it never began.
	Began, Ended time.Time
	Message      string
}

// ParseExit reads "REASON CODE SIZE BEGAN ENDED MESSAGE".
func ParseExit(text string) (*Exit, bool) {
	var e Exit
	var began, ended int64
	n, err := fmt.Sscanf(text, "%s %d %d %d %d", &e.Reason, &e.Code, &e.Size, &began, &ended)
	if err != nil || n != 5 {
		return nil, false
	}
	if began > 0 {
		e.Began, e.Ended = time.UnixMilli(began).UTC(), time.UnixMilli(ended).UTC()
	}
	if parts := strings.SplitN(text, " ", 6); len(parts) == 6 {
		e.Message = parts[5]
	}
	return &e, true
}
