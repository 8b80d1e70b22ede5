// Package deploy tests what the files of this folder refer to.
package deploy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// services are the scrape jobs, by the names that Compose's network resolves.
var services = []string{"ingress", "planner", "launcher", "watcher", "reporter"}

// family is a metric as docs/metrics.md has it.
type family struct {
	kind   string
	labels []string
	// values are those of labels that have few.
	values map[string][]string
}

// documented reads the tables of docs/metrics.md.
func documented(t *testing.T) map[string]family {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (counter|gauge|histogram) \\|([^|]*)\\|")
	name := regexp.MustCompile("`(\\w+)`")
	found := map[string]family{
		"up": {kind: "gauge"}, // Prometheus's own, for every target
		// client_golang's, for every process.
		"process_resident_memory_bytes": {kind: "gauge"},
		"process_cpu_seconds_total":     {kind: "counter"},
	}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		f := family{kind: m[2]}
		for _, label := range name.FindAllStringSubmatch(m[3], -1) {
			f.labels = append(f.labels, label[1])
		}
		found[m[1]] = f
	}
	values := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `(\\w+)` \\|([^|]*)\\|$")
	for _, m := range values.FindAllStringSubmatch(string(text), -1) {
		f := found[m[1]]
		if f.values == nil {
			f.values = map[string][]string{}
		}
		for _, value := range name.FindAllStringSubmatch(m[3], -1) {
			f.values[m[2]] = append(f.values[m[2]], value[1])
		}
		found[m[1]] = f
	}
	if len(found) < 20 {
		t.Fatalf("docs/metrics.md has a table of %d metrics; it has another form than this test reads", len(found))
	}
	return found
}

// find is the family that a series belongs to, with the labels that the series has.
func find(metrics map[string]family, series string) (family, error) {
	if f, ok := metrics[series]; ok && f.kind != "histogram" {
		f.labels = append(slices.Clone(f.labels), "job", "instance")
		return f, nil
	}
	for suffix, own := range map[string][]string{"_bucket": {"le"}, "_sum": nil, "_count": nil} {
		base, cut := strings.CutSuffix(series, suffix)
		if f, ok := metrics[base]; cut && ok && f.kind == "histogram" {
			f.labels = append(append(slices.Clone(f.labels), "job", "instance"), own...)
			return f, nil
		}
	}
	return family{}, fmt.Errorf("metric %s is not in docs/metrics.md", series)
}

// check parses a query and compares every metric and label in it with what is
// documented.
func check(metrics map[string]family, query string) error {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return err
	}
	_, err = labelsOf(metrics, expr)
	return err
}

// labelsOf walks a query and returns the labels that its result may have.
func labelsOf(metrics map[string]family, node parser.Node) ([]string, error) {
	var have []string
	for child := range parser.ChildrenIter(node) {
		more, err := labelsOf(metrics, child)
		if err != nil {
			return nil, err
		}
		have = append(have, more...)
	}
	known := func(what string, names []string) error {
		for _, name := range names {
			if !slices.Contains(have, name) {
				return fmt.Errorf("%s %s: the metrics in %q have only %v", what, name, node, have)
			}
		}
		return nil
	}
	switch n := node.(type) {
	case *parser.VectorSelector:
		f, err := find(metrics, n.Name)
		if err != nil {
			return nil, err
		}
		have = f.labels
		var names []string
		for _, m := range n.LabelMatchers {
			if m.Name != model.MetricNameLabel {
				names = append(names, m.Name)
			}
			if values := f.values[m.Name]; values != nil {
				if err := oneOf(m, values); err != nil {
					return nil, err
				}
			}
		}
		return have, known("label", names)
	case *parser.AggregateExpr:
		if err := known("grouping by", n.Grouping); err != nil {
			return nil, err
		}
		if n.Without {
			return slices.DeleteFunc(have, func(l string) bool { return slices.Contains(n.Grouping, l) }), nil
		}
		return n.Grouping, nil
	case *parser.BinaryExpr:
		if n.VectorMatching != nil {
			return have, known("matching on", append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...))
		}
	case *parser.Call:
		switch n.Func.Name {
		case "rate", "increase", "irate":
			series := n.Args[0].(*parser.MatrixSelector).VectorSelector.(*parser.VectorSelector).Name
			if f, err := find(metrics, series); err != nil || f.kind == "gauge" {
				return nil, fmt.Errorf("%s of %s, which is a gauge", n.Func.Name, series)
			}
		case "histogram_quantile":
			return have, known("histogram_quantile over", []string{"le"})
		}
	}
	return have, nil
}

// oneOf demands that each value that a matcher spells out is one that exists.
func oneOf(m *labels.Matcher, values []string) error {
	asked := []string{m.Value}
	if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
		asked = strings.Split(m.Value, "|")
	}
	for _, value := range asked {
		if !slices.Contains(values, value) {
			return fmt.Errorf("%s: there is no %q, only %v", m, value, values)
		}
	}
	return nil
}

