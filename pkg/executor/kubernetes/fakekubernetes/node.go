package fakekubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

// Node plays scheduler and kubelet for a real API server that has none: it binds the
// pods of one namespace to itself and runs them as processes of this machine.
type Node struct {
	server    *Server // for its folder, its lock and its containers
	base      *url.URL
	client    *http.Client
	namespace string
	pods      map[string]*podState
	failed    []error
}

// NewNode returns a node that works in dir. The client carries the credentials, which
// must be able to do anything in the namespace.
func NewNode(server string, client *http.Client, namespace, dir string) (*Node, error) {
	base, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return &Node{
		server: New(Options{Dir: dir, Namespace: namespace}), base: base, client: client, namespace: namespace,
		pods: map[string]*podState{},
	}, nil
}

// nodePoll is how often a node looks for pods.
const nodePoll = 50 * time.Millisecond

// Run runs pods until ctx ends, then ends them.
func (n *Node) Run(ctx context.Context) error {
	tick := time.NewTicker(nodePoll)
	defer tick.Stop()
	for {
		if err := n.look(ctx); err != nil && ctx.Err() == nil {
			n.fail(err)
		}
		select {
		case <-ctx.Done():
			n.server.mu.Lock()
			for _, p := range n.pods {
				p.vanish()
			}
			n.server.closed = true
			n.server.touch()
			n.server.mu.Unlock()
			n.server.running.Wait()
			return errors.Join(n.failed...)
		case <-tick.C:
		}
	}
}

func (n *Node) fail(err error) {
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	n.failed = append(n.failed, err)
}

// look takes new pods up, and passes on what is asked of known ones.
func (n *Node) look(ctx context.Context) error {
	var list struct {
		Items []pod `json:"items"`
	}
	if err := n.call(ctx, http.MethodGet, "pods", "", nil, &list); err != nil {
		return err
	}
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	for _, one := range list.Items {
		known := n.pods[one.Metadata.UID]
		if known == nil {
			known = &podState{server: n.server, job: &jobState{server: n.server}, pod: one, deleted: make(chan struct{})}
			known.pod.Metadata.Deleted = nil
			n.pods[one.Metadata.UID] = known
			n.server.running.Go(func() { n.live(context.WithoutCancel(ctx), known) })
		}
		known.pod.Metadata.Annotations = one.Metadata.Annotations
		known.project()
		if one.Metadata.Deleted != nil {
			known.leave()
		}
	}
	return nil
}

// live is a pod's life on the node.
func (n *Node) live(ctx context.Context, p *podState) {
	s := n.server
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = os.RemoveAll(p.dir) // what is left is in the test's own folder
	}()
	name := p.pod.Metadata.Name
	binding := map[string]any{
		"apiVersion": "v1", "kind": "Binding", "metadata": map[string]string{"name": name},
		"target": map[string]string{"apiVersion": "v1", "kind": "Node", "name": "played"},
	}
	err := n.call(ctx, http.MethodPost, "pods/"+name+"/binding", "application/json", binding, nil)
	if err == nil {
		err = n.work(ctx, p)
	}
	if err != nil {
		n.fail(fmt.Errorf("pod %s: %w", name, err))
	}
	// A pod that is deleted goes when its node says that it has ended.
	s.mu.Lock()
	for p.pod.Metadata.Deleted == nil && !s.closed {
		s.wait(p.deleted)
	}
	s.mu.Unlock()
	err = n.call(ctx, http.MethodDelete, "pods/"+name+"?gracePeriodSeconds=0", "", nil, nil)
	if err != nil && !strings.Contains(err.Error(), "404") {
		n.fail(err)
	}
}

