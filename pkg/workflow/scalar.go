package workflow

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// plainScalar reads an unquoted scalar by the core schema of YAML 1.2, as GitHub
// does: no yes and no, no octal without 0o, no underscore in numbers.
func plainScalar(at position, text string) *node {
	n := &node{kind: stringKind, at: at, text: text}
	switch text {
	case "", "~", "null", "Null", "NULL":
		n.kind, n.text = nullKind, ""
	case "true", "True", "TRUE":
		n.kind, n.text = boolKind, "true"
	case "false", "False", "FALSE":
		n.kind, n.text = boolKind, "false"
	default:
		if number, ok := parseNumber(text); ok {
			n.kind, n.number = numberKind, number
		}
	}
	return n
}

// parseNumber reads an integer or a float into its canonical decimal text.
// Infinities and not-a-number stay text: JSON has no word for them.
func parseNumber(text string) (json.Number, bool) {
	const longest = 64 // digits that anybody means; longer ones stay text
	if len(text) > longest {
		return "", false
	}
	for prefix, base := range map[string]int{"0o": 8, "0x": 16} {
		if digits, ok := strings.CutPrefix(text, prefix); ok {
			i, ok := new(big.Int).SetString(digits, base)
			if !ok || strings.ContainsAny(digits, "+-_") {
				return "", false
			}
			return json.Number(i.String()), true
		}
	}
	unsigned := strings.TrimLeft(text, "+-")
	if len(text)-len(unsigned) > 1 || unsigned == "" {
		return "", false
	}
	if strings.Trim(unsigned, "0123456789") == "" {
		i, _ := new(big.Int).SetString(text, 10)
		return json.Number(i.String()), true
	}
	if strings.Trim(unsigned, "0123456789.eE+-") != "" || !strings.ContainsAny(unsigned[:1], "0123456789.") {
		return "", false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return "", false
	}
	return json.Number(formatFloat(f)), true
}

// formatFloat writes a number as JavaScript would, which is how GitHub shows it.
func formatFloat(f float64) string {
	if f == 0 {
		return "0"
	}
	if a := math.Abs(f); a < 1e-6 || a >= 1e21 {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}
