package lightning

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/wrapper"
)

//go:embed bootstrap.sh
var bootstrap string

// The variables that say whose job it is. The job's script does not see them.
const (
	jobVariable      = "LITCI_JOB"
	hashVariable     = "LITCI_HASH"
	instanceVariable = "LITCI_INSTANCE"
	sourceVariable   = "LITCI_SOURCE_URL"
)

const (
	// maxValue keeps a variable below the kernel's limit for one (128 KiB).
	maxValue = 96 << 10
	// maxPayload keeps all of them below the kernel's usual limit for arguments and
	// environment together (2 MiB).
	maxPayload = 1 << 20
	// stopSlack is what the service is asked to grant beyond the grace: the end must
	// still be told.
	stopSlack = 15 * time.Second
)

// request is what the service is asked to run.
func (e *Executor) request(ctx context.Context, p place, spec executor.Spec) (jobSpec, error) {
	source := ""
	if spec.Source != nil {
		if e.config.SourceURL == nil {
			return jobSpec{}, &executor.StartError{Message: "jobs on Lightning AI fetch their source by a link, and litci has no public address to make one: its operator must set it"}
		}
		var err error
		if source, err = e.config.SourceURL(ctx, spec); err != nil {
			return jobSpec{}, fmt.Errorf("link to the source of %s: %w", spec.ID, err)
		}
		if source == "" || strings.ContainsAny(source, "\"\\ \n\r\t") {
			return jobSpec{}, fmt.Errorf("link to the source of %s is malformed", spec.ID)
		}
	}
	instance := e.instance(ctx, p, spec.Machine)
	env := []variable{{jobVariable, spec.ID}, {hashVariable, spec.Hash}, {instanceVariable, e.config.Instance}}
	if source != "" {
		env = append(env, variable{sourceVariable, source})
	}
	total := 0
	for name, content := range map[string][]byte{
		"WRAPPER": []byte(wrapper.Program()), "SCRIPT": spec.Script, "TASK": e.task(spec, hasGPU(instance)),
	} {
		parts, err := pack(name, content)
		if err != nil {
			return jobSpec{}, err
		}
		for _, part := range parts {
			total += len(part.Value)
		}
		env = append(env, parts...)
	}
	if total > maxPayload {
		return jobSpec{}, &executor.StartError{Message: fmt.Sprintf("script and environment are larger than %d KiB, compressed; on Lightning AI, keep what is large in files of the repository", maxPayload>>10)}
	}
	return jobSpec{
		InstanceName: instance, ClusterID: e.config.Cluster, Image: spec.Image, ImageSecretRef: e.config.ImageSecret,
		Entrypoint: "sh -c",
		Command:    strings.NewReplacer("@ID@", spec.ID, "@NONCE@", wrapper.Nonce(spec.ID)).Replace(bootstrap),
		Env:        env, Spot: spec.Interruptible, MaxRunAttempts: 1,
		ShutdownTimeout: integer((spec.Grace + stopSlack + time.Second - 1) / time.Second),
	}, nil
}

// pack compresses a part of the job into variables.
func pack(name string, content []byte) ([]variable, error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	_, err := zipped.Write(content)
	if err := errors.Join(err, zipped.Close()); err != nil {
		return nil, fmt.Errorf("%s of the job: %w", strings.ToLower(name), err)
	}
	text := base64.StdEncoding.EncodeToString(b.Bytes())
	var list []variable
	for i := 0; text != ""; i++ {
		n := min(len(text), maxValue)
		list = append(list, variable{"LITCI_" + name + "_" + strconv.Itoa(i), text[:n]})
		text = text[n:]
	}
	return list, nil
}

// task is what the wrapper reads.
func (e *Executor) task(spec executor.Spec, gpu bool) []byte {
	return wrapper.Task{
		ID: spec.ID, Runner: Kind, Timeout: spec.Timeout, Grace: spec.Grace,
		Head: e.config.LogHead, Tail: e.config.LogTail, GPU: gpu, Env: spec.Env,
	}.Bytes()
}

// checkSpec refuses what no process could be started with.
func checkSpec(spec executor.Spec) error {
	if !validID(spec.ID) {
		return fmt.Errorf("job id %q is malformed", spec.ID)
	}
	if spec.Image == "" {
		return &executor.StartError{Message: "Lightning AI runs jobs in an image, and the workflow names none"}
	}
	return executor.CheckEnv(spec.Env)
}

// maxID leaves room for the suffix of removed jobs within what the service takes.
const maxID = 63

// validID says whether the service keeps the name as it is: it rewrites others.
func validID(id string) bool {
	return id != "" && len(id) <= maxID && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		id[0] != '-' && id[len(id)-1] != '-' && !strings.Contains(id, "--")
}
