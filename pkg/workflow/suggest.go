package workflow

import "strings"

// Suggestion is the part of a message that names which of the known words was
// probably meant, as in: ; did you mean "opened"? It is empty where none is near.
func Suggestion(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return "; did you mean \"" + best + "\"?"
	}
	return ""
}

// nearest is the known word closest to a mistyped one, or "" when none is close.
func nearest(word string, known []string) string {
	const longest = 40 // no word of the language is as long
	if len(word) > longest {
		return ""
	}
	best, bestDistance := "", len(word)/3+1
	for _, k := range known {
		if d := distance(fold(word), fold(k)); d < bestDistance || d == bestDistance && best == "" && d < len(k) {
			best, bestDistance = k, d
		}
	}
	return best
}

// fold drops what people mix up: case, hyphen and underscore.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance counts the insertions, deletions, replacements and swaps of neighbours
// between two short words.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
