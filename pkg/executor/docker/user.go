package docker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/litci/litci/pkg/executor"
)

// identity is who a job's files belong to inside its container.
type identity struct{ uid, gid int }

// maxAccounts bounds what is read of an image's lists of accounts.
const maxAccounts = 1 << 20

// identify resolves a user as the engine does: "", "name", "uid", and either with
// ":group".
func (e *Executor) identify(ctx context.Context, container, user string) (identity, error) {
	if user == "" {
		return identity{}, nil
	}
	name, group, hasGroup := strings.Cut(user, ":")
	var who identity
	uid, err := strconv.Atoi(name)
	named := err != nil
	who.uid = uid
	// The group of a number is in the list too, but need not be.
	if named || !hasGroup {
		passwd, _, err := e.readFile(ctx, container, "/etc/passwd", maxAccounts)
		if err != nil {
			return who, err
		}
		fields := account(passwd, name, 7)
		switch {
		case fields != nil:
			if who.uid, err = strconv.Atoi(fields[2]); err == nil {
				who.gid, err = strconv.Atoi(fields[3])
			}
			if err != nil {
				return who, &executor.StartError{Message: fmt.Sprintf("the image's /etc/passwd is malformed at user %s", name)}
			}
		case named:
			return who, &executor.StartError{Message: fmt.Sprintf("the image's user %s is not in its /etc/passwd", name)}
		}
	}
	if !hasGroup {
		return who, nil
	}
	if gid, err := strconv.Atoi(group); err == nil {
		who.gid = gid
		return who, nil
	}
	groups, _, err := e.readFile(ctx, container, "/etc/group", maxAccounts)
	if err != nil {
		return who, err
	}
	fields := account(groups, group, 4)
	if fields == nil {
		return who, &executor.StartError{Message: fmt.Sprintf("the image's group %s is not in its /etc/group", group)}
	}
	if who.gid, err = strconv.Atoi(fields[2]); err != nil {
		return who, &executor.StartError{Message: fmt.Sprintf("the image's /etc/group is malformed at group %s", group)}
	}
	return who, nil
}

// account finds a line of passwd(5) or group(5) by name or number.
func account(data []byte, name string, fields int) []string {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		parts := strings.Split(lines.Text(), ":")
		if len(parts) == fields && (parts[0] == name || parts[2] == name) {
			return parts
		}
	}
	return nil
}
