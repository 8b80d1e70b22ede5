package bus

import "testing"

func TestSuspectsRunInEverSmallerCompany(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		begun   int
		waiting int64
		beside  int64 // how many run at once; 0 for no bound
	}{
		{0, 10_000, 0},
		{free - 1, 1, 0},
		{free, 1, 256},
		{free + 1, 1, 64},
		{free + 2, 1, 16},
		{free + 3, 1, 4},
		{free + 4, 1, 1},
		{free + 50, 128, 1},
		{free + 50, 256, 2},     // many suspects: larger companies, until most are cleared
		{free + 50, 10_000, 85}, // a minute for all
		{free + 50, 100_000, 256},
	} {
		room := crashes{Begun: c.begun}.room(c.waiting)
		beside := int64(0)
		if room > 0 {
			beside = company / room
		}
		if beside != c.beside {
			t.Errorf("after %d beginnings, with %d waiting: %d run at once, want %d", c.begun, c.waiting, beside, c.beside)
		}
	}
}
