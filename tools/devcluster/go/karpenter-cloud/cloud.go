package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sigs.k8s.io/karpenter/kwok/apis"
	"sigs.k8s.io/karpenter/kwok/apis/v1alpha1"
	kwok "sigs.k8s.io/karpenter/kwok/cloudprovider"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
)

// How a test plays the cloud: annotations of the KWOKNodeClass, so that a PATCH is all it takes.
const (
	prefix = "devcluster.forebay.io/"
	// Names of instance types that nobody can buy now, with commas between them; "*" means all.
	soldOut = prefix + "sold-out"
	// For so many seconds after a failed launch Karpenter is told that the type is unavailable, as the cache of a
	// real provider does; 30 without it.
	soldOutSeconds = prefix + "sold-out-seconds"
	// Every launch fails with this text, which is no stockout (a quota, a wrong image).
	broken = prefix + "broken"
	// "true": machines come without GPUs in their status; the KWOK stage node-gpus brings them.
	lateGPUs = prefix + "late-gpus"

	defaultSoldOutSeconds = 30
	gpu                   = corev1.ResourceName("nvidia.com/gpu")
)

// market is KWOK's provider with a stock that can run out.
type market struct {
	*kwok.CloudProvider
	reader client.Reader

	mutex       sync.Mutex
	unavailable map[string]time.Time // by instance type, until when
}

func newMarket(ctx context.Context, kube client.Client) (*market, error) {
	types, err := kwok.ConstructInstanceTypes(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the instance types (INSTANCE_TYPES_FILE_PATH): %w", err)
	}
	return &market{
		CloudProvider: kwok.NewCloudProvider(ctx, machines{kube}, types),
		reader:        kube,
		unavailable:   map[string]time.Time{},
	}, nil
}

// Create buys a machine of the types that are left, and fails as a real provider does where there is none.
func (m *market) Create(ctx context.Context, claim *v1.NodeClaim) (*v1.NodeClaim, error) {
	played := annotationsOf(ctx, m.reader, claim.Spec.NodeClassRef.Name)
	if text := played[broken]; text != "" {
		return nil, cloudprovider.NewCreateError(errors.New(text), "LaunchFailed", text)
	}
	gone := strings.Split(played[soldOut], ",")
	claim = claim.DeepCopy()
	for i := range claim.Spec.Requirements {
		requirement := &claim.Spec.Requirements[i]
		if requirement.Key != corev1.LabelInstanceTypeStable {
			continue
		}
		asked := requirement.Values
		requirement.Values = slices.DeleteFunc(slices.Clone(asked), func(name string) bool {
			return slices.Contains(gone, name) || slices.Contains(gone, "*")
		})
		for _, name := range asked {
			if !slices.Contains(requirement.Values, name) {
				m.close(name, played[soldOutSeconds])
			}
		}
		if len(requirement.Values) == 0 {
			return nil, cloudprovider.NewInsufficientCapacityError(
				fmt.Errorf("no capacity for %s in any zone", strings.Join(asked, ", ")))
		}
	}
	return m.CloudProvider.Create(ctx, claim)
}

func (m *market) close(name, seconds string) {
	wait, err := strconv.Atoi(seconds)
	if err != nil {
		wait = defaultSoldOutSeconds
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.unavailable[name] = time.Now().Add(time.Duration(wait) * time.Second)
}

// GetInstanceTypes says of types that could not be had a moment ago that they are unavailable.
func (m *market) GetInstanceTypes(ctx context.Context, pool *v1.NodePool) ([]*cloudprovider.InstanceType, error) {
	types, err := m.CloudProvider.GetInstanceTypes(ctx, pool)
	if err != nil {
		return nil, err
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	told := slices.Clone(types)
	for i, known := range told {
		if time.Now().Before(m.unavailable[known.Name]) {
			told[i] = withoutOffers(known)
		}
	}
	return told, nil
}

// withoutOffers returns a new instance type: the provider's own is shared, and remembers what it computed.
func withoutOffers(known *cloudprovider.InstanceType) *cloudprovider.InstanceType {
	closed := &cloudprovider.InstanceType{
		Name: known.Name, Requirements: known.Requirements, Capacity: known.Capacity, Overhead: known.Overhead,
	}
	for _, offer := range known.Offerings {
		closed.Offerings = append(closed.Offerings, &cloudprovider.Offering{
			Requirements: offer.Requirements, Price: offer.Price, ReservationCapacity: offer.ReservationCapacity,
		})
	}
	return closed
}

// machines is the client through which KWOK's provider registers nodes.
type machines struct{ client.Client }

// Create gives a node the capacity of its type (KWOK's provider writes what the pods asked for) and, where the class
// says so, takes its GPUs away until the stage node-gpus brings them.
func (m machines) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	node, ok := object.(*corev1.Node)
	if !ok {
		return m.Client.Create(ctx, object, options...)
	}
	if node.Status.Capacity == nil {
		node.Status.Capacity = corev1.ResourceList{}
	}
	for name, quantity := range node.Status.Allocatable {
		node.Status.Capacity[name] = quantity
	}
	class := node.Labels[v1.NodeClassLabelKey(schema.GroupKind{Group: apis.Group, Kind: "KWOKNodeClass"})]
	gpus := node.Status.Allocatable[gpu]
	if annotationsOf(ctx, m.Client, class)[lateGPUs] == "true" && !gpus.IsZero() {
		if node.Annotations == nil {
			node.Annotations = map[string]string{}
		}
		node.Annotations[prefix+"gpus"] = gpus.String()
		node.Annotations[prefix+"discovered-labels"] = `{"nvidia.com/gpu.present":"true"}`
		delete(node.Status.Allocatable, gpu)
		delete(node.Status.Capacity, gpu)
	}
	return m.Client.Create(ctx, object, options...)
}

// annotationsOf returns what a test wrote on a node class; nothing where it cannot be read.
func annotationsOf(ctx context.Context, reader client.Reader, class string) map[string]string {
	found := &v1alpha1.KWOKNodeClass{}
	if err := reader.Get(ctx, client.ObjectKey{Name: class}, found); err != nil {
		return nil
	}
	return found.Annotations
}
