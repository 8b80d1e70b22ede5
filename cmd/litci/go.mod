module github.com/litci/litci/cmd/litci

go 1.26.0

require (
	github.com/litci/litci/pkg v0.0.0
	github.com/litci/litci/services/ingress v0.0.0
	github.com/litci/litci/services/launcher v0.0.0
	github.com/litci/litci/services/planner v0.0.0
	github.com/litci/litci/services/reporter v0.0.0
	github.com/litci/litci/services/watcher v0.0.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/rogpeppe/go-internal v1.16.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	go.uber.org/multierr v1.10.0 // indirect
	go.uber.org/zap v1.28.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/term v0.47.0 // indirect
)

replace (
	github.com/litci/litci/pkg => ../../pkg
	github.com/litci/litci/services/ingress => ../../services/ingress
	github.com/litci/litci/services/launcher => ../../services/launcher
	github.com/litci/litci/services/planner => ../../services/planner
	github.com/litci/litci/services/reporter => ../../services/reporter
	github.com/litci/litci/services/watcher => ../../services/watcher
)
