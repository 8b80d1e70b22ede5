package main

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metricsOf scrapes an admin address as Prometheus does and returns litci's own.
func metricsOf(t *testing.T, admin string) map[string]*dto.MetricFamily {
	t.Helper()
	res, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(families, func(name string, _ *dto.MetricFamily) bool { return !strings.HasPrefix(name, "litci_") })
	return families
}

// A mesh that has brought one failing pull request to its verdict has just the
// metrics that docs/metrics.md lists, with those types and labels.
func TestMetricsAreThoseOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	type shape struct{ kind, labels string }
	documented := map[string]shape{}
	name := regexp.MustCompile("`(\\w+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `(litci_\\w+)` \\| (\\w+) \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, l := range name.FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented[row[1]] = shape{row[2], strings.Join(labels, ",")}
	}

	values := map[string][]string{} // by metric and label
	for _, row := range regexp.MustCompile("(?m)^\\| `(litci_\\w+)` \\| `(\\w+)` \\|([^|]*)\\|$").FindAllStringSubmatch(string(text), -1) {
		for _, value := range name.FindAllStringSubmatch(row[3], -1) {
			values[row[1]+" "+row[2]] = append(values[row[1]+" "+row[2]], value[1])
		}
	}

	w := newWorld(t, map[string]string{"tests.yml": "name: Tests\nrun: exit 1\n"})
	w.up()
	w.openPull()
	if verdict := w.untilVerdict(); verdict != "failure" {
		t.Errorf("verdict is %s", verdict)
	}
	observations := func(have map[string]*dto.MetricFamily, name string) (n uint64) {
		for _, m := range have[name].GetMetric() {
			n += m.GetHistogram().GetSampleCount()
		}
		return n
	}
	// What measures an event comes behind the event.
	var have map[string]*dto.MetricFamily
	missing := ""
	t.Cleanup(func() {
		if missing != "" {
			t.Errorf("docs/metrics.md lists %s, which the mesh does not have", missing)
		}
	})
	w.until("the verdict's latency, and every metric of the documentation", func() bool {
		have, missing = metricsOf(t, w.admin), ""
		for n := range documented {
			if have[n] == nil {
				missing = n
			}
		}
		return missing == "" && observations(have, "litci_verdict_seconds") > 0
	})
	for _, n := range slices.Sorted(maps.Keys(have)) {
		kind := strings.ToLower(have[n].GetType().String())
		for _, m := range have[n].GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
				if known := values[n+" "+l.GetName()]; known != nil && !slices.Contains(known, l.GetValue()) {
					t.Errorf("%s has %s=%q; docs/metrics.md says %v", n, l.GetName(), l.GetValue(), known)
				}
			}
			slices.Sort(labels)
			if is := (shape{kind, strings.Join(labels, ",")}); is != documented[n] {
				t.Errorf("%s is %+v; docs/metrics.md says %+v", n, is, documented[n])
				break
			}
		}
	}
	if n := observations(have, "litci_begin_seconds"); n != 1 {
		t.Errorf("%d beginnings were measured, want 1", n)
	}
}
