"""How node pools get their nodes: one file per provider, and what provisioners say of themselves.

A provider is level-based and keeps nothing: what was ordered stands in the objects that it writes, and what came
of it in the cluster and in GPUNodePool.status. So an operator that is killed between asking and arriving finds
everything again.
"""
