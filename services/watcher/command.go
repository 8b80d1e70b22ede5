package watcher

import "strings"

// command is a workflow command: a line by which a job speaks to the CI system,
// in the grammar of GitHub's runner.
type command struct {
	// name is in lower case.
	name string
	// data is what follows, unescaped.
	data string
}

// parseCommand reads "::name key=value::data"; false means an ordinary line.
func parseCommand(line string) (command, bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), "::")
	if !ok {
		return command{}, false
	}
	header, data, ok := strings.Cut(rest, "::")
	if !ok {
		return command{}, false
	}
	name, _, _ := strings.Cut(header, " ")
	if name == "" {
		return command{}, false
	}
	return command{strings.ToLower(name), unescape(data)}, true
}

// unescape undoes the escapes of data in one pass each, the percent sign last.
func unescape(data string) string {
	if !strings.Contains(data, "%") {
		return data
	}
	for _, e := range [][2]string{{"%0D", "\r"}, {"%0d", "\r"}, {"%0A", "\n"}, {"%0a", "\n"}, {"%25", "%"}} {
		data = strings.ReplaceAll(data, e[0], e[1])
	}
	return data
}

// commands follows stop-commands, between which and its token nothing is a
// command: untrusted text is printed so.
type commands struct{ token string }

// next returns the command of a line, if it is one and commands are not stopped.
func (c *commands) next(line string) (command, bool) {
	cmd, ok := parseCommand(line)
	if !ok {
		return command{}, false
	}
	if c.token != "" {
		if cmd.name == c.token {
			c.token = ""
		}
		return command{}, false
	}
	if cmd.name == "stop-commands" {
		c.token = strings.ToLower(cmd.data)
		return command{}, false
	}
	return cmd, true
}
