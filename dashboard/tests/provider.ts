// A real OpenID provider, in this process, and an engine that lets in whom it vouches for.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { promisify } from "node:util";

import Provider from "oidc-provider";

import { engineBinary } from "./stack";

const ROOT = resolve(import.meta.dirname, "../..");
const CLIENT = "amends-dashboard";
const AUDIENCE = "amends-engine";
/** So short that the dashboard renews its token while a test looks on: it asks 30 s before the end. */
const TOKEN_S = 37;
const READY_MS = 300_000;

export interface SignInStack { ui: string; issuer: string; renewals: () => number; stop: () => Promise<void> }

/** The port that an engine can have: nobody else listens there now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

export async function signInStack(): Promise<SignInStack> {
  const [database, kafka] = [process.env["AMENDS_TEST_DATABASE_URL"], process.env["AMENDS_TEST_KAFKA"]];
  if (database === undefined || kafka === undefined) throw new Error('sign-in is tested on a server as it is deployed, which needs Postgres and Kafka: eval "$(deploy/stack env)"');
  const ui = `http://127.0.0.1:${await freePort()}`;
  const { issuer, provider, server } = await provide(ui);
  let renewals = 0;
  provider.on("grant.success", (context) => { if (context.oidc.params?.["grant_type"] === "refresh_token") renewals += 1; });
  const name = `dashboard_sign_in_${process.pid}_${Date.now().toString(36)}`;
  const sql = (text: string) => promisify(execFile)("psql", ["-q", "-v", "ON_ERROR_STOP=1", "-c", text, database]);
  await sql(`create database ${name}`);
  const url = new URL(database);
  url.pathname = `/${name}`;
  const child = spawn(engineBinary(), ["serve", "--migrate", "--listen", new URL(ui).host, "--database-url", url.href, "--kafka", kafka, "--topic-prefix", name], {
    cwd: ROOT, stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, AMENDS_AUTH_ISSUER: issuer, AMENDS_AUTH_AUDIENCE: AUDIENCE, AMENDS_AUTH_JWKS_URL: `${issuer}/jwks`, AMENDS_AUTH_CLIENT_ID: CLIENT, AMENDS_AUTH_SCOPES: "openid offline_access", AMENDS_AUTH_LEEWAY_S: "0" },
  });
  const stop = async () => {
    await ended(child);
    server.close();
    server.closeAllConnections();
    await sql(`drop database if exists ${name} with (force)`);
  };
  try {
    await ready(child, ui);
  } catch (error) {
    await stop();
    throw error;
  }
  return { ui, issuer, renewals: () => renewals, stop };
}

/** Whoever gives a name and a password is let in, as an operator. */
async function provide(ui: string): Promise<{ issuer: string; provider: Provider; server: ReturnType<typeof createServer> }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: CLIENT, token_endpoint_auth_method: "none", redirect_uris: [`${ui}/ui/signed-in`],
      grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], application_type: "native",
    }],
    clientBasedCORS: (_context, origin) => origin === ui,
    cookies: { keys: ["a test's own"] },
    jwks: { keys: [{ ...generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "one" }] },
    findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    pkce: { required: () => true },
    // Each is good once: a page that uses one twice is signed out.
    rotateRefreshToken: true,
    issueRefreshToken: () => true,
    ttl: { AccessToken: TOKEN_S, Grant: 3_600, IdToken: 3_600, Interaction: 600, Session: 3_600, RefreshToken: 3_600 },
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `urn:${AUDIENCE}`,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: "openid offline_access", audience: AUDIENCE, accessTokenFormat: "jwt" as const, accessTokenTTL: TOKEN_S, jwt: { sign: { alg: "RS256" as const } } }),
      },
    },
    extraTokenClaims: () => ({ roles: ["operator"] }),
  });
  server.on("request", provider.callback());
  return { issuer, provider, server };
}

async function ready(child: ChildProcess, ui: string): Promise<void> {
  let told = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => { told += chunk.toString(); });
  const end = Date.now() + READY_MS;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`amends serve ended with ${child.exitCode}:\n${told}`);
    if (await fetch(`${ui}/auth/config`).then((it) => it.ok, () => false)) return;
    if (Date.now() > end) throw new Error(`amends serve was not ready after ${READY_MS} ms:\n${told}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGINT");
  await exit;
}
