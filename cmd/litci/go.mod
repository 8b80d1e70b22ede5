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

replace (
	github.com/litci/litci/pkg => ../../pkg
	github.com/litci/litci/services/ingress => ../../services/ingress
	github.com/litci/litci/services/launcher => ../../services/launcher
	github.com/litci/litci/services/planner => ../../services/planner
	github.com/litci/litci/services/reporter => ../../services/reporter
	github.com/litci/litci/services/watcher => ../../services/watcher
)
