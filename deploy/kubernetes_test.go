package deploy

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// manifests are the objects there are, decoded so that unknown fields are errors.
type manifests struct {
	deployment appsv1.Deployment
	secret     corev1.Secret
	service    corev1.Service
	budget     policyv1.PodDisruptionBudget
	autoscaler autoscalingv2.HorizontalPodAutoscaler
}

func decode(t *testing.T) *manifests {
	t.Helper()
	m := new(manifests)
	into := map[string]any{
		"apps/v1 Deployment": &m.deployment, "v1 Secret": &m.secret, "v1 Service": &m.service,
		"policy/v1 PodDisruptionBudget": &m.budget, "autoscaling/v2 HorizontalPodAutoscaler": &m.autoscaler,
	}
	paths, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text := read(t, path)
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(text, &kind); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		object := into[kind.APIVersion+" "+kind.Kind]
		if object == nil {
			t.Fatalf("%s: %s %s is not checked by this test, or there twice", path, kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		delete(into, kind.APIVersion+" "+kind.Kind)
	}
	for missing := range into {
		t.Errorf("there is no %s", missing)
	}
	return m
}

// environment is what the container is started with.
func (m *manifests) environment() environment {
	env := make(environment)
	for _, v := range m.deployment.Spec.Template.Spec.Containers[0].Env {
		env[v.Name] = v.Value
	}
	return env
}

// Decoding refuses a field that there is not.
func TestKubernetesStrict(t *testing.T) {
	text := strings.Replace(string(read(t, "kubernetes/deployment.yaml")), "readinessProbe:", "readynessProbe:", 1)
	if err := yaml.UnmarshalStrict([]byte(text), new(appsv1.Deployment)); err == nil || !strings.Contains(err.Error(), "readynessProbe") {
		t.Errorf("a misspelt field passes: %v", err)
	}
}

func TestKubernetesPod(t *testing.T) {
	m := decode(t)
	pod := m.deployment.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]

	env := m.environment()
	for _, v := range c.Env {
		if v.Name == "POD_NAME" && (v.ValueFrom == nil || v.ValueFrom.FieldRef == nil || v.ValueFrom.FieldRef.FieldPath != "metadata.name") {
			t.Errorf("POD_NAME is %+v", v)
		}
	}
	if _, there := env["POD_NAME"]; !there {
		t.Error("POD_NAME is missing: the worker would not have the name of its pod")
	}
	if grace := pod.TerminationGracePeriodSeconds; grace == nil {
		t.Error("terminationGracePeriodSeconds is missing")
	} else {
		wantGrace(t, "terminationGracePeriodSeconds", time.Duration(*grace)*time.Second, env.check(t))
	}

	if len(c.Ports) != 1 || c.Ports[0].Name != "http" || env["PROJECTORD_HTTP"] != ":7070" || c.Ports[0].ContainerPort != 7070 {
		t.Errorf("the ports are %+v, and PROJECTORD_HTTP is %q", c.Ports, env["PROJECTORD_HTTP"])
	}
	if hosts := strings.Split(env["PROJECTORD_HTTP_HOSTS"], ","); !slices.Contains(hosts, m.service.Name) {
		t.Errorf("it may be called by %v; the service is %s", hosts, m.service.Name)
	}
	for path, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "http" {
			t.Errorf("the probe of %s is %+v", path, probe)
		}
	}

	user, own := pod.SecurityContext, c.SecurityContext
	if user == nil || user.RunAsNonRoot == nil || !*user.RunAsNonRoot || user.RunAsUser == nil || *user.RunAsUser != uid {
		t.Errorf("it runs as %+v", user)
	}
	if own == nil || own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem || own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation ||
		own.Capabilities == nil || len(own.Capabilities.Drop) != 1 || own.Capabilities.Drop[0] != "ALL" {
		t.Errorf("the container may %+v", own)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("the resources are %+v", c.Resources)
	}
	for key, want := range map[string]string{"scrape": "true", "port": "7070", "path": "/metrics"} {
		if got := m.deployment.Spec.Template.Annotations["prometheus.io/"+key]; got != want {
			t.Errorf("prometheus.io/%s is %q, want %q", key, got, want)
		}
	}
	wantMounted(t, m, env)
}

