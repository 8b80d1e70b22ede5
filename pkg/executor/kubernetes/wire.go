package kubernetes

import (
	"encoding/json"
	"time"

	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// What is read and written of the API's objects. Names are the API's own.

type meta struct {
	Name            string            `json:"name,omitempty"`
	Namespace       string            `json:"namespace,omitempty"`
	UID             string            `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Created         time.Time         `json:"creationTimestamp,omitzero"`
	Deleted         time.Time         `json:"deletionTimestamp,omitzero"`
	Owners          []owner           `json:"ownerReferences,omitempty"`
}

type owner struct {
	APIVersion         string `json:"apiVersion"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	UID                string `json:"uid"`
	Controller         bool   `json:"controller"`
	BlockOwnerDeletion bool   `json:"blockOwnerDeletion"`
}

type list[T any] struct {
	Metadata struct {
		Continue string `json:"continue"`
	} `json:"metadata"`
	Items []T `json:"items"`
}

type condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Changed time.Time `json:"lastTransitionTime,omitzero"`
}

func find(list []condition, kind string) *condition {
	for i := range list {
		if list[i].Type == kind && list[i].Status == "True" {
			return &list[i]
		}
	}
	return nil
}

type job struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Metadata   meta       `json:"metadata"`
	Spec       jobSpec    `json:"spec"`
	Status     *jobStatus `json:"status,omitempty"`
}

type jobSpec struct {
	Parallelism      int            `json:"parallelism"`
	Completions      int            `json:"completions"`
	BackoffLimit     int            `json:"backoffLimit"`
	Deadline         int64          `json:"activeDeadlineSeconds,omitempty"`
	TTL              int64          `json:"ttlSecondsAfterFinished"`
	Suspend          bool           `json:"suspend,omitempty"`
	Replacement      string         `json:"podReplacementPolicy"`
	PodFailurePolicy *failurePolicy `json:"podFailurePolicy,omitempty"`
	Template         podTemplate    `json:"template"`
}

type failurePolicy struct {
	Rules []failureRule `json:"rules"`
}

type failureRule struct {
	Action          string             `json:"action"`
	OnPodConditions []conditionPattern `json:"onPodConditions"`
}

type conditionPattern struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

type jobStatus struct {
	Conditions []condition `json:"conditions,omitempty"`
	Started    time.Time   `json:"startTime,omitzero"`
	Completed  time.Time   `json:"completionTime,omitzero"`
}

type podTemplate struct {
	Metadata meta    `json:"metadata"`
	Spec     podSpec `json:"spec"`
}

type podSpec struct {
	RestartPolicy      string               `json:"restartPolicy"`
	MountToken         *bool                `json:"automountServiceAccountToken"`
	ServiceLinks       *bool                `json:"enableServiceLinks"`
	ServiceAccount     string               `json:"serviceAccountName,omitempty"`
	TerminationSeconds int64                `json:"terminationGracePeriodSeconds"`
	Security           *security            `json:"securityContext,omitempty"`
	PullSecrets        []reference          `json:"imagePullSecrets,omitempty"`
	NodeSelector       map[string]string    `json:"nodeSelector,omitempty"`
	Tolerations        []machine.Toleration `json:"tolerations,omitempty"`
	RuntimeClass       string               `json:"runtimeClassName,omitempty"`
	PriorityClass      string               `json:"priorityClassName,omitempty"`
	InitContainers     []container          `json:"initContainers,omitempty"`
	Containers         []container          `json:"containers"`
	Volumes            []volume             `json:"volumes,omitempty"`
	NodeName           string               `json:"nodeName,omitempty"`
}

type reference struct {
	Name string `json:"name"`
}

type security struct {
	RunAsNonRoot        bool          `json:"runAsNonRoot,omitempty"`
	RunAsUser           *int64        `json:"runAsUser,omitempty"`
	RunAsGroup          *int64        `json:"runAsGroup,omitempty"`
	FSGroup             *int64        `json:"fsGroup,omitempty"`
	Seccomp             *typed        `json:"seccompProfile,omitempty"`
	PrivilegeEscalation *bool         `json:"allowPrivilegeEscalation,omitempty"`
	Capabilities        *capabilities `json:"capabilities,omitempty"`
}

type typed struct {
	Type string `json:"type"`
}

type capabilities struct {
	Drop []string `json:"drop"`
}

type container struct {
	Name            string    `json:"name"`
	Image           string    `json:"image"`
	Command         []string  `json:"command"`
	WorkingDir      string    `json:"workingDir,omitempty"`
	Resources       resources `json:"resources"`
	Security        *security `json:"securityContext,omitempty"`
	Mounts          []mount   `json:"volumeMounts,omitempty"`
	TerminationPath string    `json:"terminationMessagePath"`
}

type resources struct {
	Requests map[string]string `json:"requests,omitempty"`
	Limits   map[string]string `json:"limits,omitempty"`
}

type mount struct {
	Name     string `json:"name"`
	Path     string `json:"mountPath"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

type volume struct {
	Name     string        `json:"name"`
	EmptyDir *emptyDir     `json:"emptyDir,omitempty"`
	Secret   *secretVolume `json:"secret,omitempty"`
	Downward *downward     `json:"downwardAPI,omitempty"`
}

type emptyDir struct {
	Medium string `json:"medium,omitempty"`
	Limit  string `json:"sizeLimit,omitempty"`
}

type secretVolume struct {
	Name string `json:"secretName"`
	Mode int    `json:"defaultMode"`
}

type downward struct {
	Items []downwardItem `json:"items"`
}

type downwardItem struct {
	Path  string   `json:"path"`
	Field fieldRef `json:"fieldRef"`
}

type fieldRef struct {
	Path string `json:"fieldPath"`
}

type pod struct {
	Metadata meta      `json:"metadata"`
	Spec     podSpec   `json:"spec"`
	Status   podStatus `json:"status"`
}

type podStatus struct {
	Phase      string            `json:"phase"`
	Reason     string            `json:"reason"`
	Message    string            `json:"message"`
	Started    time.Time         `json:"startTime"`
	Conditions []condition       `json:"conditions"`
	Init       []containerStatus `json:"initContainerStatuses"`
	Containers []containerStatus `json:"containerStatuses"`
}

type containerStatus struct {
	Name  string `json:"name"`
	State struct {
		Waiting    *waiting    `json:"waiting"`
		Running    *running    `json:"running"`
		Terminated *terminated `json:"terminated"`
	} `json:"state"`
}

type waiting struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

type running struct {
	Started time.Time `json:"startedAt"`
}

type terminated struct {
	Code     int       `json:"exitCode"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message"`
	Started  time.Time `json:"startedAt"`
	Finished time.Time `json:"finishedAt"`
}

type secret struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   meta              `json:"metadata"`
	Immutable  bool              `json:"immutable"`
	Type       string            `json:"type"`
	Data       map[string][]byte `json:"data"`
}

type event struct {
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Last    time.Time `json:"lastTimestamp"`
	Time    time.Time `json:"eventTime"`
}

// deletion asks the API to delete one object, and what it owns.
type deletion struct {
	APIVersion    string        `json:"apiVersion"`
	Kind          string        `json:"kind"`
	Propagation   string        `json:"propagationPolicy,omitempty"`
	Preconditions *precondition `json:"preconditions,omitempty"`
}

type precondition struct {
	UID string `json:"uid"`
}

func deletionOf(uid string) deletion {
	return deletion{APIVersion: "v1", Kind: "DeleteOptions", Propagation: "Background", Preconditions: &precondition{uid}}
}

// text is a value as JSON, for annotations.
func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(data)
}
