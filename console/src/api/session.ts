// The session of the user. Tokens are kept in memory only, so reloading the page ends the session.

import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { computed, signal } from "@preact/signals";
import { AuthService, type TokenPair, type User } from "../gen/pulsetrack/auth/v1/auth_pb";
import { Role } from "../gen/pulsetrack/options/v1/access_pb";
import { observe } from "./connection";
import { reasonOf } from "./problem";

const REFRESH_EARLY_MILLISECONDS = 60_000;
const ENDING_REASONS = ["REFRESH_TOKEN_INVALID", "USER_DISABLED"];

interface Tokens {
  access: string;
  refresh: string;
  refreshAt: number;
}

let tokens: Tokens | undefined;
let refreshing: Promise<string> | undefined;

export const user = signal<User | undefined>(undefined);
/** Whether the last session was ended by the server. */
export const ended = signal(false);
/** Whether the access token has the role ADMIN, which can be limited for an admin without a second factor. */
export const isAdmin = computed(() => user.value?.role === Role.ADMIN && roleOfToken() === "ADMIN");

/** The client of calls without an access token. */
export const open = createClient(
  AuthService,
  createGrpcWebTransport({ baseUrl: location.origin, interceptors: [observe], defaultTimeoutMs: 20_000 }),
);

/** Signs in. Returns a challenge if the user has a second factor, and an empty text otherwise. */
export async function signIn(email: string, password: string): Promise<string> {
  const pair = await open.login({ email, password });
  if (!pair.challenge) await begin(pair);
  return pair.challenge;
}

export async function verify(challenge: string, code: string): Promise<void> {
  await begin(await open.verifySecondFactor({ challenge, code }));
}

export function signOut(): void {
  const refreshToken = tokens?.refresh;
  if (refreshToken) open.logout({ refreshToken }).catch(() => undefined); // the session expires by itself
  end(false);
}

/** Ends the session in the console after the server has ended it. */
export function end(byServer: boolean): void {
  tokens = undefined;
  user.value = undefined;
  ended.value = byServer;
}

/** Adds the access token to calls. A call refreshes it if it is about to expire, or if a service rejects it. */
export const authenticate: Interceptor = (next) => async (request) => {
  request.header.set("authorization", `Bearer ${await accessToken()}`);
  try {
    return await next(request);
  } catch (error) {
    if (request.stream || reasonOf(error) !== "TOKEN_INVALID") throw error;
    request.header.set("authorization", `Bearer ${await refresh()}`);
    return next(request);
  }
};

async function begin(pair: TokenPair): Promise<void> {
  store(pair);
  const headers = { authorization: `Bearer ${pair.accessToken}` };
  user.value = await open.getCurrentUser({}, { headers });
  ended.value = false;
}

function store(pair: TokenPair): void {
  const lifetime = pair.expiresIn * 1000;
  const wait = Math.max(lifetime - REFRESH_EARLY_MILLISECONDS, lifetime / 2);
  tokens = { access: pair.accessToken, refresh: pair.refreshToken, refreshAt: Date.now() + wait };
}

async function accessToken(): Promise<string> {
  return tokens && Date.now() < tokens.refreshAt ? tokens.access : refresh();
}

/** Refreshes the tokens, once for all calls that wait for it. */
export function refresh(): Promise<string> {
  refreshing ??= exchange().finally(() => (refreshing = undefined));
  return refreshing;
}

async function exchange(): Promise<string> {
  const old = tokens; // meanwhile, the user can sign out, and another one sign in
  try {
    const pair = await open.refreshToken({ refreshToken: old?.refresh ?? "" });
    if (tokens === old) store(pair);
    return pair.accessToken;
  } catch (error) {
    if (tokens === old && ENDING_REASONS.includes(reasonOf(error))) end(true);
    throw error;
  }
}

function roleOfToken(): string {
  const payload = tokens?.access.split(".")[1] ?? "";
  const claims = payload ? JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))) : {};
  return String(claims.role ?? "").replace(/^ROLE_/, "");
}