func TestQueriesAreChecked(t *testing.T) {
	t.Parallel()
	metrics := map[string]family{
		"a_total": {kind: "counter", labels: []string{"x"}}, "g": {kind: "gauge", labels: []string{"x"}}, "h": {kind: "histogram", labels: []string{"x"}},
		"v": {kind: "gauge", labels: []string{"x"}, values: map[string][]string{"x": {"one", "two"}}},
	}
	for query, complaint := range map[string]string{
		`sum by (x) (rate(a_total[5m]))`:                                              "",
		`sum by (x, job) (g) / on (x) group_left sum by (x) (rate(h_sum{x="1"}[5m]))`: "",
		`histogram_quantile(0.9, sum by (le, x) (rate(h_bucket[5m])))`:                "",
		`sum without (x) (g) > 1 and on (job) up{job="a"}`:                            "metric up",
		`rate(a_total[5m]`:                       "parse error",
		`v{x="one"} or v{x=~"two|one"}`:          "",
		`v{x="three"}`:                           `there is no "three"`,
		`v{x=~"one|three"}`:                      `there is no "three"`,
		`b_total`:                                "metric b_total",
		`h`:                                      "metric h ",
		`g_sum`:                                  "metric g_sum",
		`a_total{y="1"}`:                         "label y",
		`sum by (y) (a_total)`:                   "grouping by y",
		`sum by (job) (sum by (x) (g))`:          "grouping by job",
		`sum by (x) (g) / on (y) sum by (x) (g)`: "matching on y",
		`rate(g[5m])`:                            "which is a gauge",
		`histogram_quantile(0.9, rate(h_sum[5m]))`: "histogram_quantile over le",
		`sum by (le) (rate(h_count[5m]))`:          "grouping by le",
	} {
		err := check(metrics, query)
		if complaint == "" && err != nil || complaint != "" && (err == nil || !strings.Contains(err.Error(), complaint)) {
			t.Errorf("%s: %v, not %q", query, err, complaint)
		}
	}
}

func TestAlertRules(t *testing.T) {
	t.Parallel()
	const file = "prometheus/rules.yml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Errorf("%s: %v", file, err)
	}
	if groups == nil {
		t.FailNow()
	}
	metrics, anchors := documented(t), anchorsOf(t, "../docs/operations.md")
	names := map[string]bool{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if err := check(metrics, rule.Expr); err != nil {
				t.Errorf("%s: %s: %v", file, rule.Alert, err)
			}
			if names[rule.Alert] || !strings.HasPrefix(rule.Alert, "Litci") {
				t.Errorf("%s: alert %q must have a name of its own that begins with Litci", file, rule.Alert)
			}
			names[rule.Alert] = true
			if !slices.Contains([]string{"critical", "warning"}, rule.Labels["severity"]) {
				t.Errorf("%s: %s: severity is %q and must be critical or warning", file, rule.Alert, rule.Labels["severity"])
			}
			if rule.Annotations["summary"] == "" {
				t.Errorf("%s: %s has no summary", file, rule.Alert)
			}
			_, anchor, _ := strings.Cut(rule.Annotations["runbook_url"], "docs/operations.md#")
			if !anchors[anchor] {
				t.Errorf("%s: %s: its runbook %q is no heading of docs/operations.md", file, rule.Alert, rule.Annotations["runbook_url"])
			}
		}
	}
}

// anchorsOf are the headings of a page as GitHub links to them.
func anchorsOf(t *testing.T, page string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		slug := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		found[strings.ReplaceAll(slug, " ", "-")] = true
	}
	return found
}

