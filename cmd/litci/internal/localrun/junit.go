package localrun

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr,omitempty"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure"`
	Skipped *junitSkipped `xml:"skipped"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	// Text is escaped already: the encoder would write line ends as numbers.
	Text string `xml:",innerxml"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

// JUnit writes the report as JUnit XML: a suite for each workflow file, a case for
// each job, and what of its log matters as the text of its failure. A job that did
// not begin is skipped.
func (r *Report) JUnit(w io.Writer) error {
	all := junitSuites{Name: "litci run", Time: clock(r.Duration)}
	took := map[string]float64{}
	suite := func(file string) *junitSuite {
		for i := range all.Suites {
			if all.Suites[i].Name == file {
				return &all.Suites[i]
			}
		}
		all.Suites = append(all.Suites, junitSuite{Name: file})
		return &all.Suites[len(all.Suites)-1]
	}
	add := func(s *junitSuite, c junitCase) {
		s.Cases = append(s.Cases, c)
		s.Tests++
		all.Tests++
		if c.Failure != nil {
			s.Failures++
			all.Failures++
		}
		if c.Skipped != nil {
			s.Skipped++
			all.Skipped++
		}
	}
	for _, job := range r.Jobs {
		c := junitCase{Name: job.Check, Class: job.Workflow, Time: clock(job.Duration)}
		switch {
		case job.Conclusion == flow.Success:
		case !job.begun():
			c.Skipped = &junitSkipped{job.Message}
		default:
			c.Failure = &junitFailure{Message: job.Message, Type: string(job.Cause), Text: escaped(job.Window)}
		}
		s := suite(job.File)
		if s.Stamp == "" && !job.StartedAt.IsZero() {
			s.Stamp = job.StartedAt.UTC().Format(time.RFC3339)
		}
		took[job.File] += job.Duration
		s.Time = clock(took[job.File])
		add(s, c)
	}
	for _, skipped := range r.Skipped {
		add(suite("skipped"), junitCase{Name: skipped.Check, Class: "skipped", Time: clock(0), Skipped: &junitSkipped{skipped.Reason}})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// escaped are lines as text of an element.
func escaped(lines []string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(strings.Join(lines, "\n"))) // a Builder takes everything
	return strings.NewReplacer("&#xA;", "\n", "&#x9;", "\t").Replace(b.String())
}

func clock(seconds float64) string { return fmt.Sprintf("%.3f", seconds) }
