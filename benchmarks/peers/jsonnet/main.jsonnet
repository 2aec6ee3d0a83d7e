// Eight objects a unit, one file each: `jsonnet -m OUT --tla-code-file units=units.json main.jsonnet`.
local labels(unit) = {
  'gitops/pipeline': 'bench',
  'gitops/environment': unit.environment,
  'gitops/model': unit.model,
};
local metadata(unit, name, more={}) = { name: name, namespace: unit.environment, labels: labels(unit) + more };
local workload(unit) = unit.model + '-' + std.strReplace(unit.version, '.', '-');
local objects(unit) = {
  local version = { 'gitops/version': unit.version },
  local selector = labels(unit) + version,
  'serviceaccount.json': {
    apiVersion: 'v1', kind: 'ServiceAccount', metadata: metadata(unit, unit.model), automountServiceAccountToken: false,
  },
  'service.json': {
    apiVersion: 'v1', kind: 'Service', metadata: metadata(unit, unit.model),
    spec: { selector: labels(unit), ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
  },
  'httproute.json': {
    apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', metadata: metadata(unit, unit.model),
    spec: {
      parentRefs: [{ name: 'models', namespace: 'gateway' }],
      hostnames: [unit.model + '.models.example.com'],
      rules: [{
        matches: [{ path: { type: 'PathPrefix', value: '/' } }],
        backendRefs: [{ name: workload(unit), port: 80, weight: 100 }],
      }],
    },
  },
  'networkpolicy.json': {
    apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: metadata(unit, unit.model),
    spec: {
      podSelector: { matchLabels: labels(unit) },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'gateway' } } }] }],
      egress: [{ ports: [{ port: 53, protocol: 'UDP' }, { port: 443, protocol: 'TCP' }] }],
    },
  },
  'version/deployment.json': {
    apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata(unit, workload(unit), version),
    spec: {
      replicas: unit.replicas,
      selector: { matchLabels: selector },
      template: {
        metadata: { labels: selector },
        spec: {
          serviceAccountName: unit.model,
          automountServiceAccountToken: false,
          nodeSelector: { 'gitops/pool': 'gpus' },
          tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
          securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [{
            name: 'model',
            image: unit.image,
            args: ['--model=/models', '--served-model-name=' + unit.model, '--max-model-len=16384'],
            ports: [{ name: 'http', containerPort: 8000 }],
            env: [{ name: 'HF_HOME', value: '/tmp/cache' }],
            resources: { requests: { cpu: '3', memory: '12Gi' }, limits: { memory: '12Gi', 'nvidia.com/gpu': unit.gpus } },
            startupProbe: { httpGet: { path: '/health', port: 'http' }, periodSeconds: 10, failureThreshold: 24 },
            readinessProbe: { httpGet: { path: '/health', port: 'http' }, periodSeconds: 5 },
            livenessProbe: { httpGet: { path: '/health', port: 'http' }, periodSeconds: 10 },
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            volumeMounts: [{ name: 'config', mountPath: '/config' }, { name: 'cache', mountPath: '/tmp' }],
          }],
          volumes: [{ name: 'config', configMap: { name: workload(unit) } }, { name: 'cache', emptyDir: {} }],
        },
      },
    },
  },
  'version/service.json': {
    apiVersion: 'v1', kind: 'Service', metadata: metadata(unit, workload(unit), version),
    spec: { selector: selector, ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
  },
  'version/configmap.json': {
    apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata(unit, workload(unit), version),
    data: { 'model.txt': 'name: ' + unit.model + '\nversion: ' + unit.version + '\nbatch: 64\n' },
  },
  'version/poddisruptionbudget.json': {
    apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: metadata(unit, workload(unit), version),
    spec: { maxUnavailable: 1, selector: { matchLabels: selector } },
  },
};

function(units) {
  [unit.environment + '/' + unit.model + '/' + file]: made[file]
  for unit in units
  for made in [objects(unit)]
  for file in std.objectFields(made)
}
