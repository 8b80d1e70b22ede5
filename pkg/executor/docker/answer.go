package docker

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
)

// What the engine's answers mean. Their kind is the HTTP status; where one status
// stands for several things, only the text tells them apart.

func isConflict(err error) bool { return errdefs.IsConflict(err) }
func isMissing(err error) bool  { return errdefs.IsNotFound(err) }

// noContainer tells a missing container from a missing file in one.
func noContainer(err error) bool {
	return isMissing(err) && strings.Contains(strings.ToLower(err.Error()), "no such container")
}

// answered says that the engine itself refused, so that nothing was done. After any
// other error the request may have had its effect.
func answered(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errdefs.IsInvalidArgument(err) || errdefs.IsNotFound(err) || errdefs.IsConflict(err) || errdefs.IsPermissionDenied(err) ||
		errdefs.IsInternal(err) && strings.Contains(err.Error(), "Error response from daemon")
}

// says is the engine's text without what the client puts before it.
func says(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}

func isInvalid(err error) bool { return errdefs.IsInvalidArgument(err) }

// beingRemoved says that somebody else is removing the container.
func beingRemoved(err error) bool {
	return isConflict(err) && strings.Contains(err.Error(), "already in progress")
}
