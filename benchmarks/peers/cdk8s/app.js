// Eight objects a unit, one chart each: `node app.js units.json OUT`.
const { App, ApiObject, Chart } = require('cdk8s');
const units = JSON.parse(require('fs').readFileSync(process.argv[2]));
const app = new App({ outdir: process.argv[3] });

for (const unit of units) {
  const name = `${unit.model}-${unit.version.replaceAll('.', '-')}`;
  const chart = new Chart(app, `${unit.environment}-${unit.model}`, { disableResourceNameHashes: true });
  const labels = { 'gitops/pipeline': 'bench', 'gitops/environment': unit.environment, 'gitops/model': unit.model };
  const selector = { ...labels, 'gitops/version': unit.version };
  const stable = { name: unit.model, namespace: unit.environment, labels };
  const versioned = { name, namespace: unit.environment, labels: selector };
  const add = (id, apiVersion, kind, metadata, rest) => new ApiObject(chart, id, { apiVersion, kind, metadata, ...rest });
  const health = { httpGet: { path: '/health', port: 'http' } };

  add('account', 'v1', 'ServiceAccount', stable, { automountServiceAccountToken: false });
  add('service', 'v1', 'Service', stable, {
    spec: { selector: labels, ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
  });
  add('route', 'gateway.networking.k8s.io/v1', 'HTTPRoute', stable, {
    spec: {
      parentRefs: [{ name: 'models', namespace: 'gateway' }],
      hostnames: [`${unit.model}.models.example.com`],
      rules: [{
        matches: [{ path: { type: 'PathPrefix', value: '/' } }],
        backendRefs: [{ name, port: 80, weight: 100 }],
      }],
    },
  });
  add('policy', 'networking.k8s.io/v1', 'NetworkPolicy', stable, {
    spec: {
      podSelector: { matchLabels: labels },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'gateway' } } }] }],
      egress: [{ ports: [{ port: 53, protocol: 'UDP' }, { port: 443, protocol: 'TCP' }] }],
    },
  });
  add('deployment', 'apps/v1', 'Deployment', versioned, {
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
            args: ['--model=/models', `--served-model-name=${unit.model}`, '--max-model-len=16384'],
            ports: [{ name: 'http', containerPort: 8000 }],
            env: [{ name: 'HF_HOME', value: '/tmp/cache' }],
            resources: {
              requests: { cpu: '3', memory: '12Gi' },
              limits: { memory: '12Gi', 'nvidia.com/gpu': unit.gpus },
            },
            startupProbe: { ...health, periodSeconds: 10, failureThreshold: 24 },
            readinessProbe: { ...health, periodSeconds: 5 },
            livenessProbe: { ...health, periodSeconds: 10 },
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            volumeMounts: [{ name: 'config', mountPath: '/config' }, { name: 'cache', mountPath: '/tmp' }],
          }],
          volumes: [{ name: 'config', configMap: { name } }, { name: 'cache', emptyDir: {} }],
        },
      },
    },
  });
  add('version-service', 'v1', 'Service', versioned, {
    spec: { selector, ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
  });
  add('config', 'v1', 'ConfigMap', versioned, {
    data: { 'model.txt': `name: ${unit.model}\nversion: ${unit.version}\nbatch: 64\n` },
  });
  add('budget', 'policy/v1', 'PodDisruptionBudget', versioned, {
    spec: { maxUnavailable: 1, selector: { matchLabels: selector } },
  });
}
app.synth();
