"""Version v1alpha1 of the resources of the group `forebay.io`."""

from forebay.api.base import Resource
from forebay.api.v1alpha1.fleetpolicy import FleetPolicy
from forebay.api.v1alpha1.gpunodepool import GPUNodePool
from forebay.api.v1alpha1.inferencepool import InferencePool
from forebay.api.v1alpha1.scalingpolicy import ScalingPolicy
from forebay.api.v1alpha1.servingprofile import ServingProfile

KINDS: tuple[type[Resource], ...] = (InferencePool, GPUNodePool, ServingProfile, ScalingPolicy, FleetPolicy)
"""All resources of this version."""

__all__ = ["KINDS", "FleetPolicy", "GPUNodePool", "InferencePool", "ScalingPolicy", "ServingProfile"]
