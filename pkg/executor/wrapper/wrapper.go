// Package wrapper is the program that runs a job's script where litci has no process of
// its own: in a container of somebody else's machine. It needs a POSIX shell and what
// comes with one. It enforces deadline and grace with every service of litci down, writes
// the log so that each byte's offset is known, and tells the end.
//
// The program runs in a folder that holds it, the script and a Task; Decoder reads the
// log, ParseExit the end.
package wrapper

import _ "embed"

//go:embed fetch.sh
var fetch string

//go:embed wrapper.sh
var program string

// Program is the wrapper. Its arguments are the job's folder and, where there are such,
// a file that asks for the end and one for the log's last line.
func Program() string { return fetch + "\n" + program }

// Fetch is the part of the program that gets a job's source: the functions fetch and
// unpack, which work in the folder $d.
func Fetch() string { return fetch }