// work runs the pod's containers and tells the API server of each step.
func (n *Node) work(ctx context.Context, p *podState) error {
	s := n.server
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &p.pod.Status
	st.Phase, st.Started = "Pending", ptr(now())
	st.Init, st.Containers = nil, nil
	for _, c := range p.pod.Spec.InitContainers {
		st.Init = append(st.Init, containerStatus{Name: c.Name, Image: c.Image, State: containerState{Waiting: &waiting{Reason: "PodInitializing"}}})
	}
	for _, c := range p.pod.Spec.Containers {
		st.Containers = append(st.Containers, containerStatus{Name: c.Name, Image: c.Image, State: containerState{Waiting: &waiting{Reason: "PodInitializing"}}})
	}
	if err := n.mount(ctx, p); err != nil {
		return err
	}
	for i := range p.pod.Spec.InitContainers {
		if p.dying() || p.run(&p.pod.Spec.InitContainers[i], &st.Init[i]) != 0 {
			st.Phase = "Failed"
			return n.tell(ctx, p)
		}
	}
	if p.dying() {
		st.Phase = "Failed"
		return n.tell(ctx, p)
	}
	// The server hears of the running container while it runs.
	told := make(chan error, 1)
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for st.Containers[0].State.Waiting != nil {
			s.wait(nil)
		}
		told <- n.tell(ctx, p)
	}()
	code := p.run(&p.pod.Spec.Containers[0], &st.Containers[0])
	s.touch()
	s.mu.Unlock()
	err := <-told
	s.mu.Lock()
	st.Phase = "Succeeded"
	if code != 0 {
		st.Phase = "Failed"
	}
	return errors.Join(err, n.tell(ctx, p))
}

// mount makes the pod's volumes. The lock is held, and given back while it waits.
func (n *Node) mount(ctx context.Context, p *podState) error {
	for _, v := range p.pod.Spec.Volumes {
		if v.Secret == nil {
			continue
		}
		for n.server.secrets[v.Secret.Name] == nil && !p.dying() {
			n.server.mu.Unlock()
			var one secret
			err := n.call(ctx, http.MethodGet, "secrets/"+v.Secret.Name, "", nil, &one)
			select {
			case <-p.deleted:
			case <-time.After(nodePoll):
			}
			n.server.mu.Lock()
			if err == nil {
				n.server.secrets[v.Secret.Name] = &one
			}
		}
	}
	if !p.dying() && !p.volumes() && !p.dying() {
		return errors.New("volumes cannot be made")
	}
	return nil
}

// tell sends the pod's status. The lock is held, and given back meanwhile.
func (n *Node) tell(ctx context.Context, p *podState) error {
	data, err := json.Marshal(map[string]any{"status": p.pod.Status})
	if err != nil {
		return err
	}
	n.server.mu.Unlock()
	defer n.server.mu.Lock()
	return n.call(ctx, http.MethodPatch, "pods/"+p.pod.Metadata.Name+"/status", "application/merge-patch+json", json.RawMessage(data), nil)
}

func (n *Node) call(ctx context.Context, method, path, kind string, sent, out any) error {
	var body io.Reader
	if sent != nil {
		data, err := json.Marshal(sent)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	address := strings.TrimRight(n.base.String(), "/") + "/api/v1/namespaces/" + n.namespace + "/" + path
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer, err := n.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, answer.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// ServeHTTP answers for the API server, which asks nodes for logs: it gives the logs of
// its pods, and passes everything else on.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, found := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+n.namespace+"/pods/")
	name, isLog := strings.CutSuffix(path, "/log")
	if !found || !isLog {
		proxy := httputil.ReverseProxy{
			Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(n.base) },
			Transport: n.client.Transport,
		}
		proxy.ServeHTTP(w, r)
		return
	}
	n.server.mu.Lock()
	clear(n.server.pods)
	for _, p := range n.pods {
		n.server.pods[p.pod.Metadata.Name] = p
	}
	known := n.server.pods[name] != nil
	n.server.mu.Unlock()
	if !known {
		writeError(w, fail(http.StatusBadRequest, "BadRequest", "pod %s does not have a host assigned", name))
		return
	}
	n.server.serveLog(w, call{name: name, request: r})
}
