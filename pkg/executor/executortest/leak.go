package executortest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patient runs the tests of a package for goleak.VerifyTestMain, and gives goroutines
// that are about to end the time that a slow machine takes for it: goleak itself waits
// for less than half a second.
func Patient(m *testing.M, ignore ...goleak.Option) goleak.TestingM { return patient{m, ignore} }

type patient struct {
	tests  *testing.M
	ignore []goleak.Option
}

func (p patient) Run() int {
	code := p.tests.Run()
	for end := time.Now().Add(time.Minute); code == 0 && time.Now().Before(end); {
		if goleak.Find(p.ignore...) == nil {
			break
		}
	}
	return code
}
