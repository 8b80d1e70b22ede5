package bus

import "testing"

// However long the process stood still, each message has its turn.
func TestEachMessageHasItsTurn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		looks []uint64 // at these turns
	}{
		{"one by one", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}},
		{"some were missed", []uint64{1, 1, 2, 9, 10, 17, 20}},
		{"all were missed", []uint64{20}},
	} {
		for seq := range uint64(2 * beatTurns) {
			turns, last := 0, uint64(0)
			for _, turn := range c.looks {
				if due(seq, last, turn) {
					turns++
				}
				last = turn
			}
			if turns != 1 {
				t.Errorf("%s: message %d has %d turns of %d", c.name, seq, turns, beatTurns)
			}
		}
	}
	for seq := range uint64(beatTurns) {
		if !due(seq, 7, 70) {
			t.Errorf("message %d has no turn of many", seq)
		}
	}
}
