package docker

import (
	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor/local"
)

// Labels of what litci makes on an engine.
const (
	labelManaged  = "litci.managed"
	labelInstance = "litci.instance"
	labelHash     = "litci.spec-hash"
	labelJob      = "litci.job"
	// labelState and labelContainer are on what is left of a removed job: how it ended,
	// and its container's id.
	labelState     = "litci.state"
	labelContainer = "litci.container"
)

// labels are on everything that is this installation's.
func (e *Executor) labels() map[string]string {
	return map[string]string{labelManaged: "1", labelInstance: e.options.Instance}
}

// ours finds it.
func (e *Executor) ours() client.Filters {
	return client.Filters{}.Add("label", labelManaged+"=1", labelInstance+"="+e.options.Instance)
}

func (e *Executor) isOurs(labels map[string]string) bool {
	return labels[labelManaged] == "1" && labels[labelInstance] == e.options.Instance
}

func validID(id string) bool { return local.ValidID(id) }