func TestScrapeConfiguration(t *testing.T) {
	t.Parallel()
	var config struct {
		Global struct {
			ScrapeInterval     model.Duration `yaml:"scrape_interval"`
			EvaluationInterval model.Duration `yaml:"evaluation_interval"`
		} `yaml:"global"`
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName      string `yaml:"job_name"`
			DNSSDConfigs []struct {
				Names           []string       `yaml:"names"`
				Type            string         `yaml:"type"`
				Port            int            `yaml:"port"`
				RefreshInterval model.Duration `yaml:"refresh_interval"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	decode(t, "prometheus/prometheus.yml", &config)
	for _, file := range config.RuleFiles {
		if _, err := os.Stat(filepath.Join("prometheus", file)); err != nil {
			t.Errorf("rule file: %v", err)
		}
	}
	jobs := map[string]string{}
	for _, scrape := range config.ScrapeConfigs {
		for _, sd := range scrape.DNSSDConfigs {
			if sd.Type != "A" || sd.Port == 0 || len(sd.Names) != 1 {
				t.Errorf("job %s: an A record needs one name and a port, not %+v", scrape.JobName, sd)
				continue
			}
			jobs[scrape.JobName] = sd.Names[0]
		}
	}
	want := map[string]string{}
	for _, service := range services {
		want["litci-"+service] = service
	}
	if !maps.Equal(jobs, want) {
		t.Errorf("scraped are %v, not the services %v", jobs, want)
	}
}

// decode reads a YAML file, of which it knows every key.
func decode(t *testing.T, file string, into any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// panel is what is read of a dashboard's panel.
type panel struct {
	ID      int     `json:"id"`
	Type    string  `json:"type"`
	Title   string  `json:"title"`
	Panels  []panel `json:"panels"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// label_values(metric{matchers}, label) is how Grafana asks for a variable's values.
var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

func TestDashboards(t *testing.T) {
	t.Parallel()
	metrics := documented(t)
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			UID        string  `json:"uid"`
			Title      string  `json:"title"`
			Panels     []panel `json:"panels"`
			Templating struct {
				List []struct {
					Name  string `json:"name"`
					Type  string `json:"type"`
					Query string `json:"query"`
				} `json:"list"`
			} `json:"templating"`
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if board.UID == "" || board.Title == "" {
			t.Errorf("%s: a dashboard needs uid and title", file)
		}
		known := []string{"__rate_interval", "__range", "__interval"}
		for _, v := range board.Templating.List {
			known = append(known, v.Name)
			if v.Type != "query" {
				continue
			}
			m := labelValues.FindStringSubmatch(v.Query)
			if m == nil {
				t.Errorf("%s: variable %s: %q is no label_values(…)", file, v.Name, v.Query)
			} else if err := check(metrics, "sum by ("+m[2]+") ("+m[1]+")"); err != nil {
				t.Errorf("%s: variable %s: %v", file, v.Name, err)
			}
		}
		ids, queries := map[int]bool{}, 0
		for _, p := range flat(board.Panels) {
			if ids[p.ID] || p.ID == 0 {
				t.Errorf("%s: panel %q has no id of its own", file, p.Title)
			}
			ids[p.ID] = true
			if p.Type != "row" && p.Type != "text" && len(p.Targets) == 0 {
				t.Errorf("%s: panel %q asks for nothing", file, p.Title)
			}
			for _, target := range p.Targets {
				queries++
				query, err := substitute(target.Expr, known)
				if err == nil {
					err = check(metrics, query)
				}
				if err != nil {
					t.Errorf("%s: panel %q: %v", file, p.Title, err)
				}
			}
		}
		if queries == 0 {
			t.Errorf("%s has no queries", file)
		}
	}
}

func flat(panels []panel) (all []panel) {
	for _, p := range panels {
		all = append(append(all, p), flat(p.Panels)...)
	}
	return all
}

// substitute puts values in the place of a dashboard's variables, as Grafana does.
func substitute(query string, known []string) (string, error) {
	var unknown error
	out := regexp.MustCompile(`\$\{?(\w+)\}?`).ReplaceAllStringFunc(query, func(v string) string {
		name := strings.Trim(v, "${}")
		if !slices.Contains(known, name) {
			unknown = fmt.Errorf("variable %s is not defined", name)
		}
		return "5m"
	})
	return out, unknown
}

func TestProvisioningFindsTheDashboards(t *testing.T) {
	t.Parallel()
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name            string `yaml:"name"`
			Type            string `yaml:"type"`
			Folder          string `yaml:"folder"`
			DisableDeletion bool   `yaml:"disableDeletion"`
			AllowUIUpdates  bool   `yaml:"allowUiUpdates"`
			Options         struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	decode(t, "grafana/provisioning/dashboards/litci.yml", &providers)
	if providers.APIVersion != 1 || len(providers.Providers) != 1 || providers.Providers[0].Options.Path != "/etc/grafana/dashboards" {
		t.Errorf("providers are %+v; the dashboards are mounted at /etc/grafana/dashboards", providers)
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name      string         `yaml:"name"`
			UID       string         `yaml:"uid"`
			Type      string         `yaml:"type"`
			Access    string         `yaml:"access"`
			URL       string         `yaml:"url"`
			IsDefault bool           `yaml:"isDefault"`
			JSONData  map[string]any `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	decode(t, "grafana/provisioning/datasources/litci.yml", &sources)
	var uids []string
	for _, s := range sources.Datasources {
		uids = append(uids, s.UID)
	}
	err := filepath.WalkDir("grafana/dashboards", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`"datasource":\s*\{[^}]*"uid":\s*"([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(append(uids, "${datasource}", "-- Grafana --"), m[1]) {
				t.Errorf("%s asks the source %s, which is not provisioned: %v", path, m[1], uids)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
