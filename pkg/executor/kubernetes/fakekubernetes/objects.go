package fakekubernetes

import "time"

// The parts of the API's objects that the double knows. Requests with other fields
// are refused, as strict field validation does.

type meta struct {
	Name            string            `json:"name,omitempty"`
	Namespace       string            `json:"namespace,omitempty"`
	UID             string            `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Created         *time.Time        `json:"creationTimestamp,omitempty"`
	Deleted         *time.Time        `json:"deletionTimestamp,omitempty"`
	Owners          []owner           `json:"ownerReferences,omitempty"`
}

type owner struct {
	APIVersion         string `json:"apiVersion"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	UID                string `json:"uid"`
	Controller         bool   `json:"controller,omitempty"`
	BlockOwnerDeletion bool   `json:"blockOwnerDeletion,omitempty"`
}

type condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Changed time.Time `json:"lastTransitionTime"`
}

type job struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   meta      `json:"metadata"`
	Spec       jobSpec   `json:"spec"`
	Status     jobStatus `json:"status"`
}

type jobSpec struct {
	Parallelism      *int           `json:"parallelism,omitempty"`
	Completions      *int           `json:"completions,omitempty"`
	BackoffLimit     *int           `json:"backoffLimit,omitempty"`
	Deadline         *int64         `json:"activeDeadlineSeconds,omitempty"`
	TTL              *int64         `json:"ttlSecondsAfterFinished,omitempty"`
	Suspend          bool           `json:"suspend,omitempty"`
	Replacement      string         `json:"podReplacementPolicy,omitempty"`
	PodFailurePolicy *failurePolicy `json:"podFailurePolicy,omitempty"`
	Template         podTemplate    `json:"template"`
}

type failurePolicy struct {
	Rules []struct {
		Action          string `json:"action"`
		OnPodConditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"onPodConditions"`
	} `json:"rules"`
}

type jobStatus struct {
	Conditions  []condition `json:"conditions,omitempty"`
	Started     *time.Time  `json:"startTime,omitempty"`
	Completed   *time.Time  `json:"completionTime,omitempty"`
	Active      int         `json:"active,omitempty"`
	Succeeded   int         `json:"succeeded,omitempty"`
	Failed      int         `json:"failed,omitempty"`
	Terminating int         `json:"terminating,omitempty"`
}

type podTemplate struct {
	Metadata meta    `json:"metadata"`
	Spec     podSpec `json:"spec"`
}

type podSpec struct {
	RestartPolicy      string            `json:"restartPolicy"`
	MountToken         *bool             `json:"automountServiceAccountToken,omitempty"`
	ServiceLinks       *bool             `json:"enableServiceLinks,omitempty"`
	ServiceAccount     string            `json:"serviceAccountName,omitempty"`
	TerminationSeconds *int64            `json:"terminationGracePeriodSeconds,omitempty"`
	Security           *security         `json:"securityContext,omitempty"`
	PullSecrets        []reference       `json:"imagePullSecrets,omitempty"`
	NodeSelector       map[string]string `json:"nodeSelector,omitempty"`
	Tolerations        []struct {
		Key      string `json:"key,omitempty"`
		Operator string `json:"operator,omitempty"`
		Value    string `json:"value,omitempty"`
		Effect   string `json:"effect,omitempty"`
	} `json:"tolerations,omitempty"`
	RuntimeClass   string      `json:"runtimeClassName,omitempty"`
	PriorityClass  string      `json:"priorityClassName,omitempty"`
	InitContainers []container `json:"initContainers,omitempty"`
	Containers     []container `json:"containers"`
	Volumes        []volume    `json:"volumes,omitempty"`
	NodeName       string      `json:"nodeName,omitempty"`
}

type reference struct {
	Name string `json:"name"`
}

type security struct {
	RunAsNonRoot *bool  `json:"runAsNonRoot,omitempty"`
	RunAsUser    *int64 `json:"runAsUser,omitempty"`
	RunAsGroup   *int64 `json:"runAsGroup,omitempty"`
	FSGroup      *int64 `json:"fsGroup,omitempty"`
	Seccomp      *struct {
		Type string `json:"type"`
	} `json:"seccompProfile,omitempty"`
	PrivilegeEscalation *bool `json:"allowPrivilegeEscalation,omitempty"`
	Capabilities        *struct {
		Drop []string `json:"drop,omitempty"`
	} `json:"capabilities,omitempty"`
}

type container struct {
	Name       string   `json:"name"`
	Image      string   `json:"image"`
	Command    []string `json:"command,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	Resources  struct {
		Requests map[string]string `json:"requests,omitempty"`
		Limits   map[string]string `json:"limits,omitempty"`
	} `json:"resources"`
	Security        *security `json:"securityContext,omitempty"`
	Mounts          []mount   `json:"volumeMounts,omitempty"`
	TerminationPath string    `json:"terminationMessagePath,omitempty"`
}

