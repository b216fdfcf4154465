// The journey of a user, with the fetch client of orval.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import * as api from "./api.js";

const { fetch } = globalThis;
globalThis.fetch = (path, options) => fetch(new URL(String(path), process.env.URL), options);

async function logIn(email: string, password: string): Promise<RequestInit> {
  const response = await api.login({ email, password });
  assert(response.status === 200);
  return { headers: { authorization: `Bearer ${response.data.accessToken}` } };
}

function findReason(error: api.Status) {
  for (const detail of error.details) {
    if (detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo") return detail.reason;
  }
}

const name = randomUUID();
const email = `${name}@clinic.test`;
const signedUp = await api.signUp({ email, username: name, password: "correct horse" });
assert(signedUp.status === 200 && signedUp.data.role === api.Role.ROLE_USER);
const user = await logIn(email, "correct horse");

const patient = { name: "Ana Silva", email, address: "1 High Street", dateOfBirth: "1980-02-29", phone: "+351 21 000 000" };
const created = await api.createPatient(patient, {}, user);
assert(created.status === 200);
const { id } = created.data;

const listed = await api.listPatients({ query: email }, user);
assert(listed.status === 200);
assert.deepEqual(listed.data.patients.map((patient) => patient.id), [id]);
const empty = await api.listPatients({ query: randomUUID() }, user);
assert.deepEqual(empty.data, { patients: [], nextPageToken: "" });

const patched = await api.updatePatient(id, { phone: null }, {}, user);
assert(patched.status === 200);
assert.deepEqual([patched.data.phone, patched.data.name], ["", patient.name]);

const invalid = await api.createPatient({ ...patient, email: "x" }, {}, user);
assert(invalid.status === 400 && findReason(invalid.data) === "FIELDS_INVALID");
const forbidden = await api.deletePatient(id, {}, user);
assert(forbidden.status === 403 && findReason(forbidden.data) === "ROLE_REQUIRED");
const admin = await logIn("admin@pulsetrack.local", process.env.ADMIN_PASSWORD!);
const deleted = await api.deletePatient(id, {}, admin);
assert(deleted.status === 200 && deleted.data.deleteTime);
const missing = await api.getPatient(id, user);
assert(missing.status === 404 && findReason(missing.data) === "PATIENT_NOT_FOUND");
