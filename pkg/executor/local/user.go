package local

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// identity is the user that jobs run as.
type identity struct {
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups"`
}

// lookupIdentity finds a user by name or by numeric id.
func lookupIdentity(name string) (*identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		byID, idErr := user.LookupId(name)
		if idErr != nil {
			return nil, fmt.Errorf("job user %q: %w", name, err)
		}
		u = byID
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of job user %q: %w", name, err)
	}
	who := &identity{}
	for i, text := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("ids of job user %q: %w", name, err)
		}
		switch i {
		case 0:
			who.UID = n
		case 1:
			who.GID = n
		default:
			who.Groups = append(who.Groups, n)
		}
	}
	return who, nil
}

// credential is the identity as the kernel takes it; nil for the present user.
func (who *identity) credential() *syscall.Credential {
	if who == nil {
		return nil
	}
	c := &syscall.Credential{Uid: uint32(who.UID), Gid: uint32(who.GID)}
	for _, g := range who.Groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// own gives a file to the job; links are not followed.
func (who *identity) own(path string) error {
	if who == nil {
		return nil
	}
	return os.Lchown(path, who.UID, who.GID)
}

// canReach says whether the user may pass through every directory down to path.
func (who *identity) canReach(path string) error {
	for ; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		bit := os.FileMode(0o001)
		switch {
		case int(stat.Uid) == who.UID:
			bit = 0o100
		case int(stat.Gid) == who.GID || slices.Contains(who.Groups, int(stat.Gid)):
			bit = 0o010
		}
		if who.UID != 0 && info.Mode().Perm()&bit == 0 {
			return fmt.Errorf("job user %d cannot enter %s (mode %04o), which is on the way to the state directory", who.UID, path, info.Mode().Perm())
		}
		if path == "/" {
			return nil
		}
	}
}
