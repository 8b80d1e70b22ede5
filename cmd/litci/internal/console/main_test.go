package console

import (
	"testing"

	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
