package daemon

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// What builds without version control set, by -ldflags -X: the version, the commit and
// the commit's time. The Go toolchain records them itself where it sees a repository.
var version, commit, date string

// build is what this binary was built from; what nobody knows is empty.
type build struct{ version, commit, date string }

func thisBuild() build {
	b := build{version, commit, date}
	modified := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.version == "" {
			b.version = strings.Trim(info.Main.Version, "()")
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && b.commit == "":
				b.commit = s.Value
			case s.Key == "vcs.time" && b.date == "":
				b.date = s.Value
			case s.Key == "vcs.modified" && s.Value == "true" && commit == "":
				modified = "-modified"
			}
		}
	}
	if b.version == "" {
		b.version = "devel"
	}
	if b.commit != "" {
		b.commit = b.commit[:min(len(b.commit), 12)] + modified
	}
	return b
}

// Version is what this binary was built from, for people: version, commit, the commit's
// time and Go's version, without what is not known.
func Version() string {
	b := thisBuild()
	return strings.Join(strings.Fields(b.version+" "+b.commit+" "+b.date+" "+runtime.Version()), " ")
}

// buildInfo is the metric that carries what Version says.
func buildInfo() prometheus.Collector {
	b := thisBuild()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "litci_build_info", Help: "Always 1; the labels say what the process was built from.",
		ConstLabels: prometheus.Labels{"version": b.version, "commit": b.commit, "date": b.date, "go": runtime.Version()},
	}, func() float64 { return 1 })
}
