"""The objects of the EKS test server and what each operation does to them. `eks_server` speaks the protocol."""

from __future__ import annotations

import base64
import time
import uuid
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

Json = dict[str, Any]


class EksError(Exception):
    """An answer with an error: the exception's name in the API, its status, a sentence."""

    def __init__(self, name: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.name, self.message, self.status = name, message, status


class Eks:
    """The objects, and one method per operation: the request's members in, the answer's members out."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.clusters: dict[str, Json] = {}
        self.nodegroups: dict[tuple[str, str], Json] = {}
        self.addons: dict[tuple[str, str], Json] = {}
        self.entries: dict[tuple[str, str], Json] = {}
        self.policies: dict[tuple[str, str], dict[str, Json]] = {}
        self.associations: dict[tuple[str, str], Json] = {}
        self.updates: dict[str, Json] = {}
        self.tagged: dict[str, Json] = {}

    # Clusters

    def create_cluster(self, p: Json) -> Json:
        if p["name"] in self.clusters:
            raise EksError("ResourceInUseException", f"Cluster already exists with name: {p['name']}", 409)
        self._role(p["roleArn"])
        issuer = f"https://oidc.eks.{self.region}.amazonaws.com/id/{uuid.uuid4().hex.upper()}"
        cluster = {
            **_kept(p, "name", "version", "roleArn", "encryptionConfig", "accessConfig"),
            "arn": self._arn(f"cluster/{p['name']}"),
            "createdAt": time.time(),
            "endpoint": f"https://{uuid.uuid4().hex}.{self.region}.eks.amazonaws.com",
            "resourcesVpcConfig": self._vpc(p["resourcesVpcConfig"]),
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4"},
            "logging": p.get("logging", {"clusterLogging": []}),
            "identity": {"oidc": {"issuer": issuer}},
            "status": "ACTIVE",
            "certificateAuthority": {"data": base64.b64encode(p["name"].encode()).decode()},
            "platformVersion": "eks.1",
            "tags": p.get("tags", {}),
            "upgradePolicy": p.get("upgradePolicy", {"supportType": "EXTENDED"}),
        }
        self.clusters[p["name"]] = self.tagged[str(cluster["arn"])] = cluster
        return {"cluster": cluster}

    def describe_cluster(self, p: Json) -> Json:
        return {"cluster": self._cluster(p["name"])}

    def list_clusters(self, _: Json) -> Json:
        return {"clusters": list(self.clusters)}

    def delete_cluster(self, p: Json) -> Json:
        cluster = self._cluster(p["name"])
        if any(owner == p["name"] for owner, _ in self.nodegroups):
            raise EksError("ResourceInUseException", "Cluster has nodegroups attached", 409)
        del self.clusters[p["name"]]
        return {"cluster": {**cluster, "status": "DELETING"}}

    def update_cluster_config(self, p: Json) -> Json:
        cluster = self._cluster(p["name"])
        for key in ("resourcesVpcConfig", "accessConfig"):
            cluster[key] = {**cluster[key], **p.get(key, {})}
        cluster.update(_kept(p, "logging", "upgradePolicy"))
        return self._update("ConfigUpdate")

    def update_cluster_version(self, p: Json) -> Json:
        self._cluster(p["name"])["version"] = p["version"]
        return self._update("VersionUpdate")

    def describe_update(self, p: Json) -> Json:
        return {"update": _found(self.updates, p["updateId"], "update")}

    # Node groups

    def create_nodegroup(self, p: Json) -> Json:
        key = (p["clusterName"], p["nodegroupName"])
        cluster = self._cluster(p["clusterName"])
        if key in self.nodegroups:
            raise EksError("ResourceInUseException", f"NodeGroup already exists with name {key[1]}", 409)
        self._role(p["nodeRole"])
        self._subnets(p["subnets"])
        _check_scaling(p["scalingConfig"])
        identifier = str(uuid.uuid4())
        group = {
            **_kept(p, "clusterName", "nodegroupName", "subnets", "nodeRole", "scalingConfig", "instanceTypes"),
            **_kept(p, "amiType", "labels", "taints", "updateConfig"),
            "nodegroupArn": self._arn(f"nodegroup/{key[0]}/{key[1]}/{identifier}"),
            "version": p.get("version", cluster["version"]),
            "releaseVersion": f"{p.get('version', cluster['version'])}.0-20260101",
            "createdAt": time.time(),
            "modifiedAt": time.time(),
            "status": "ACTIVE",
            "capacityType": p.get("capacityType", "ON_DEMAND"),
            "resources": {"autoScalingGroups": [{"name": f"eks-{key[1]}-{identifier}"}]},
            "health": {"issues": []},
            "launchTemplate": self._launch_template(p["launchTemplate"]),
            "tags": p.get("tags", {}),
        }
        self.nodegroups[key] = self.tagged[str(group["nodegroupArn"])] = group
        return {"nodegroup": group}

    def describe_nodegroup(self, p: Json) -> Json:
        return {"nodegroup": self._nodegroup(p)}

    def list_nodegroups(self, p: Json) -> Json:
        return {"nodegroups": [name for owner, name in self.nodegroups if owner == p["clusterName"]]}

    def delete_nodegroup(self, p: Json) -> Json:
        group = self._nodegroup(p)
        del self.nodegroups[p["clusterName"], p["nodegroupName"]]
        return {"nodegroup": {**group, "status": "DELETING"}}

    def update_nodegroup_config(self, p: Json) -> Json:
        group = self._nodegroup(p)
        scaling = {**group["scalingConfig"], **p.get("scalingConfig", {})}
        _check_scaling(scaling)
        group["scalingConfig"] = scaling
        group["updateConfig"] = p.get("updateConfig", group.get("updateConfig", {"maxUnavailable": 1}))
        labels = p.get("labels", {})
        kept = {k: v for k, v in group.get("labels", {}).items() if k not in labels.get("removeLabels", [])}
        group["labels"] = {**kept, **labels.get("addOrUpdateLabels", {})}
        taints = p.get("taints", {})
        moved = {t["key"] for t in taints.get("addOrUpdateTaints", []) + taints.get("removeTaints", [])}
        rest = [t for t in group.get("taints", []) if t["key"] not in moved]
        group["taints"] = rest + taints.get("addOrUpdateTaints", [])
        return self._update("ConfigUpdate")

    def update_nodegroup_version(self, p: Json) -> Json:
        group = self._nodegroup(p)
        group.update(_kept(p, "version", "releaseVersion"))
        if "launchTemplate" in p:
            group["launchTemplate"] = self._launch_template(p["launchTemplate"])
        return self._update("VersionUpdate")

    # Add-ons

    def create_addon(self, p: Json) -> Json:
        self._cluster(p["clusterName"])
        key = (p["clusterName"], p["addonName"])
        if key in self.addons:
            raise EksError("ResourceInUseException", "Addon already exists.", 409)
        addon = {
            **_kept(p, "clusterName", "addonName", "configurationValues"),
            "addonVersion": p.get("addonVersion", "v1.0.0-eksbuild.1"),
            "addonArn": self._arn(f"addon/{key[0]}/{key[1]}/{uuid.uuid4()}"),
            "status": "ACTIVE",
            "health": {"issues": []},
            "createdAt": time.time(),
            "modifiedAt": time.time(),
            "tags": p.get("tags", {}),
        }
        self.addons[key] = self.tagged[str(addon["addonArn"])] = addon
        return {"addon": addon}

    def describe_addon(self, p: Json) -> Json:
        return {"addon": _found(self.addons, (p["clusterName"], p["addonName"]), "addon")}

    def update_addon(self, p: Json) -> Json:
        self.describe_addon(p)["addon"].update(_kept(p, "addonVersion", "configurationValues"))
        return self._update("AddonUpdate")

    def delete_addon(self, p: Json) -> Json:
        addon = self.describe_addon(p)["addon"]
        del self.addons[p["clusterName"], p["addonName"]]
        return {"addon": {**addon, "status": "DELETING"}}

    # Access entries

    def create_access_entry(self, p: Json) -> Json:
        cluster = self._cluster(p["clusterName"])
        if cluster.get("accessConfig", {}).get("authenticationMode") not in ("API", "API_AND_CONFIG_MAP"):
            raise EksError("InvalidRequestException", "The cluster's authentication mode must be API")
        entry = {
            **_kept(p, "clusterName", "principalArn"),
            "kubernetesGroups": p.get("kubernetesGroups", []),
            "accessEntryArn": self._arn(f"access-entry/{p['clusterName']}/{uuid.uuid4()}"),
            "createdAt": time.time(),
            "modifiedAt": time.time(),
            "tags": p.get("tags", {}),
            "username": p.get("username", p["principalArn"]),
            "type": p.get("type", "STANDARD"),
        }
        key = (p["clusterName"], p["principalArn"])
        self.entries[key] = self.tagged[str(entry["accessEntryArn"])] = entry
        return {"accessEntry": entry}

    def describe_access_entry(self, p: Json) -> Json:
        return {"accessEntry": _found(self.entries, (p["clusterName"], p["principalArn"]), "access entry")}

    def delete_access_entry(self, p: Json) -> Json:
        self.describe_access_entry(p)
        del self.entries[p["clusterName"], p["principalArn"]]
        self.policies.pop((p["clusterName"], p["principalArn"]), None)
        return {}

    def associate_access_policy(self, p: Json) -> Json:
        self.describe_access_entry(p)
        association = {
            **_kept(p, "policyArn", "accessScope"),
            "associatedAt": time.time(),
            "modifiedAt": time.time(),
        }
        self.policies.setdefault((p["clusterName"], p["principalArn"]), {})[p["policyArn"]] = association
        return {**_kept(p, "clusterName", "principalArn"), "associatedAccessPolicy": association}

    def list_associated_access_policies(self, p: Json) -> Json:
        self.describe_access_entry(p)
        held = self.policies.get((p["clusterName"], p["principalArn"]), {})
        return {**_kept(p, "clusterName", "principalArn"), "associatedAccessPolicies": list(held.values())}

    def disassociate_access_policy(self, p: Json) -> Json:
        self.policies.get((p["clusterName"], p["principalArn"]), {}).pop(p["policyArn"], None)
        return {}

    # Pod identity

    def create_pod_identity_association(self, p: Json) -> Json:
        self._cluster(p["clusterName"])
        self._role(p["roleArn"])
        taken = [(a["clusterName"], a["namespace"], a["serviceAccount"]) for a in self.associations.values()]
        if (p["clusterName"], p["namespace"], p["serviceAccount"]) in taken:
            raise EksError("ResourceInUseException", "Association already exists", 409)
        identifier = f"a-{uuid.uuid4().hex[:17]}"
        association = {
            **_kept(p, "clusterName", "namespace", "serviceAccount", "roleArn"),
            "associationArn": self._arn(f"podidentityassociation/{p['clusterName']}/{identifier}"),
            "associationId": identifier,
            "tags": p.get("tags", {}),
            "createdAt": time.time(),
            "modifiedAt": time.time(),
            "disableSessionTags": False,
        }
        self.associations[p["clusterName"], identifier] = association
        self.tagged[str(association["associationArn"])] = association
        return {"association": association}

    def describe_pod_identity_association(self, p: Json) -> Json:
        key = (p["clusterName"], p["associationId"])
        return {"association": _found(self.associations, key, "association")}

    def delete_pod_identity_association(self, p: Json) -> Json:
        answer = self.describe_pod_identity_association(p)
        del self.associations[p["clusterName"], p["associationId"]]
        return answer

    # Tags

    def tag_resource(self, p: Json) -> Json:
        _found(self.tagged, p["resourceArn"], "resource")["tags"].update(p["tags"])
        return {}

    def untag_resource(self, p: Json) -> Json:
        tags = _found(self.tagged, p["resourceArn"], "resource")["tags"]
        for key in p["tagKeys"]:
            tags.pop(key, None)
        return {}

    def list_tags_for_resource(self, p: Json) -> Json:
        return {"tags": _found(self.tagged, p["resourceArn"], "resource")["tags"]}

    # What the operations share

    def _cluster(self, name: str) -> Json:
        cluster: Json = _found(self.clusters, name, "cluster")
        return cluster

    def _nodegroup(self, p: Json) -> Json:
        group: Json = _found(self.nodegroups, (p["clusterName"], p["nodegroupName"]), "node group")
        return group

    def _update(self, kind: str) -> Json:
        update = {
            "id": str(uuid.uuid4()),
            "status": "Successful",
            "type": kind,
            "params": [],
            "createdAt": time.time(),
            "errors": [],
        }
        self.updates[str(update["id"])] = update
        return {"update": update}

    def _arn(self, resource: str) -> str:
        return f"arn:aws:eks:{self.region}:{DEFAULT_ACCOUNT_ID}:{resource}"

    def _vpc(self, asked: Json) -> Json:
        return {
            "endpointPublicAccess": True,
            "endpointPrivateAccess": False,
            "publicAccessCidrs": ["0.0.0.0/0"],
            "securityGroupIds": [],
            **asked,
            "clusterSecurityGroupId": f"sg-{uuid.uuid4().hex[:17]}",
            "vpcId": self._subnets(asked["subnetIds"], zones=2)[0].vpc_id,
        }

    def _subnets(self, ids: list[str], zones: int = 1) -> list[Any]:
        subnets = ec2_backends[DEFAULT_ACCOUNT_ID][self.region].describe_subnets(subnet_ids=ids)
        if len({subnet.availability_zone for subnet in subnets}) < zones:
            raise EksError("InvalidParameterException", f"Subnets must be in at least {zones} availability zones")
        return list(subnets)

    def _launch_template(self, asked: Json) -> Json:
        known = ec2_backends[DEFAULT_ACCOUNT_ID][self.region].launch_templates
        template = _found(known, asked["id"], "launch template")
        return {"id": asked["id"], "version": asked["version"], "name": template.name}

    def _role(self, arn: str) -> None:
        roles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].roles.values()
        if arn not in {role.arn for role in roles}:
            raise EksError("InvalidParameterException", f"Role with arn: {arn} could not be found")


def _kept(p: Json, *names: str) -> Json:
    return {name: p[name] for name in names if name in p}


def _found(known: dict[Any, Any], key: object, noun: str) -> Any:
    if key not in known:
        raise EksError("ResourceNotFoundException", f"No {noun} found for name: {key}.", 404)
    return known[key]


def _check_scaling(scaling: Json) -> None:
    low, desired, high = scaling["minSize"], scaling["desiredSize"], scaling["maxSize"]
    if low > desired:
        message = f"Minimum capacity {low} can't be greater than desired size {desired}"
        raise EksError("InvalidParameterException", message)
    if desired > high:
        message = f"desired capacity {desired} can't be greater than max size {high}"
        raise EksError("InvalidParameterException", message)
