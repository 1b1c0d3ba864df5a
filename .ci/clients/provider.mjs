// An OpenID provider on this machine: `node provider.mjs PORT FIRST_KEY [ANOTHER ..]`, which signs with its first key.
// A key is made of its name, so that it is the same one after a restart.
import { createHash, createPrivateKey } from "node:crypto";
import { Provider } from "oidc-provider";

const [port, ...names] = process.argv.slice(2);

// An Ed25519 key in PKCS #8 is this, and 32 bytes.
const head = Buffer.from("302e020100300506032b657004220420", "hex");
const key = (name) => {
  const der = Buffer.concat([head, createHash("sha256").update(name).digest()]);
  const jwk = createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({ format: "jwk" });
  return { ...jwk, kid: name, alg: "Ed25519", use: "sig" };
};

const api = {
  scope: "read", audience: "https://api.example", accessTokenFormat: "jwt", accessTokenTTL: 3600,
  jwt: { sign: { alg: "Ed25519" } },
};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: names.map(key) },
  scopes: ["read"],
  clientAuthMethods: ["client_secret_post"],
  enabledJWA: { idTokenSigningAlgValues: ["Ed25519"] },
  clientDefaults: { id_token_signed_response_alg: "Ed25519" },
  clients: [{
    client_id: "robot", client_secret: "s3cret", grant_types: ["client_credentials"], redirect_uris: [],
    response_types: [], scope: "read", token_endpoint_auth_method: "client_secret_post",
  }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, getResourceServerInfo: () => api },
  },
});
provider.listen(port, "127.0.0.1", () => console.log("listening"));
