package console

import (
	"encoding/json"
	"testing"

	"github.com/litci/litci/services/launcher"
)

func TestLimitsChangeByTheirNames(t *testing.T) {
	var l launcher.Limits
	for _, c := range []struct {
		name string
		fn   func(*launcher.Limits)
		want string
	}{
		{"set", Changes{
			Slots: map[string]int{"": 4, "gpu": 0}, Repositories: map[string]int{"default": 8, "octo/hello": 2}, Installations: map[string]int{"7": 3},
		}.Set, `{"slots":{"":4,"gpu":0},"repository":8,"repositories":{"octo/hello":2},"installations":{"7":3}}`},
		{
			"set others", Changes{Repositories: map[string]int{"octo/other": 0}, Installations: map[string]int{"default": 0}}.Set,
			`{"slots":{"":4,"gpu":0},"repository":8,"repositories":{"octo/hello":2,"octo/other":0},"installation":0,"installations":{"7":3}}`,
		},
		{
			"unset some", Changes{Slots: map[string]int{"": 0}, Repositories: map[string]int{"default": 0}, Installations: map[string]int{"7": 0, "8": 0}}.Unset,
			`{"slots":{"gpu":0},"repositories":{"octo/hello":2,"octo/other":0},"installation":0}`,
		},
		{"unset the rest", Changes{Slots: map[string]int{"gpu": 0}, Repositories: map[string]int{"octo/hello": 0, "octo/other": 0}, Installations: map[string]int{"default": 0}}.Unset, `{}`},
	} {
		c.fn(&l)
		c.fn(&l) // as after a conflict
		if have, err := json.Marshal(l); err != nil || string(have) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, have, err, c.want)
		}
	}
}
