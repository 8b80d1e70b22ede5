package fakekubernetes

import (
	"bytes"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

// RoleOf reads the rules of the Role in a file of manifests.
func RoleOf(path string) ([]Rule, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document struct {
			Kind  string `yaml:"kind"`
			Rules []Rule `yaml:"rules"`
		}
		if err := decoder.Decode(&document); err != nil {
			return nil, fmt.Errorf("role of %s: %w", path, err)
		}
		if document.Kind == "Role" {
			return document.Rules, nil
		}
	}
}
