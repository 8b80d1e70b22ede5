package route

import (
	"maps"
	"testing"
)

func TestMatch(t *testing.T) {
	multi := func(p string) bool { return p == "ref" || p == "basehead" }
	tests := []struct {
		name, template, path string
		want                 map[string]string // nil: no match
	}{
		{"a literal matches itself", "/app/hook/config", "/app/hook/config", map[string]string{}},
		{"a trailing slash does not match", "/app", "/app/", nil},
		{"a parameter is one segment", "/repos/{owner}/{repo}", "/repos/a/b", map[string]string{"owner": "a", "repo": "b"}},
		{"a parameter is not two segments", "/repos/{owner}/{repo}", "/repos/a/b/c", nil},
		{"a parameter is not empty", "/users/{username}", "/users/", nil},
		{"a ref holds slashes", "/commits/{ref}", "/commits/heads/a/b", map[string]string{"ref": "heads/a/b"}},
		{"a ref holds slashes before a literal", "/commits/{ref}/check-runs", "/commits/heads/a/check-runs", map[string]string{"ref": "heads/a"}},
		{"escapes are undone", "/commits/{ref}/status", "/commits/feature%2Fx%23y/status", map[string]string{"ref": "feature/x#y"}},
		{"dots stay inside the parameter", "/compare/{basehead}", "/compare/main...a/b", map[string]string{"basehead": "main...a/b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Parse(tt.template, multi).Match(tt.path)
			if ok != (tt.want != nil) || !maps.Equal(got, tt.want) {
				t.Errorf("Match(%q) of %q = %v, %v; want %v", tt.path, tt.template, got, ok, tt.want)
			}
		})
	}
}
