package workflow

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// bounded refuses what would cost the parser more than it is worth: too many
// tokens, nesting too deep, keys too long. It sees tokens, so the script, which is
// one token, does not count.
func (r *reader) bounded(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		r.errorf(tokenPosition(tokens[maxTokens]), "the file has more than %d YAML tokens; split it", maxTokens)
		return false
	}
	var columns []int // of the lines that the current one stands under
	flowDepth, dashes, line := 0, 0, 0
	for i, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		at := tokenPosition(t)
		if flowDepth == 0 && at.line != line {
			for len(columns) > 0 && columns[len(columns)-1] >= at.column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, at.column)
			dashes = 0
		}
		line = at.line
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flowDepth++
		case token.SequenceEndType, token.MappingEndType:
			flowDepth = max(0, flowDepth-1)
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			dashes++
		case token.MappingValueType:
			if i > 0 && len(tokens[i-1].Value) > maxKey {
				r.errorf(tokenPosition(tokens[i-1]), "a key of %d bytes; a key may have at most %d", len(tokens[i-1].Value), maxKey)
				return false
			}
		}
		if len(columns)+dashes+flowDepth > maxDepth {
			r.errorf(at, "nested more than %d levels deep", maxDepth)
			return false
		}
	}
	return true
}

// joinColons makes one text of a:1 in a list within a flow mapping, as in
// {image: [python:3.10]}. The library takes such a colon for a mapping's, against
// YAML: a colon without a space behind it is a character like any other.
func joinColons(tokens token.Tokens) token.Tokens {
	joined := make(token.Tokens, 0, len(tokens))
	var lists []bool // of the brackets around: is it a list?
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			lists = append(lists, t.Type == token.SequenceStartType)
		case token.SequenceEndType, token.MappingEndType:
			lists = lists[:max(0, len(lists)-1)]
		case token.MappingValueType:
			if len(lists) == 0 || !lists[len(lists)-1] || len(joined) == 0 || i+1 == len(tokens) {
				break
			}
			before, after := joined[len(joined)-1], tokens[i+1]
			if plain(before) && plain(after) && touches(before, t) && touches(t, after) {
				text := *before
				text.Type, text.Value, text.Origin = token.StringType, before.Value+":"+after.Value, before.Origin+":"+after.Origin
				joined[len(joined)-1] = &text
				i++
				continue
			}
		}
		joined = append(joined, t)
	}
	return joined
}

// plain tells whether a token is a scalar without quotes.
func plain(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
		token.FloatType, token.BoolType, token.NullType, token.InfinityType, token.NanType:
		return true
	}
	return false
}

// touches tells whether b begins where a ends.
func touches(a, b *token.Token) bool {
	from, to := tokenPosition(a), tokenPosition(b)
	return from.line == to.line && from.column+utf8.RuneCountInString(a.Value) == to.column
}

// withTabs is the text of a plain scalar with the tabs between its words, which
// the library drops: a script "make<tab>test" would become "maketest".
func withTabs(t *token.Token) string {
	if !strings.Contains(t.Origin, "\t") {
		return t.Value
	}
	var b strings.Builder
	blank := 0
	for i, line := range strings.Split(strings.Trim(t.Origin, " \t\n"), "\n") {
		line = strings.Trim(line, " \t")
		switch {
		case line == "":
			blank++
			continue
		case blank > 0:
			b.WriteString(strings.Repeat("\n", blank))
		case i > 0:
			b.WriteByte(' ')
		}
		blank = 0
		b.WriteString(line)
	}
	if strings.ReplaceAll(b.String(), "\t", "") != t.Value {
		return t.Value // not what the token was made of
	}
	return b.String()
}
