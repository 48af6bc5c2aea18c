"""Which provider serves which type: one row each."""

from collections.abc import Mapping

from forebay.actuation.kube import KubeApi
from forebay.actuation.providers.capacitybuffer import CapacityBufferProvider
from forebay.actuation.providers.clusterapi import ClusterAPIProvider
from forebay.actuation.providers.karpenterstatic import KarpenterStaticProvider
from forebay.actuation.providers.objectfield import ObjectFieldProvider
from forebay.actuation.providers.placeholder import PlaceholderProvider
from forebay.actuation.providers.port import CapacityProvider
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.unasked import FixedProvider, PodDrivenProvider
from forebay.api.v1alpha1.nodeprovider import ProviderType


def providers(api: KubeApi, provisioners: Provisioners) -> Mapping[ProviderType, CapacityProvider]:
    """Return the provider of each type.

    Args:
        api: a fenced client.
        provisioners: what provisioners of the whole cluster show.
    """
    return {
        ProviderType.POD_DRIVEN: PodDrivenProvider(provisioners),
        ProviderType.FIXED: FixedProvider(),
        ProviderType.CAPACITY_BUFFER: CapacityBufferProvider(api, provisioners),
        ProviderType.PLACEHOLDER: PlaceholderProvider(api, provisioners),
        ProviderType.KARPENTER_STATIC: KarpenterStaticProvider(api, provisioners),
        ProviderType.CLUSTER_API: ClusterAPIProvider(api),
        ProviderType.OBJECT_FIELD: ObjectFieldProvider(api),
    }
