package local

import (
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/config"
)

// Open returns the executor that the settings describe. Jobs are kept in the folder
// jobs of the data directory, each under a supervisor that is this program's
// hidden command "supervise".
func Open(c *config.Config, log *zap.Logger) (*Executor, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("path of this program: %w", err)
	}
	return New(Config{
		Dir: filepath.Join(c.Data, "jobs"), Command: []string{program, "supervise"},
		User: c.JobUser, AllowForks: c.AllowForks, Log: log,
	})
}