type mount struct {
	Name     string `json:"name"`
	Path     string `json:"mountPath"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

type volume struct {
	Name     string `json:"name"`
	EmptyDir *struct {
		Medium string `json:"medium,omitempty"`
		Limit  string `json:"sizeLimit,omitempty"`
	} `json:"emptyDir,omitempty"`
	Secret *struct {
		Name string `json:"secretName"`
		Mode *int   `json:"defaultMode,omitempty"`
	} `json:"secret,omitempty"`
	Downward *struct {
		Items []struct {
			Path  string `json:"path"`
			Field struct {
				Path string `json:"fieldPath"`
			} `json:"fieldRef"`
		} `json:"items"`
	} `json:"downwardAPI,omitempty"`
}

type pod struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   meta      `json:"metadata"`
	Spec       podSpec   `json:"spec"`
	Status     podStatus `json:"status"`
}

type podStatus struct {
	Phase      string            `json:"phase"`
	Reason     string            `json:"reason,omitempty"`
	Message    string            `json:"message,omitempty"`
	Started    *time.Time        `json:"startTime,omitempty"`
	Conditions []condition       `json:"conditions,omitempty"`
	Init       []containerStatus `json:"initContainerStatuses,omitempty"`
	Containers []containerStatus `json:"containerStatuses,omitempty"`
}

type containerStatus struct {
	Name    string         `json:"name"`
	Image   string         `json:"image"`
	ImageID string         `json:"imageID"`
	State   containerState `json:"state"`
}

type containerState struct {
	Waiting    *waiting    `json:"waiting,omitempty"`
	Running    *running    `json:"running,omitempty"`
	Terminated *terminated `json:"terminated,omitempty"`
}

type waiting struct {
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

type running struct {
	Started time.Time `json:"startedAt"`
}

type terminated struct {
	Code     int       `json:"exitCode"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message,omitempty"`
	Started  time.Time `json:"startedAt"`
	Finished time.Time `json:"finishedAt"`
}

type secret struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   meta              `json:"metadata"`
	Immutable  bool              `json:"immutable,omitempty"`
	Type       string            `json:"type,omitempty"`
	Data       map[string][]byte `json:"data,omitempty"`
}

type event struct {
	Metadata meta       `json:"metadata"`
	Involved involved   `json:"involvedObject"`
	Reason   string     `json:"reason"`
	Message  string     `json:"message"`
	Type     string     `json:"type"`
	Last     *time.Time `json:"lastTimestamp"`
	Time     *time.Time `json:"eventTime"`
}

type involved struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	UID  string `json:"uid"`
}

type deleteOptions struct {
	APIVersion    string `json:"apiVersion"`
	Kind          string `json:"kind"`
	Propagation   string `json:"propagationPolicy"`
	Preconditions *struct {
		UID string `json:"uid"`
	} `json:"preconditions"`
}

func ptr[T any](value T) *T { return &value }
