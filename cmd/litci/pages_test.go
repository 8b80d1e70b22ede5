//go:build chromium

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium that ends with the test. Needs the program
// chromium; .ci/run installs it.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WSURLReadTimeout(patience))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// call is a command of the DevTools protocol as an action.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

// eventually waits until an expression is true on the page, across its reloads.
func eventually(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	poll(t, expression, func() bool {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		return err == nil && ok // an error is a page that was just left
	})
}

// detailsURL waits for a check run and returns where its details link leads.
func (w *world) detailsURL(check string) string {
	w.t.Helper()
	url := ""
	w.until("check "+check, func() bool {
		for _, c := range w.github.State().CheckRuns {
			if c.Name == check && c.Status == "in_progress" {
				url = c.DetailsURL
				return true
			}
		}
		return false
	})
	return url
}

// screenshot keeps a picture when LITCI_SCREENSHOTS names a folder.
func screenshot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("LITCI_SCREENSHOTS")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name), get(t, ctx, chromedp.FullScreenshot(100)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestJobPageFollowsARunningJob(t *testing.T) {
	outside := t.TempDir()
	w := newWorld(t, map[string]string{"live.yml": fmt.Sprintf(`name: Live <b>&amp;
run: |
  echo "first <script>alert(1)</script> line"
  touch %[1]s/began
  until [ -e %[1]s/release ]; do sleep 0.05; done
  echo "second line"
  until [ -e %[1]s/end ]; do sleep 0.05; done
  echo "Error: something broke"
  exit 3
`, outside)})
	w.up()
	w.openPull()
	w.untilFile(filepath.Join(outside, "began"))
	page := w.detailsURL("live.yml / Live <b>&amp;")

	ctx := browser(t)
	do(t, ctx, chromedp.Navigate(page))
	eventually(t, ctx, `document.getElementById("log").textContent.includes("first <script>alert(1)</script> line")`)
	// A mark in the window is gone after a reload: what follows comes live.
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`window.litciMark = true`))
	if heading := get(t, ctx, chromedp.Text(chromedp.CSS("h1"))); heading != "live.yml / Live <b>&amp;" {
		t.Errorf("heading is %q: the name is not escaped", heading)
	}
	w.write(filepath.Join(outside, "release"), "")
	eventually(t, ctx, `window.litciMark === true && document.getElementById("log").textContent.includes("second line")`)
	screenshot(t, ctx, "job-live.png")

	w.write(filepath.Join(outside, "end"), "")
	// The page that has the end is another one, of a job that is over.
	eventually(t, ctx, `document.readyState === "complete" && document.getElementById("live") === null &&
		document.getElementById("state").textContent.includes("exit 3") && document.getElementById("log").textContent.includes("something broke")`)
	screenshot(t, ctx, "job-ended.png")

	do(t, ctx, chromedp.Click(chromedp.CSS("nav a")), chromedp.WaitVisible(chromedp.CSS("table")))
	if title := get(t, ctx, chromedp.Title()); !strings.Contains(title, "octo/hello") {
		t.Errorf("title of the run page is %q", title)
	}
	screenshot(t, ctx, "run.png")
}

// On a phone nothing is wider than the screen; light and dark both have contrast.
func TestPagesFitAPhoneInLightAndDark(t *testing.T) {
	w := newWorld(t, map[string]string{
		"long.yml": "name: A workflow with a rather long name that wraps\nparametrize:\n  matrix:\n    image: [\"registry.example.com/team/project/image:3.11-slim-bookworm\", other]\nrun: |\n  head -c 500 /dev/zero | tr '\\0' x; echo\n",
	})
	w.up()
	w.openPull()
	w.untilVerdict()
	page := ""
	for _, c := range w.github.State().CheckRuns {
		if c.Name == "litci" {
			page = c.DetailsURL
		}
	}
	ctx := browser(t)
	for _, scheme := range []string{"light", "dark"} {
		do(t, ctx,
			chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile),
			call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
			chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS("table")),
		)
		screenshot(t, ctx, "run-phone-"+scheme+".png")
		fits(t, ctx, "run page, "+scheme)
		do(t, ctx, chromedp.Click(chromedp.CSS("tbody a")), chromedp.WaitVisible(chromedp.CSS("#log")))
		screenshot(t, ctx, "job-phone-"+scheme+".png")
		fits(t, ctx, "job page, "+scheme)
	}
}

