// Command karpenter-cloud is the pinned Karpenter over a cloud that a test plays.
//
// The controllers are Karpenter's own and the machines are those of its KWOK provider. Two things differ from
// upstream's sigs.k8s.io/karpenter/kwok: metrics and health listen on loopback, and machines are bought through
// the market of cloud.go, which can be sold out or broken.
package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"

	"github.com/awslabs/operatorpkg/serrors"
	"github.com/go-logr/zapr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/overlay"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeoverlay"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/logging"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

func main() {
	ctx := injection.WithOptionsOrDie(context.Background(), options.Injectables...)
	logger := serrors.NewLogger(zapr.NewLogger(logging.NewLogger(ctx, "controller")))
	log.SetLogger(logger)
	klog.SetLogger(logger)
	if err := run(log.IntoContext(ctx, logger)); err != nil {
		logger.Error(err, "karpenter-cloud cannot start")
		panic(err)
	}
}

// run puts the controllers together as upstream's operator.NewOperator does, without what needs a cluster to live in
// (leader election, webhooks, profiling), and returns when they end.
func run(ctx context.Context) error {
	opts := options.FromContext(ctx)
	config := ctrl.GetConfigOrDie()
	config.UserAgent = "karpenter"
	config.QPS, config.Burst = float32(opts.KubeClientQPS), opts.KubeClientBurst
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Logger:                 logging.IgnoreDebugEvents(log.FromContext(ctx)),
		Metrics:                server.Options{BindAddress: loopback(opts.MetricsPort)},
		HealthProbeBindAddress: loopback(opts.HealthProbePort),
		BaseContext:            func() context.Context { return ctx },
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Field: fields.OneTermEqualSelector("metadata.namespace", corev1.NamespaceNodeLease)},
		}},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(index(ctx, mgr.GetFieldIndexer()), probes(mgr)); err != nil {
		return err
	}
	op := &operator.Operator{
		Manager:             mgr,
		KubernetesInterface: kubernetes.NewForConfigOrDie(config),
		EventRecorder:       events.NewRecorder(mgr.GetEventRecorderFor(operator.AppName)), //nolint:staticcheck
		Clock:               clock.RealClock{},
		InstanceTypeStore:   nodeoverlay.NewInstanceTypeStore(),
	}
	bought, err := newMarket(ctx, mgr.GetClient())
	if err != nil {
		return err
	}
	provider := overlay.Decorate(bought, mgr.GetClient(), op.InstanceTypeStore)
	cluster := state.NewCluster(op.Clock, mgr.GetClient(), provider)
	op.WithControllers(ctx, controllers.NewControllers(
		ctx, mgr, op.Clock, mgr.GetClient(), op.EventRecorder, provider, bought, cluster, op.InstanceTypeStore,
	)...).Start(ctx)
	return nil
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func probes(mgr manager.Manager) error {
	synced := func(request *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(request.Context()) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
	return errors.Join(mgr.AddHealthzCheck("healthz", healthz.Ping), mgr.AddReadyzCheck("readyz", synced))
}

// index adds the fields by which Karpenter's controllers look objects up; upstream's function for it is private.
func index(ctx context.Context, indexer client.FieldIndexer) error {
	var problems []error
	add := func(object client.Object, field string, value func(client.Object) string) {
		problems = append(problems, indexer.IndexField(ctx, object, field, func(found client.Object) []string {
			return []string{value(found)}
		}))
	}
	add(&corev1.Pod{}, "spec.nodeName", func(o client.Object) string { return o.(*corev1.Pod).Spec.NodeName })
	add(&corev1.Node{}, "spec.providerID", func(o client.Object) string { return o.(*corev1.Node).Spec.ProviderID })
	add(&storagev1.VolumeAttachment{}, "spec.nodeName", func(o client.Object) string {
		return o.(*storagev1.VolumeAttachment).Spec.NodeName
	})
	add(&v1.NodeClaim{}, "status.providerID", func(o client.Object) string { return o.(*v1.NodeClaim).Status.ProviderID })
	classes := map[string]func(*v1.NodeClassReference) string{
		"group": func(r *v1.NodeClassReference) string { return r.Group },
		"kind":  func(r *v1.NodeClassReference) string { return r.Kind },
		"name":  func(r *v1.NodeClassReference) string { return r.Name },
	}
	for field, of := range classes {
		add(&v1.NodeClaim{}, "spec.nodeClassRef."+field, func(o client.Object) string {
			return of(o.(*v1.NodeClaim).Spec.NodeClassRef)
		})
		add(&v1.NodePool{}, "spec.template.spec.nodeClassRef."+field, func(o client.Object) string {
			return of(o.(*v1.NodePool).Spec.Template.Spec.NodeClassRef)
		})
	}
	return errors.Join(problems...)
}
