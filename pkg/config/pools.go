package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Served are the settings of each launcher and watcher of this process: those of the
// unnamed pool and of every pool of the configuration file, or those of the one that
// --pool names.
func (c *Config) Served() []*Config {
	if c.Pool == "" {
		return append([]*Config{c}, c.Pools...)
	}
	for _, p := range c.Pools {
		if p.Pool == c.Pool {
			return []*Config{p}
		}
	}
	return []*Config{c}
}

// Named are the names of the pools that Served would serve, and of all others in the
// file: what must be there on the bus for them.
func (c *Config) Named() []string {
	var names []string
	for _, p := range append([]*Config{c}, c.Pools...) {
		if p.Pool != "" && !slices.Contains(names, p.Pool) {
			names = append(names, p.Pool)
		}
	}
	return names
}

// ofPool says that launchers or watchers read the setting, each for itself.
func (s setting) ofPool() bool {
	return len(s.services) > 0 && len(s.services) < len(daemons) && s.key != "pool" && s.concerns([]string{"launcher", "watcher"})
}

// pools are the settings of the file's pools: a pool's own go before all others, and
// what it does not say is as everywhere. Chosen is the pool of --pool.
func (r *reader) pools(sections map[string]section, chosen string, flags *pflag.FlagSet) []*Config {
	var all []*Config
	said := len(r.problems)
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		own := sections[name]
		if !IsPool(name) {
			r.wrong("%s: pool %q: a pool is a name of letters, digits, - and _, at most 64", anywhere(own), name)
			continue
		}
		p := newReader()
		for _, s := range settings {
			p.v.SetDefault(s.key, r.v.Get(s.key))
		}
		maps.Copy(p.parts, r.parts)
		p.take(own, "pool "+name+": ")
		r.problems, p.problems = append(r.problems, p.problems...), nil
		c := p.config()
		c.Pool = name
		if _, given := own["data"]; !given && c.Data != "" {
			c.Data = filepath.Join(c.Data, poolsKey, name)
		}
		all = append(all, c)
		for _, wrong := range p.problems {
			if !slices.Contains(r.problems[:said], wrong) {
				r.problems = append(r.problems, wrong.of(name))
			}
		}
		for key, part := range own {
			if f := flags.Lookup(key); name == chosen && f != nil && f.Changed {
				r.problem(key, "pool %s has it in %s too; keep one", name, part.where())
			}
		}
	}
	return all
}

// anywhere is a line of a section.
func anywhere(s section) string {
	for _, p := range s {
		return p.where()
	}
	return "configuration file"
}

// of is the problem as that of a pool, where a setting has no flag.
func (p problem) of(pool string) problem {
	return problem{p.key, fmt.Sprintf("pool %s: %s%s", pool, p.key, strings.TrimPrefix(p.text, describe(p.key)))}
}

// poolProblems are those of every launcher and watcher of this process.
func (c *Config) poolProblems(starts bool) []problem {
	var found []problem
	folders := map[string]string{}
	for i, one := range c.Served() {
		whose := "the unnamed pool"
		if one.Pool != "" {
			whose = "pool " + one.Pool
		}
		for _, p := range one.serving(starts) {
			if i == 0 {
				found = append(found, p)
			} else if !slices.Contains(found, p) {
				found = append(found, p.of(one.Pool))
			}
		}
		if one.Executor != "local" {
			continue
		}
		folder := filepath.Clean(one.Data)
		if other, taken := folders[folder]; taken {
			found = append(found, problem{"data", fmt.Sprintf("%s: data: %s is the folder of %s too; give each pool of this machine a folder of its own", whose, folder, other)})
		}
		folders[folder] = whose
	}
	return found
}
