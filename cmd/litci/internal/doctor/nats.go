package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/config"
)

func (r *Report) nats(ctx context.Context, cfg *config.Config) {
	bc := cfg.Bus("operator")
	bc.Once = true
	where := "the server of --nats-url"
	if bc.URL == "" {
		url, key, err := embedded.Find(filepath.Join(cfg.Data, "nats"))
		if errors.Is(err, embedded.ErrNoServer) {
			r.add("nats", Warn, "no litci up runs with its data in "+cfg.Data+", so its server could not be looked at", "start litci up and ask again, or name a server by --nats-url")
			return
		}
		if err != nil {
			r.add("nats", Fail, err.Error(), "run litci doctor as the user that runs litci up")
			return
		}
		where, bc.URL = "the server of litci up", url
		if bc.Creds == "" && bc.NKey == "" && bc.User == "" {
			bc.NKey = key
		}
	}
	b, err := bus.Connect(bc, zap.NewNop(), nil)
	switch {
	case errors.Is(err, bus.ErrDenied):
		r.add("nats sign-in", Fail, err.Error(), "check --nats-creds, --nats-nkey, or --nats-user with LITCI_NATS_PASSWORD")
		return
	case err != nil:
		r.add("nats", Fail, err.Error(), "start the server, and check --nats-url, the firewall and --nats-ca")
		return
	}
	defer b.Close()
	found, err := b.Inspect(ctx)
	switch {
	case errors.Is(err, bus.ErrDenied):
		r.add("nats sign-in", Fail, err.Error(), "sign in as a user that may look at streams, such as the operator")
		return
	case err != nil:
		r.add("nats", Fail, where+" has no JetStream for litci: "+err.Error(), "switch JetStream on (nats-server -js) for the account that litci signs in to")
		return
	}
	r.add("nats", OK, where+" answers, version "+found.Server, "")
	r.topology(found)
	r.storage(found)
}

func (r *Report) topology(found bus.Inspection) {
	const what = "nats topology"
	switch {
	case len(found.Missing) > 0:
		r.add(what, Fail, "not there: "+strings.Join(found.Missing, ", "), "run litci provision, or litci up, which makes them")
	case len(found.Older) > 0:
		r.add(what, Warn, fmt.Sprintf("older than version %d of this litci: %s", found.Topology, strings.Join(found.Older, ", ")), "run litci provision of this version")
	case len(found.Newer) > 0:
		r.add(what, Warn, fmt.Sprintf("newer than version %d of this litci: %s", found.Topology, strings.Join(found.Newer, ", ")), "use the newest litci on this machine too")
	default:
		r.add(what, OK, fmt.Sprintf("streams, consumers and buckets of version %d are there", found.Topology), "")
	}
}

func (r *Report) storage(found bus.Inspection) {
	const what = "nats storage"
	used := fmt.Sprintf("%d MiB are used", found.Used>>20)
	if found.Limit > 0 {
		used += fmt.Sprintf(" of %d", found.Limit>>20)
	}
	switch {
	case len(found.Full) > 0:
		r.add(what, Fail, "nearly full: "+strings.Join(found.Full, ", "), "give them more room: nats stream edit --max-bytes; what is full refuses writes")
	case found.Limit > 0 && found.Used > found.Limit/10*9:
		r.add(what, Warn, used, "raise max_file_store of the server, or the account's limit")
	default:
		r.add(what, OK, used, "")
	}
}
