package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/litci/litci/pkg/executor/internal/rest"
)

// rights are what the executor does in its namespace: the Role of
// deploy/kubernetes/role.yaml. A resource may have a part: pods/log.
var rights = []struct{ group, resource, verbs string }{
	{"batch", "jobs", "create get list patch delete"},
	{"", "pods", "list patch delete"},
	{"", "pods/log", "get"},
	{"", "secrets", "create delete"},
	{"", "events", "list"},
}

// accessReview asks whether the credentials may do one thing
// (https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/).
type accessReview struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Spec       accessSpec `json:"spec"`
	Status     struct {
		Allowed bool `json:"allowed"`
	} `json:"status"`
}

type accessSpec struct {
	Resource accessTo `json:"resourceAttributes"`
}

type accessTo struct {
	Namespace string `json:"namespace"`
	Verb      string `json:"verb"`
	Group     string `json:"group"`
	Resource  string `json:"resource"`
	Part      string `json:"subresource,omitempty"`
}

const (
	reviewKind = "SelfSubjectAccessReview"
	reviewPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
)

// Check asks the cluster whether the credentials may do what is needed. Its error
// says what to do.
func (e *Executor) Check(ctx context.Context) error {
	for _, path := range []string{e.jobs(""), e.pods(""), e.events()} {
		if err := e.client.call(ctx, request{method: http.MethodGet, path: path, query: values("limit", "1")}, nil); err != nil {
			return advise(fmt.Errorf("namespace %s: %w", e.config.Namespace, err))
		}
	}
	var lacking []string
	for _, r := range rights {
		for verb := range strings.FieldsSeq(r.verbs) {
			resource, part, _ := strings.Cut(r.resource, "/")
			ask := accessReview{APIVersion: "authorization.k8s.io/v1", Kind: reviewKind, Spec: accessSpec{accessTo{e.config.Namespace, verb, r.group, resource, part}}}
			var told accessReview
			err := e.client.call(ctx, request{method: http.MethodPost, path: reviewPath, sent: ask}, &told)
			switch {
			case rest.Status(err) == http.StatusForbidden || rest.Missing(err):
				return nil // the cluster does not tell, and jobs will
			case err != nil:
				return advise(err)
			case told.Kind == reviewKind && !told.Status.Allowed:
				lacking = append(lacking, verb+" "+r.resource)
			}
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("kubernetes: in namespace %s the credentials may not %s; bind the Role in deploy/kubernetes/role.yaml to litci's service account, in this namespace",
			e.config.Namespace, strings.Join(lacking, ", "))
	}
	return nil
}