// wantMounted checks that every file a variable names is one of the secret.
func wantMounted(t *testing.T, m *manifests, env environment) {
	t.Helper()
	pod := m.deployment.Spec.Template.Spec
	mount := pod.Containers[0].VolumeMounts[0]
	volume := pod.Volumes[0]
	if volume.Name != mount.Name || volume.Secret == nil || volume.Secret.SecretName != m.secret.Name || !mount.ReadOnly {
		t.Errorf("mounted is %+v of %+v; the secret is %s", mount, volume, m.secret.Name)
	}
	unused := maps.Clone(m.secret.StringData)
	for name, path := range env {
		if !strings.HasSuffix(name, "_FILE") {
			continue
		}
		dir, key := filepath.Split(path)
		if _, there := m.secret.StringData[key]; !there || filepath.Clean(dir) != mount.MountPath {
			t.Errorf("%s is %s, which no key of the secret is mounted at", name, path)
		}
		delete(unused, key)
	}
	for key, value := range m.secret.StringData {
		if value != "" {
			t.Errorf("the secret has a value for %s", key)
		}
	}
	for key := range unused {
		t.Errorf("nothing uses the key %s of the secret", key)
	}
}

// Everything that selects pods selects those of the deployment.
func TestKubernetesSelectors(t *testing.T) {
	m := decode(t)
	pods := labels.Set(m.deployment.Spec.Template.Labels)
	for what, selector := range map[string]*metav1.LabelSelector{
		"deployment": m.deployment.Spec.Selector, "disruption budget": m.budget.Spec.Selector,
		"spread":  m.deployment.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
		"service": {MatchLabels: m.service.Spec.Selector},
	} {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(pods) {
			t.Errorf("the %s selects %s (%v), the pods have %s", what, s, err, pods)
		}
	}
	if p := m.service.Spec.Ports; len(p) != 1 || p[0].TargetPort.StrVal != "http" || p[0].Port != 7070 {
		t.Errorf("the service has the ports %+v", p)
	}
	if b := m.budget.Spec; (b.MaxUnavailable == nil) == (b.MinAvailable == nil) {
		t.Errorf("the disruption budget says %+v", b)
	}
}

func TestKubernetesAutoscaler(t *testing.T) {
	m := decode(t)
	spec := m.autoscaler.Spec
	if of := spec.ScaleTargetRef; of.Kind != m.deployment.Kind || of.APIVersion != m.deployment.APIVersion || of.Name != m.deployment.Name {
		t.Errorf("it scales %+v", of)
	}
	if m.deployment.Spec.Replicas != nil {
		t.Error("the deployment says how many replicas there are: each apply would undo what the autoscaler decided")
	}
	if spec.MinReplicas == nil || *spec.MinReplicas < 2 || spec.MaxReplicas < *spec.MinReplicas {
		t.Errorf("from %v to %d replicas", spec.MinReplicas, spec.MaxReplicas)
	}
	if len(spec.Metrics) != 1 || spec.Metrics[0].External == nil || spec.Metrics[0].External.Metric.Name != "projectord_lag_events" || spec.Metrics[0].External.Target.AverageValue == nil {
		t.Fatalf("it goes by %+v", spec.Metrics)
	}
	var store string // what the workers say they are of
	for _, v := range m.deployment.Spec.Template.Spec.Containers[0].Env {
		if v.Name == "PROJECTORD_NAMESPACE" {
			store = v.Value
		}
	}
	if of := spec.Metrics[0].External.Metric.Selector; of == nil || of.MatchLabels["store"] != store {
		t.Errorf("it goes by the lag of %+v, the workers are of %s", of, store)
	}
}
