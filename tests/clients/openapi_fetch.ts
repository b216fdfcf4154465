// The journey of a user, with the types of openapi-typescript and the client openapi-fetch.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const baseUrl = process.env.URL!;
const anonymous = createClient<paths>({ baseUrl });

async function logIn(email: string, password: string) {
  const { data } = await anonymous.POST("/v1/auth/login", { body: { email, password } });
  assert(data);
  return createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${data.accessToken}` } });
}

function findReason(error: components["schemas"]["Status"] | undefined) {
  for (const detail of error?.details ?? []) {
    if (detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo") return detail.reason;
  }
}

const name = randomUUID();
const email = `${name}@clinic.test`;
const signedUp = await anonymous.POST("/v1/auth/signup", { body: { email, username: name, password: "correct horse" } });
assert.equal(signedUp.data?.role, "ROLE_USER");
const user = await logIn(email, "correct horse");

const patient = { name: "Ana Silva", email, address: "1 High Street", dateOfBirth: "1980-02-29", phone: "+351 21 000 000" };
const { data: created } = await user.POST("/v1/patients", { body: patient });
assert(created);
const path = { id: created.id };

const listed = await user.GET("/v1/patients", { params: { query: { query: email } } });
assert.deepEqual(listed.data?.patients.map(({ id }) => id), [created.id]);
const empty = await user.GET("/v1/patients", { params: { query: { query: randomUUID() } } });
assert.deepEqual(empty.data, { patients: [], nextPageToken: "" });

const patched = await user.PATCH("/v1/patients/{id}", { params: { path }, body: { phone: null } });
assert.deepEqual([patched.data?.phone, patched.data?.name], ["", patient.name]);

const invalid = await user.POST("/v1/patients", { body: { ...patient, email: "x" } });
assert.equal(findReason(invalid.error), "FIELDS_INVALID");
const forbidden = await user.DELETE("/v1/patients/{id}", { params: { path } });
assert.equal(findReason(forbidden.error), "ROLE_REQUIRED");
const admin = await logIn("admin@pulsetrack.local", process.env.ADMIN_PASSWORD!);
const deleted = await admin.DELETE("/v1/patients/{id}", { params: { path } });
assert(deleted.data?.deleteTime);
const missing = await user.GET("/v1/patients/{id}", { params: { path } });
assert.equal(missing.response.status, 404);
assert.equal(findReason(missing.error), "PATIENT_NOT_FOUND");