// fits holds a page against the width of the screen and against WCAG's contrast of
// 4.5 to 1 for all its text.
func fits(t *testing.T, ctx context.Context, what string) {
	t.Helper()
	if get(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`)) {
		t.Errorf("%s is wider than the screen", what)
	}
	for _, f := range get(t, ctx, chromedp.Evaluate[[]string](contrastScript)) {
		t.Errorf("%s: too little contrast: %s", what, f)
	}
}

// contrastScript lists elements with text of their own that has too little contrast.
const contrastScript = `(() => {
	const parse = c => (c.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
	const luminance = c => {
		const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] > 0) return c;
		}
		return [255, 255, 255];
	};
	const faint = [];
	for (const e of document.body.querySelectorAll("*")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
		if (["SCRIPT", "STYLE"].includes(e.tagName)) continue;
		const a = luminance(parse(getComputedStyle(e).color)), b = luminance(behind(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) faint.push(e.tagName + " " + e.textContent.trim().slice(0, 40) + " " + ratio.toFixed(2));
	}
	return faint;
})()`

// Without JavaScript the page has the log so far and renews itself.
func TestJobPageWorksWithoutJavaScript(t *testing.T) {
	outside := t.TempDir()
	w := newWorld(t, map[string]string{"held.yml": held(outside)})
	w.up()
	w.openPull()
	w.untilFile(filepath.Join(outside, "began"))
	page := w.detailsURL(heldCheck)
	ctx := browser(t)
	w.write(filepath.Join(outside, "release"), "")
	do(t, ctx, call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.Navigate(page))
	// Only the page's own refresh brings the end.
	var text string
	poll(t, "the job's end on the page", func() bool {
		if now, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body"))); err == nil { // an error is a page that was just left
			text = now
		}
		return strings.Contains(text, "Passed")
	})
	if !strings.Contains(text, "released") {
		t.Errorf("the page lacks the log: %s", text)
	}
}

// The picture of docs/operations.md: a job that failed, with its log. Compressed it is
// what a page may weigh.
func TestReportPageOfTheDocumentation(t *testing.T) {
	w := newWorld(t, map[string]string{
		"tests.yml": `name: Tests
parametrize:
  matrix:
    python: ["3.11", "3.12"]
run: |
  echo "collected 4 items"
  echo
  echo "tests/test_cart.py ..F.                                            [100%]"
  echo
  echo "    def test_discount_is_applied():"
  echo ">       assert total(cart, discount=10) == 90"
  echo "E       AssertionError: assert 100 == 90"
  echo
  echo "tests/test_cart.py:17: AssertionError"
  echo "1 failed, 3 passed in 0.12s"
  exit 1
`,
	})
	w.up()
	w.openPull()
	if verdict := w.untilVerdict(); verdict != "failure" {
		t.Errorf("verdict is %s", verdict)
	}
	page := ""
	for _, c := range w.github.State().CheckRuns {
		if strings.Contains(c.Name, "3.12") {
			page = c.DetailsURL
		}
	}
	ctx := browser(t)
	do(t, ctx, chromedp.EmulateViewport(1000, 760), chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS("#log")))
	eventually(t, ctx, `document.getElementById("log").textContent.includes("AssertionError: assert 100 == 90")`)
	picture := get(t, ctx, chromedp.FullScreenshot(100))
	if len(picture) < 10<<10 || len(picture) > 200<<10 {
		t.Errorf("the picture has %d bytes", len(picture))
	}
	screenshot(t, ctx, "report-page.png")
}
